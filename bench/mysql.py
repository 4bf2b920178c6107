"""MariaDB with every transaction flushed, TiDB with its embedded storage, and asyncmy."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import asyncmy

from bench import servers
from bench.plain import Plain

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
    # How to start it is the tests' to know.
    from tests.servers.mariadb import HAS_MARIADB, mariadb_server, url_of
    from tests.servers.mysql import own_database

    if not HAS_MARIADB:
        raise servers.Missing("mariadbd is not installed (apt-get install mariadb-server)")
    with mariadb_server() as server, own_database(url_of(server)) as url:
        yield url


@contextlib.contextmanager
def _tidb() -> Iterator[str]:
    from tests.servers import build
    from tests.servers.mysql import own_database
    from tests.servers.tidb import tidb_server, url_of

    try:
        build.folder("tidb")
    except build.Unavailable as unavailable:
        raise servers.Missing(str(unavailable)) from unavailable
    with tidb_server() as server, own_database(url_of(server)) as url:
        yield url


_RECIPE: Final = "asyncmy `INSERT … ON DUPLICATE KEY UPDATE`"
MARIADB: Final = Plain("mariadb", "MariaDB, every transaction flushed", _RECIPE, _mariadb, _connect)
TIDB: Final = Plain("tidb", "TiDB, embedded storage", _RECIPE, _tidb, _connect)
