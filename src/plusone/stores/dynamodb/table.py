"""The table: what it has to be, whether it is there, and making it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from plusone.errors import PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores import resources
from plusone.stores.dynamodb.wire import Wire

_TABLE: Final[dict[str, Any]] = msgspec.json.decode(resources.text(__package__, "table.json"))
_REMOVAL: Final[dict[str, Any]] = msgspec.json.decode(resources.text(__package__, "removal.json"))
_ASKED_EVERY_SECONDS: Final = 0.5
_READY_WITHIN_SECONDS: Final = 120.0
_ABSENT: Final = "ResourceNotFound"
_SERVES: Final = ("ACTIVE", "UPDATING")


async def is_there(wire: Wire, table: str) -> bool:
    """Whether the table is there and can be used; raises `StoreRefused` if it is another program's."""
    found = await _describe(wire, table)
    return found is not None and found["TableStatus"] in _SERVES


async def require(wire: Wire, table: str) -> None:
    """Raise `StoreRefused` unless the table is there, and `StoreUnavailable` while it is being made."""
    found = await _describe(wire, table)
    if found is None:
        raise StoreRefused(f"DynamoDB: there is no table {table}; run: plusone setup, with this store's URL")
    if found["TableStatus"] not in _SERVES:
        raise StoreUnavailable(f"DynamoDB: table {table} is {found['TableStatus']}; wait until it is ACTIVE")


async def prepare(wire: Wire, table: str, *, dry_run: bool) -> Sequence[str]:
    """Make what is missing and wait until it serves; the requests that do so."""
    steps: list[str] = []
    name = {"TableName": table}
    found = await _describe(wire, table)
    if found is None:
        steps.append(_step("CreateTable", name | _TABLE))
        if not dry_run:
            await _create(wire, name | _TABLE)
    if not dry_run:
        await _until_it_serves(wire, table)
    if (found is None and dry_run) or not await _removes(wire, table):
        steps.append(_step("UpdateTimeToLive", name | _REMOVAL))
        if not dry_run:
            await _remove(wire, table)
    return steps


async def _create(wire: Wire, request: Mapping[str, Any]) -> None:
    try:
        await wire.control("create_table", **request)
    except PlusoneError as error:
        if "ResourceInUse" not in str(error):  # then somebody else is making it just now
            raise


async def _remove(wire: Wire, table: str) -> None:
    try:
        await wire.control("update_time_to_live", TableName=table, **_REMOVAL)
    except PlusoneError:
        if not await _removes(wire, table):  # else somebody else was faster
            raise


async def _until_it_serves(wire: Wire, table: str) -> None:
    try:
        async with asyncio.timeout(_READY_WITHIN_SECONDS):
            while not await is_there(wire, table):  # noqa: ASYNC110 - it tells nobody of itself
                await asyncio.sleep(_ASKED_EVERY_SECONDS)
    except TimeoutError:
        raise StoreRefused(f"DynamoDB: table {table} is still not ready; run plusone setup again later") from None


async def _describe(wire: Wire, table: str) -> Mapping[str, Any] | None:
    try:
        answer = await wire.control("describe_table", TableName=table)
    except StoreRefused as error:
        if _ABSENT in str(error):
            return None
        raise
    found: Mapping[str, Any] = answer["Table"]
    attributes = {attribute["AttributeName"]: attribute["AttributeType"] for attribute in found["AttributeDefinitions"]}
    key = [(part["AttributeName"], part["KeyType"], attributes[part["AttributeName"]]) for part in found["KeySchema"]]
    if key != [("p", "HASH", "S"), ("n", "RANGE", "S")]:
        raise StoreRefused(f"DynamoDB: table {table} is none of plusone's: its key is another; name a table of its own")
    return found


async def _removes(wire: Wire, table: str) -> bool:
    answer = await wire.control("describe_time_to_live", TableName=table)
    return answer["TimeToLiveDescription"]["TimeToLiveStatus"] in ("ENABLED", "ENABLING")


def _step(operation: str, request: Mapping[str, Any]) -> str:
    return f"{operation} {msgspec.json.encode(request).decode()}"
