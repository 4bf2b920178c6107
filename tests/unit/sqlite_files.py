"""What the tests of SQLite's own behaviour share."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from plusone.clock import Clock
from plusone.stores.registry import make_store
from plusone.stores.sqlite.connection import connect_writer
from plusone.stores.sqlite.store import SQLiteStore
from tests.conformance.harness import DAY_MS


def store_of(url: str, clock: Clock | None = None) -> SQLiteStore:
    store = make_store(url, clock=clock or Clock(), token_retention_ms=DAY_MS)
    assert isinstance(store, SQLiteStore)
    return store


@asynccontextmanager
async def open_store(path: Path, parameters: str = "", clock: Clock | None = None) -> AsyncIterator[SQLiteStore]:
    store = store_of(f"sqlite://{path}{parameters}", clock)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What another program would see or do."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        return connection.execute(sql).fetchall()


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """As another process holds it in the middle of a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


class Trace:
    """The statements of the connection that writes, as SQLite starts them; `setup` is run on it first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *setup: str) -> None:
        self.statements: list[str] = []
        self._began = threading.Event()

        def traced(path: Path, synchronous: str, busy_seconds: float) -> sqlite3.Connection:
            connection = connect_writer(path, synchronous, busy_seconds)
            for statement in setup:
                connection.execute(statement)
            connection.set_trace_callback(self._see)
            return connection

        monkeypatch.setattr("plusone.stores.sqlite.writer.connect_writer", traced)

    def _see(self, statement: str) -> None:
        self.statements.append(statement)
        if statement == "BEGIN IMMEDIATE":
            self._began.set()

    def clear(self) -> None:
        self.statements.clear()
        self._began.clear()

    async def next_transaction(self) -> None:
        """Wait until one has begun since `clear`, or tries to."""
        assert await asyncio.to_thread(self._began.wait, 20)
