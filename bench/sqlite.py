"""The library on SQLite, against the standard library's driver: both in WAL mode, both durable at every commit."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from bench import servers
from bench.callers import rate, spread_names
from bench.library import increments
from bench.measure import Pair, Side
from bench.plain import CALLERS, opened
from plusone.lab.load import event_loop

_SCHEMA = "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID"
_INCREMENT = "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"


@contextlib.contextmanager
def against_autocommit(*, spread: bool) -> Iterator[Pair]:
    """256 callers, against one transaction for each increment, one after the other, without any event loop."""
    with (
        servers.folder() as folder,
        contextlib.closing(_connect(folder / "peer.db")) as connection,
        event_loop(fast=True) as runner,
        opened(runner, f"sqlite://{folder}/ours.db") as counters,
    ):
        ours = rate(runner, CALLERS, increments(counters, spread=spread))
        yield Pair(ours, _autocommit(connection, spread=spread))


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_SCHEMA)
    return connection


def _autocommit(connection: sqlite3.Connection, *, spread: bool) -> Side:
    name = spread_names() if spread else lambda: "votes"

    def side(seconds: float) -> float:
        begin = now = time.perf_counter()
        answered = 0
        while now < begin + seconds:
            connection.execute(_INCREMENT, (name(),)).fetchall()
            answered += 1
            now = time.perf_counter()
        return answered / (now - begin)

    return side
