"""PostgreSQL for tests, or the user's own at `PLUSONE_TEST_POSTGRESQL_URL`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final

import asyncpg

from plusone.lab.servers.postgresql import missing, postgresql_server, url_of
from plusone.stores.postgresql.store import PostgreSQLStore
from plusone.stores.registry import StoreURL
from tests.conformance.harness import store_of
from tests.servers.available import shared, skip_without

HAS_POSTGRESQL_SERVER: Final = missing() is None
skip_without_postgresql: Final = partial(skip_without, "POSTGRESQL", missing())
store_at: Final = partial(store_of, PostgreSQLStore)


def shared_url() -> AbstractContextManager[str]:
    """The URL of a server for many tests: the user's, or one that is started."""
    return shared("POSTGRESQL", postgresql_server, url_of)


def own_schema(url: str) -> Generator[str]:
    """The URL with a schema of its own; behind it, that schema is removed."""
    schema = f"test_{secrets.token_hex(8)}"
    yield url + ("&" if "?" in url else "?") + f"schema={schema}"
    run(url, f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def schema_of(url: str) -> str:
    return StoreURL.parse(url).query["schema"]


def run(url: str, *statements: str) -> None:
    """Run statements beside the store."""

    async def each() -> None:
        async with connected(url) as connection:
            for statement in statements:
                await connection.execute(statement)

    asyncio.run(each())


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """asyncpg's own connection, for what a test does beside the store."""
    connection = await asyncpg.connect(url.partition("?")[0])
    try:
        yield connection
    finally:
        await connection.close()
