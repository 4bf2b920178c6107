"""Counting with asyncpg, as it is commonly written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from plusone.lab.subjects.protocol import PLACE, Connect, Counted, Counting, Subject
from plusone.stores.registry import StoreURL

_SCHEMES: Final = frozenset({"postgresql", "postgres"})
_CONNECTIONS: Final = 32
_POOL_SECONDS: Final = 5.0


class _Counter:
    """A row of a table is a counter."""

    def __init__(self, pool: Any, table: str) -> None:
        self._pool = pool
        self._table = table
        self._select = f"SELECT value FROM {table} WHERE name = $1"  # noqa: S608

    async def create(self) -> None:
        columns = 'name text COLLATE "C" PRIMARY KEY, value bigint NOT NULL'
        async with self._connection() as connection:
            await connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table} ({columns}) WITH (fillfactor = 70)")

    async def read(self, name: str) -> Counted:
        async with self._connection() as connection:
            return Counted(value=await connection.fetchval(self._select, name) or 0)

    async def remove(self, names: Sequence[str]) -> None:
        async with self._connection() as connection:
            await connection.execute(f"DROP TABLE IF EXISTS {self._table}")

    def _connection(self) -> Any:
        # Without a limit the pool waits for as long as it takes until a connection that leads nowhere is reset.
        return self._pool.acquire(timeout=_POOL_SECONDS)


class _Upsert(_Counter):
    def __init__(self, pool: Any, table: str) -> None:
        super().__init__(pool, table)
        self._upsert = (
            f"INSERT INTO {table} VALUES ($1, 1)"  # noqa: S608
            f" ON CONFLICT (name) DO UPDATE SET value = {table}.value + 1 RETURNING value"
        )

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        async with self._connection() as connection:
            return Counted(value=await connection.fetchval(self._upsert, name))


class _SelectThenUpdate(_Counter):
    """In a transaction even, as it is isolated by default: READ COMMITTED."""

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        async with self._connection() as connection, connection.transaction():
            value = await connection.fetchval(self._select, name)
            if value is None:
                await connection.execute(f"INSERT INTO {self._table} VALUES ($1, 1)", name)  # noqa: S608
                return Counted(value=1)
            if ceiling is not None and value >= ceiling:
                return Counted(applied=False, value=value)
            await connection.execute(f"UPDATE {self._table} SET value = $1 WHERE name = $2", value + 1, name)  # noqa: S608
            return Counted(value=value + 1)


def _with(kind: type[_Upsert] | type[_SelectThenUpdate]) -> Connect:
    @contextlib.asynccontextmanager
    async def connect(url: str, place: str = PLACE) -> AsyncIterator[Counting]:
        import asyncpg

        from plusone.stores.postgresql.settings import Settings

        settings = Settings.from_url(StoreURL.parse(url))
        arguments = {
            name: value
            for name, value in settings.arguments(settings.host, settings.port).items()
            if name in ("host", "port", "database", "user", "password", "ssl")
        }
        pool = await asyncpg.create_pool(min_size=0, max_size=_CONNECTIONS, **arguments)
        try:
            counter = kind(pool, place)
            await counter.create()
            yield counter
        finally:
            try:
                await asyncio.wait_for(pool.close(), _POOL_SECONDS)
            except TimeoutError:
                # A connection that leads nowhere is waited for without end.
                pool.terminate()

    return connect


UPSERT: Final = Subject(
    name="postgresql-upsert",
    title="asyncpg upsert",
    schemes=_SCHEMES,
    found="PostgreSQL's manual, INSERT … ON CONFLICT DO UPDATE, and articles on counters with it",
    told="value",
    bounded=False,
    weaknesses=frozenset({"phantom increment"}),
    connect=_with(_Upsert),
)
SELECT_THEN_UPDATE: Final = Subject(
    name="postgresql-select-then-update",
    title="asyncpg `SELECT`, then `UPDATE`, in a transaction",
    schemes=_SCHEMES,
    found="what an object-relational mapper makes of `row.value += 1`, and every first attempt",
    told="value",
    bounded=True,
    weaknesses=frozenset({"phantom increment", "lost update", "duplicate value"}),
    connect=_with(_SelectThenUpdate),
)
