"""PostgreSQL with its defaults, which are durable at every commit, and asyncpg."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from bench import servers
from bench.plain import Plain
from plusone.lab.servers import postgresql

_CONNECTIONS: Final = 32
_SCHEMA: Final = (
    'CREATE TABLE IF NOT EXISTS plain (name text COLLATE "C" PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 70)'
)
_INCREMENT: Final = (
    "INSERT INTO plain VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET value = plain.value + 1 RETURNING value"
)
_READ: Final = "SELECT value FROM plain WHERE name = $1"


class _Asyncpg:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def increment(self, name: str) -> object:
        return await self._pool.fetchval(_INCREMENT, name)

    async def read(self, name: str) -> int:
        return int(await self._pool.fetchval(_READ, name) or 0)


@contextlib.asynccontextmanager
async def _connect(url: str) -> AsyncIterator[_Asyncpg]:
    address = urlunsplit(urlsplit(url)._replace(query=""))
    async with asyncpg.create_pool(address, min_size=1, max_size=_CONNECTIONS) as pool:
        await pool.execute(_SCHEMA)
        yield _Asyncpg(pool)


@contextlib.contextmanager
def _server() -> Iterator[str]:
    if reason := postgresql.missing():
        raise servers.Missing(reason)
    with postgresql.postgresql_server() as server:
        yield postgresql.url_of(server, sslmode="disable")


PLAIN: Final = Plain("postgresql", "PostgreSQL, every commit flushed", "asyncpg upsert", _server, _connect)
