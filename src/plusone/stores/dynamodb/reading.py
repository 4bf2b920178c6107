"""Items read by their keys, and pages of those whose names begin alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from plusone.errors import PlusoneError, StoreUnavailable
from plusone.stores import paging
from plusone.stores.dynamodb.item import Text
from plusone.stores.dynamodb.keys import SHARDS, partition
from plusone.stores.dynamodb.wire import Wire

Answered = TypeVar("Answered")
Key: TypeAlias = tuple[str, str]
"""Partition and sort key."""

KEYS_PER_GET: Final = 100
_PROJECTION: Final = {
    "ProjectionExpression": "#p, #n, #v, #r, #e, #u",
    "ExpressionAttributeNames": {f"#{name}": name for name in "pnvreu"},
}
"""All of a counter's item but its sessions."""
_QUERIES_PER_PAGE: Final = 32
"""More than there are shards: short pages are for listings with many dead counters in between."""


class _Found(msgspec.Struct):
    p: Text
    n: Text


class _BatchGot(msgspec.Struct):
    responses: dict[str, list[msgspec.Raw]] = msgspec.field(name="Responses", default_factory=dict)
    unprocessed: dict[str, dict[str, Any]] = msgspec.field(name="UnprocessedKeys", default_factory=dict)


class _Queried(msgspec.Struct):
    items: list[msgspec.Raw] = msgspec.field(name="Items", default_factory=list)
    last: _Found | None = msgspec.field(name="LastEvaluatedKey", default=None)


class _Position(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where the next page goes on: the shard, and the last name of it that was seen."""

    shard: int
    name: str | None


_decode_found: Final = msgspec.json.Decoder(_Found).decode
_decode_got: Final = msgspec.json.Decoder(_BatchGot).decode
_decode_queried: Final = msgspec.json.Decoder(_Queried).decode


async def items(wire: Wire, table: str, keys: Iterable[Key], *, strong: bool, sessions: bool) -> dict[Key, msgspec.Raw]:
    """The items that are there, with or without the sessions of counters."""
    distinct = list(dict.fromkeys(keys))
    chunks = [distinct[start : start + KEYS_PER_GET] for start in range(0, len(distinct), KEYS_PER_GET)]
    found: dict[Key, msgspec.Raw] = {}
    if len(chunks) == 1:
        return await _get(wire, table, chunks[0], strong=strong, sessions=sessions)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_get(wire, table, chunk, strong=strong, sessions=sessions)) for chunk in chunks]
    except* PlusoneError as errors:
        failure = errors.exceptions[0]
    else:
        for task in tasks:
            found |= task.result()
        return found
    raise failure


def _read(decode: Callable[[bytes], Answered], body: bytes) -> Answered:
    try:
        return decode(body)
    except msgspec.DecodeError as error:
        raise StoreUnavailable(f"DynamoDB: the answer to a question cannot be read: {error}") from error


async def _get(wire: Wire, table: str, keys: Sequence[Key], *, strong: bool, sessions: bool) -> dict[Key, msgspec.Raw]:
    found: dict[Key, msgspec.Raw] = {}
    asked: dict[str, Any] = {"Keys": [_key(key) for key in keys], "ConsistentRead": strong}
    if not sessions:
        asked |= _PROJECTION
    while asked:
        body = msgspec.json.encode({"RequestItems": {table: asked}})
        got = _read(_decode_got, await wire.call("BatchGetItem", body))
        for raw in got.responses.get(table, ()):
            key = _decode_found(raw)
            found[key.p.text, key.n.text] = raw
        left = got.unprocessed.get(table, {})
        if left and not got.responses.get(table):
            raise StoreUnavailable("DynamoDB: it asks for patience with reads")
        asked = left  # what did not fit into one answer of 16 MB, or was too much at once
    return found


async def page(
    wire: Wire, table: str, prefix: str, limit: int, page_token: str | None, now_ms: int
) -> tuple[list[tuple[str, msgspec.Raw]], str | None]:
    """At most `limit` living counters' items with their keys, and the next page's token."""
    account, _, name_prefix = prefix.partition("/")
    position = _Position(0, None) if page_token is None else _position(page_token, name_prefix)
    found: list[tuple[str, msgspec.Raw]] = []
    for _ in range(_QUERIES_PER_PAGE):
        queried = await _query(wire, table, account, name_prefix, position, limit - len(found), now_ms)
        found += [(f"{account}/{_decode_found(raw).n.text}", raw) for raw in queried.items]
        if queried.last is not None:
            position = _Position(position.shard, queried.last.n.text)
        elif position.shard + 1 < SHARDS:
            position = _Position(position.shard + 1, None)
        else:
            return found, None
        if len(found) >= limit:
            break
    return found, paging.encode(msgspec.json.encode(position))


async def _query(
    wire: Wire, table: str, account: str, name_prefix: str, position: _Position, limit: int, now_ms: int
) -> _Queried:
    shard = partition(account, position.shard)
    values: dict[str, Any] = {":p": {"S": shard}, ":now": {"N": str(now_ms)}}
    condition = "#p = :p"
    if name_prefix:
        condition += " AND begins_with(#n, :n)"
        values[":n"] = {"S": name_prefix}
    request = {
        "TableName": table,
        "KeyConditionExpression": condition,
        "FilterExpression": "attribute_not_exists(#e) OR #e > :now",
        "ExpressionAttributeValues": values,
        "ConsistentRead": True,
        "Limit": limit,
        **_PROJECTION,
    }
    if position.name is not None:
        request["ExclusiveStartKey"] = _key((shard, position.name))
    return _read(_decode_queried, await wire.call("Query", msgspec.json.encode(request)))


def _key(key: Key) -> dict[str, Any]:
    return {"p": {"S": key[0]}, "n": {"S": key[1]}}


def _position(page_token: str, name_prefix: str) -> _Position:
    try:
        position = msgspec.json.decode(paging.decode(page_token), type=_Position)
    except (UnicodeDecodeError, msgspec.DecodeError):
        raise paging.foreign() from None
    if not 0 <= position.shard < SHARDS or (position.name is not None and not position.name.startswith(name_prefix)):
        raise paging.foreign()
    return position
