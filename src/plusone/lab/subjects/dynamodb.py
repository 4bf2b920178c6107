"""Counting with aiobotocore, which is botocore, and so boto3, on asyncio: the same calls, and the SDK's own retries."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from plusone.lab.subjects.protocol import PLACE, Connect, Counted, Counting, Subject
from plusone.stores.registry import StoreURL

_SCHEMES: Final = frozenset({"dynamodb"})
_CONNECTIONS: Final = 32


class _Counter:
    """An item of a table is a counter."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    async def create(self) -> None:
        with contextlib.suppress(self._client.exceptions.ResourceInUseException):
            await self._client.create_table(
                TableName=self._table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            )
        await self._client.get_waiter("table_exists").wait(TableName=self._table, WaiterConfig={"Delay": 1})

    async def read(self, name: str) -> Counted:
        answer = await self._client.get_item(TableName=self._table, Key={"name": {"S": name}}, ConsistentRead=True)
        return Counted(value=int(answer["Item"]["value"]["N"]) if "Item" in answer else 0)

    async def remove(self, names: Sequence[str]) -> None:
        with contextlib.suppress(self._client.exceptions.ResourceNotFoundException):
            await self._client.delete_table(TableName=self._table)

    async def _add(self, name: str, **rest: Any) -> Counted:
        values = {":one": {"N": "1"}, **rest.pop("values", {})}
        answer = await self._client.update_item(
            TableName=self._table,
            Key={"name": {"S": name}},
            UpdateExpression="ADD #value :one",
            ExpressionAttributeNames={"#value": "value"},
            ExpressionAttributeValues=values,
            ReturnValues="UPDATED_NEW",
            **rest,
        )
        return Counted(value=int(answer["Attributes"]["value"]["N"]))


class _Add(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        return await self._add(name)


class _Conditional(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        if ceiling is None:
            return await self._add(name)
        try:
            return await self._add(
                name,
                ConditionExpression="attribute_not_exists(#value) OR #value < :maximum",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                values={":maximum": {"N": str(ceiling)}},
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            return Counted(applied=False, value=int(error.response["Item"]["value"]["N"]))


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[Any]:
    """botocore's client with its defaults, which for DynamoDB are ten attempts of each call."""
    from aiobotocore.config import AioConfig
    from aiobotocore.session import AioSession

    from plusone.stores.dynamodb.settings import Settings

    settings = Settings.from_url(StoreURL.parse(url))
    async with AioSession().create_client(
        "dynamodb",
        region_name=settings.region,
        endpoint_url=settings.endpoint,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        verify=settings.ca_file,
        config=AioConfig(max_pool_connections=_CONNECTIONS),
    ) as found:
        yield found


def _with(kind: type[_Add] | type[_Conditional]) -> Connect:
    @contextlib.asynccontextmanager
    async def connect(url: str, place: str = PLACE) -> AsyncIterator[Counting]:
        async with client(url) as found:
            counter = kind(found, place)
            await counter.create()
            yield counter

    return connect


ADD: Final = Subject(
    name="dynamodb-add",
    title="aiobotocore `update_item` with `ADD`",
    schemes=_SCHEMES,
    found="DynamoDB's developer guide, \"Atomic counters\", and the SDKs' code examples",
    told="value",
    bounded=False,
    weaknesses=frozenset({"phantom increment"}),
    connect=_with(_Add),
)
CONDITIONAL: Final = Subject(
    name="dynamodb-conditional",
    title="aiobotocore `update_item` with a condition on the maximum",
    schemes=_SCHEMES,
    found='articles on atomic counters, stock and quotas on DynamoDB; its developer guide, "Conditional writes"',
    told="value",
    bounded=True,
    weaknesses=frozenset({"phantom increment"}),
    connect=_with(_Conditional),
)
