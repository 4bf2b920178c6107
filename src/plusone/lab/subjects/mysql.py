"""Counting with asyncmy on MySQL, MariaDB and TiDB, as it is commonly written: every statement commits by itself."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from plusone.lab.subjects.protocol import PLACE, Connect, Counted, Counting, Subject
from plusone.stores.registry import StoreURL

_SCHEMES: Final = frozenset({"mysql", "mariadb", "tidb"})
_CONNECTIONS: Final = 32


class _Counter:
    """A row of a table is a counter."""

    def __init__(self, pool: Any, table: str) -> None:
        self._pool = pool
        self._table = table

    async def create(self) -> None:
        columns = "name VARCHAR(255) CHARACTER SET ascii NOT NULL PRIMARY KEY, value BIGINT NOT NULL"
        async with self._cursor() as cursor:
            # The driver logs a warning for a table that exists.
            if not await cursor.execute("SHOW TABLES LIKE %s", (self._table,)):
                await cursor.execute(f"CREATE TABLE IF NOT EXISTS {self._table} ({columns})")

    async def read(self, name: str) -> Counted:
        async with self._cursor() as cursor:
            return Counted(value=await self._select(cursor, name) or 0)

    async def remove(self, names: Sequence[str]) -> None:
        async with self._cursor() as cursor:
            await cursor.execute(f"DROP TABLE {self._table}")

    @contextlib.asynccontextmanager
    async def _cursor(self) -> AsyncIterator[Any]:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            try:
                yield cursor
            except asyncio.CancelledError:
                # Else whoever gets it next would read the answer that this one did not wait for.
                connection.close()
                raise

    async def _select(self, cursor: Any, name: str) -> int | None:
        await cursor.execute(f"SELECT value FROM {self._table} WHERE name = %s", (name,))  # noqa: S608
        found = await cursor.fetchone()
        return None if found is None else int(found[0])


class _Upsert(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        async with self._cursor() as cursor:
            await cursor.execute(
                f"INSERT INTO {self._table} VALUES (%s, 1)"  # noqa: S608
                " ON DUPLICATE KEY UPDATE value = LAST_INSERT_ID(value + 1)",
                (name,),
            )
            return Counted(value=cursor.lastrowid or 1)


class _UpsertThenRead(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        changed = "value + 1" if ceiling is None else f"IF(value < {ceiling:d}, value + 1, value)"
        async with self._cursor() as cursor:
            rows = await cursor.execute(
                f"INSERT INTO {self._table} VALUES (%s, 1) ON DUPLICATE KEY UPDATE value = {changed}",  # noqa: S608
                (name,),
            )
            return Counted(applied=rows > 0, value=await self._select(cursor, name))


class _SelectThenUpdate(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        async with self._cursor() as cursor:
            value = await self._select(cursor, name)
            if value is None:
                await cursor.execute(f"INSERT INTO {self._table} VALUES (%s, 1)", (name,))  # noqa: S608
                return Counted(value=1)
            if ceiling is not None and value >= ceiling:
                return Counted(applied=False, value=value)
            await cursor.execute(f"UPDATE {self._table} SET value = %s WHERE name = %s", (value + 1, name))  # noqa: S608
            return Counted(value=value + 1)


@contextlib.asynccontextmanager
async def _pool(url: str) -> AsyncIterator[Any]:
    import asyncmy

    from plusone.stores.mysql.settings import Settings

    settings = Settings.from_url(StoreURL.parse(url))
    pool = await asyncmy.create_pool(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password,
        db=settings.database,
        ssl=ssl.create_default_context(cafile=settings.ca_file) if settings.tls else None,
        minsize=1,
        maxsize=_CONNECTIONS,
        autocommit=True,
    )
    try:
        yield pool
    finally:
        pool.terminate()
        await pool.wait_closed()


def _with(kind: type[_Upsert] | type[_UpsertThenRead] | type[_SelectThenUpdate]) -> Connect:
    @contextlib.asynccontextmanager
    async def connect(url: str, place: str = PLACE) -> AsyncIterator[Counting]:
        async with _pool(url) as pool:
            counter = kind(pool, place)
            await counter.create()
            yield counter

    return connect


UPSERT: Final = Subject(
    name="mysql-upsert",
    title="asyncmy `INSERT … ON DUPLICATE KEY UPDATE`",
    schemes=_SCHEMES,
    found="MySQL's manual, LAST_INSERT_ID(expr) as the simulation of a sequence",
    told="value",
    bounded=False,
    weaknesses=frozenset({"phantom increment"}),
    connect=_with(_Upsert),
)
UPSERT_THEN_READ: Final = Subject(
    name="mysql-upsert-then-read",
    title="asyncmy `INSERT … ON DUPLICATE KEY UPDATE … IF`, then `SELECT`",
    schemes=_SCHEMES,
    found="articles on atomic counters with a maximum on TiDB and MySQL",
    told="value",
    bounded=True,
    weaknesses=frozenset({"phantom increment", "duplicate value"}),
    connect=_with(_UpsertThenRead),
)
SELECT_THEN_UPDATE: Final = Subject(
    name="mysql-select-then-update",
    title="asyncmy `SELECT`, then `UPDATE`",
    schemes=_SCHEMES,
    found="what an object-relational mapper makes of `row.value += 1`, and every first attempt",
    told="value",
    bounded=True,
    weaknesses=frozenset({"phantom increment", "lost update", "duplicate value"}),
    connect=_with(_SelectThenUpdate),
)
