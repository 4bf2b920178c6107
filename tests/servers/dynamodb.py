"""DynamoDB Local for tests, or the user's own at `PLUSONE_TEST_DYNAMODB_URL`.

That is like `dynamodb://key:secret@table?region=…&endpoint=…`: tables whose names begin so are made and deleted.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Final

from plusone.lab.servers.dynamodb import dynamodb_server, missing, url_of
from plusone.stores.dynamodb.settings import Settings
from plusone.stores.dynamodb.store import DynamoDBStore
from plusone.stores.dynamodb.wire import Wire
from plusone.stores.registry import StoreURL
from tests.conformance.harness import store_of
from tests.servers.available import shared, skip_without

HAS_DYNAMODB: Final = missing() is None
skip_without_dynamodb: Final = partial(skip_without, "DYNAMODB", missing())
store_at: Final = partial(store_of, DynamoDBStore)


def shared_url() -> AbstractContextManager[str]:
    """The URL of a server for many tests: the user's, or one that is started."""
    return shared("DYNAMODB", dynamodb_server, url_of)


def own_table(url: str) -> Generator[str]:
    """The URL with a table of its own, which is there; behind it, the table is deleted."""
    address, _, query = url.partition("?")
    own = f"{address}-test-{secrets.token_hex(8)}?{query}"
    asyncio.run(store_at(own).setup(dry_run=False))
    yield own
    asyncio.run(_delete(own))


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """The store's own way to the server, for what a test does beside the store."""
    connected = Wire(Settings.from_url(StoreURL.parse(url)))
    await connected.open()
    try:
        yield connected
    finally:
        await connected.close()


def table_of(url: str) -> str:
    return Settings.from_url(StoreURL.parse(url)).table


async def _delete(url: str) -> None:
    async with wire(url) as connected:
        await connected.control("delete_table", TableName=table_of(url))
