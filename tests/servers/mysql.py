"""What the tests of MariaDB and TiDB share: databases of their own, statements beside the store."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from plusone.clock import Clock
from plusone.stores.mysql.settings import Settings
from plusone.stores.mysql.store import MySQLStore
from plusone.stores.registry import StoreURL, make_store
from tests.conformance.harness import DAY_MS


@contextmanager
def own_database(url: str) -> Iterator[str]:
    """The URL with a database of its own instead of the one it names."""
    name = f"plusone_test_{secrets.token_hex(8)}"
    execute(url, f"CREATE DATABASE {name}")
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        execute(url, f"DROP DATABASE {name}")


def own_place(url: str) -> Generator[str]:
    """The URL; behind it, what was counted there is removed. Making tables anew for each test would take longer."""
    yield url
    for table in ("plusone_counters", "plusone_tokens"):
        if execute(url, f"SHOW TABLES LIKE '{table}'")[0]:
            execute(url, f"DELETE FROM {table}")


def execute(url: str, *statements: str) -> list[Sequence[Sequence[Any]]]:
    """The rows of each statement, over a connection that is made for them. A loop that is running here stands still."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(executed(url, *statements))).result()


async def executed(url: str, *statements: str) -> list[Sequence[Sequence[Any]]]:
    async with connected(url) as connection:
        rows = []
        for statement in statements:
            await connection.query(statement)
            rows.append(connection._result.rows or ())
        return rows


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """asyncmy's own connection, for what a test does beside the store; each statement commits."""
    connection: Any = Settings.from_url(StoreURL.parse(url)).connection()
    await connection.connect()
    await connection.autocommit(True)
    try:
        yield connection
    finally:
        await connection.ensure_closed()


def store_at(url: str, *, token_retention_ms: int = DAY_MS) -> MySQLStore:
    store = make_store(url, clock=Clock(), token_retention_ms=token_retention_ms)
    assert isinstance(store, MySQLStore)
    return store
