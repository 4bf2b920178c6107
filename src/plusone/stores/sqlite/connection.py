"""Connections to the file: how they are set up, and the schema, which only goes forward."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from plusone.errors import StoreRefused
from plusone.stores.resources import migrations
from plusone.stores.sqlite.errors import is_busy
from plusone.stores.sqlite.statements import sql

T = TypeVar("T")

APPLICATION_ID: Final = 0x706C7573  # "plus"
SQLITE_OLDEST: Final = (3, 38, 0)
"""STRICT tables are of 3.37, JSON without a build option and `->>` of 3.38."""
_POLL_SHORTEST_SECONDS: Final = 0.000_2
_POLL_LONGEST_SECONDS: Final = 0.003
_VERSION: Final = sql("version.sql")


def connect_writer(path: Path, synchronous: str, busy_seconds: float) -> sqlite3.Connection:
    """The connection that writes, with the file brought to the newest schema. Raises `sqlite3.Error`, `StoreRefused`.

    It has no busy timeout: `begin` waits, because SQLite's own waiting sleeps up to 100 ms at a time, in which a busy
    neighbour takes and gives back the lock many times over.
    """
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        deadline = time.monotonic() + busy_seconds
        when_free(lambda: _schema_version(connection, path), deadline)  # before anything of the file is changed
        [mode] = when_free(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone(), deadline)
        if mode != "wal":
            raise StoreRefused(f"SQLite, {path}: this file system takes no write-ahead log (journal_mode is {mode})")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        _migrate(connection, path, deadline)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """A connection that cannot write. It is used by one thread at a time, whichever that is."""
    return sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )


def missing(path: Path, busy_seconds: float) -> Sequence[str]:
    """The statements of the schema that the file has not seen; all of them if there is no file yet."""
    seen = 0
    if path.exists():
        with contextlib.closing(connect_reader(path, busy_seconds)) as connection:
            seen = _schema_version(connection, path)
    return [statement for statements in _migrations()[seen:] for statement in statements]


def begin(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Take the write lock, waiting for another process for so long. Raises `sqlite3.Error`."""
    when_free(lambda: connection.execute("BEGIN IMMEDIATE"), time.monotonic() + busy_seconds)


def when_free(action: Callable[[], T], deadline: float) -> T:
    """Do what needs a lock, again while another has it, until the deadline (by `time.monotonic`)."""
    longest = _POLL_SHORTEST_SECONDS
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        longest = min(longest * 1.5, _POLL_LONGEST_SECONDS)
        time.sleep(random.uniform(_POLL_SHORTEST_SECONDS, longest))


def _migrate(connection: sqlite3.Connection, path: Path, deadline: float) -> None:
    """Run the scripts that the file has not seen, all in one transaction."""
    scripts = _migrations()
    if _schema_version(connection, path) == len(scripts):
        return
    when_free(lambda: connection.execute("BEGIN IMMEDIATE"), deadline)
    # Asked again: another process may have done it meanwhile. After an error the caller closes, which rolls back.
    for statements in scripts[_schema_version(connection, path) :]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(scripts)}")
    connection.execute("COMMIT")


def _schema_version(connection: sqlite3.Connection, path: Path) -> int:
    """How many scripts the file has seen. Raises `StoreRefused` for a file of others, or of a newer version."""
    application, version, tables = connection.execute(_VERSION).fetchone()
    if application != APPLICATION_ID:
        if application or version or tables:
            raise StoreRefused(f"SQLite, {path}: a database of another application; name another file")
        return 0
    newest = len(_migrations())
    if version > newest:
        raise StoreRefused(
            f"SQLite, {path}: written by a newer plusone (schema {version}, this one knows {newest}); update plusone"
        )
    return int(version)


def _migrations() -> Sequence[Sequence[str]]:
    return migrations(__package__)
