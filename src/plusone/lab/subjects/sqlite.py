"""Counting with the standard library's sqlite3 in threads, as it is commonly written: every statement commits."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, TypeVar

from plusone.lab.subjects.protocol import PLACE, Connect, Counted, Counting, Subject
from plusone.stores.registry import StoreURL

T = TypeVar("T")

_SCHEMES: Final = frozenset({"sqlite"})
_CONNECTIONS: Final = 4
_LOCKED_SECONDS: Final = 2.0
"""To wait for a lock: less than the lab's callers wait, for a thread that waits cannot be called back."""


class _Counter:
    """A row of a table is a counter; a thread has the connection that it finds free."""

    def __init__(self, connections: queue.SimpleQueue[sqlite3.Connection], table: str) -> None:
        self._connections = connections
        self._table = table

    async def read(self, name: str) -> Counted:
        return await self._do(lambda connection: Counted(value=self._select(connection, name) or 0))

    async def remove(self, names: Sequence[str]) -> None:
        await self._do(lambda connection: connection.execute(f"DROP TABLE IF EXISTS {self._table}"))

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            connection = self._connections.get()
            try:
                return work(connection)
            finally:
                self._connections.put(connection)

        return await asyncio.to_thread(run)

    def _select(self, connection: sqlite3.Connection, name: str) -> int | None:
        found = connection.execute(f"SELECT value FROM {self._table} WHERE name = ?", (name,)).fetchone()  # noqa: S608
        return None if found is None else int(found[0])


class _Upsert(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        upsert = (
            f"INSERT INTO {self._table} VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"  # noqa: S608
            " RETURNING value"
        )
        return await self._do(lambda connection: Counted(value=connection.execute(upsert, (name,)).fetchall()[0][0]))


class _SelectThenUpdate(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        def increment(connection: sqlite3.Connection) -> Counted:
            value = self._select(connection, name)
            if value is None:
                connection.execute(f"INSERT INTO {self._table} VALUES (?, 1)", (name,))  # noqa: S608
                return Counted(value=1)
            if ceiling is not None and value >= ceiling:
                return Counted(applied=False, value=value)
            connection.execute(f"UPDATE {self._table} SET value = ? WHERE name = ?", (value + 1, name))  # noqa: S608
            return Counted(value=value + 1)

        return await self._do(increment)


def _with(kind: type[_Upsert] | type[_SelectThenUpdate]) -> Connect:
    @contextlib.asynccontextmanager
    async def connect(url: str, place: str = PLACE) -> AsyncIterator[Counting]:
        path = StoreURL.parse(url).path
        opened = [
            sqlite3.connect(path, _LOCKED_SECONDS, isolation_level=None, check_same_thread=False)
            for _ in range(_CONNECTIONS)
        ]
        connections: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        try:
            opened[0].execute("PRAGMA journal_mode = WAL")
            opened[0].execute(f"CREATE TABLE IF NOT EXISTS {place} (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")
            for connection in opened:
                connections.put(connection)
            yield kind(connections, place)
        finally:
            for connection in opened:
                connection.close()

    return connect


UPSERT: Final = Subject(
    name="sqlite-upsert",
    title="sqlite3 upsert",
    schemes=_SCHEMES,
    found="SQLite's manual, UPSERT, whose example is a counter",
    told="value",
    bounded=False,
    connect=_with(_Upsert),
)
SELECT_THEN_UPDATE: Final = Subject(
    name="sqlite-select-then-update",
    title="sqlite3 `SELECT`, then `UPDATE`",
    schemes=_SCHEMES,
    found="what an object-relational mapper makes of `row.value += 1`, and every first attempt",
    told="value",
    bounded=True,
    weaknesses=frozenset({"lost update", "duplicate value"}),
    connect=_with(_SelectThenUpdate),
)
