"""MariaDB with every transaction flushed, TiDB with its embedded storage, and asyncmy."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import asyncmy

from bench import servers
from bench.plain import Plain
from plusone.lab.servers import mariadb, tidb

_CONNECTIONS: Final = 32
_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS plain (name VARCHAR(255) NOT NULL PRIMARY KEY, value BIGINT NOT NULL)"
_INCREMENT: Final = "INSERT INTO plain VALUES (%s, 1) ON DUPLICATE KEY UPDATE value = LAST_INSERT_ID(value + 1)"
_READ: Final = "SELECT value FROM plain WHERE name = %s"


class _Asyncmy:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def increment(self, name: str) -> object:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(_INCREMENT, (name,))
            return cursor.lastrowid or 1

    async def read(self, name: str) -> int:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(_READ, (name,))
            found = await cursor.fetchone()
            return 0 if found is None else int(found[0])


@contextlib.asynccontextmanager
async def _connect(url: str) -> AsyncIterator[_Asyncmy]:
    parts = urlsplit(url)
    pool = await asyncmy.create_pool(
        host=parts.hostname,
        port=parts.port,
        user=parts.username,
        db=parts.path.removeprefix("/"),
        minsize=1,
        maxsize=_CONNECTIONS,
        autocommit=True,
    )
    try:
        async with pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(_SCHEMA)
        yield _Asyncmy(pool)
    finally:
        pool.close()
        await pool.wait_closed()


@contextlib.contextmanager
def _mariadb() -> Iterator[str]:
    if reason := mariadb.missing():
        raise servers.Missing(reason)
    with mariadb.mariadb_server() as server:
        yield mariadb.url_of(server)


@contextlib.contextmanager
def _tidb() -> Iterator[str]:
    if reason := tidb.missing():
        raise servers.Missing(reason)
    with tidb.tidb_server() as server:
        yield tidb.url_of(server)


_RECIPE: Final = "asyncmy `INSERT … ON DUPLICATE KEY UPDATE`"
MARIADB: Final = Plain("mariadb", "MariaDB, every transaction flushed", _RECIPE, _mariadb, _connect)
TIDB: Final = Plain("tidb", "TiDB, embedded storage", _RECIPE, _tidb, _connect)
