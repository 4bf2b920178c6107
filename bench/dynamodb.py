"""DynamoDB Local, and aiobotocore with its defaults, which for DynamoDB are ten attempts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import ClientError

from bench import servers
from bench.plain import Plain
from plusone.lab.servers import dynamodb

_CONNECTIONS: Final = 32
_REGION: Final = "eu-central-1"
_TABLE: Final = "plain"


class _AioBotocore:
    def __init__(self, client: Any) -> None:
        self._client = client

    async def create(self) -> None:
        try:
            await self._client.create_table(
                TableName=_TABLE,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUseException":
                raise

    async def increment(self, name: str) -> object:
        return await self._client.update_item(
            TableName=_TABLE,
            Key={"name": {"S": name}},
            UpdateExpression="ADD #v :by",
            ExpressionAttributeNames={"#v": "value"},
            ExpressionAttributeValues={":by": {"N": "1"}},
            ReturnValues="UPDATED_NEW",
        )

    async def read(self, name: str) -> int:
        answer = await self._client.get_item(TableName=_TABLE, Key={"name": {"S": name}}, ConsistentRead=True)
        return int(answer["Item"]["value"]["N"]) if "Item" in answer else 0


@contextlib.asynccontextmanager
async def _connect(url: str) -> AsyncIterator[_AioBotocore]:
    async with AioSession().create_client(
        "dynamodb",
        region_name=_REGION,
        endpoint_url=dict(parse_qsl(urlsplit(url).query))["endpoint"],
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=AioConfig(max_pool_connections=_CONNECTIONS),
    ) as client:
        plain = _AioBotocore(client)
        await plain.create()
        yield plain


@contextlib.contextmanager
def _server() -> Iterator[str]:
    if reason := dynamodb.missing():
        raise servers.Missing(reason)
    # What is measured is meant to get warm: with the JVM's own choice of compilers.
    with dynamodb.dynamodb_server(java=()) as server:
        yield dynamodb.url_of(server)


PLAIN: Final = Plain("dynamodb", "DynamoDB Local, in memory", "aiobotocore `update_item` with `ADD`", _server, _connect)
