"""The one thread that writes: many calls in one transaction, decided in memory, durable before they are answered."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from plusone.clock import Clock
from plusone.errors import PlusoneError
from plusone.stores.protocol import Answer, GuardedAdd, TokenRecord
from plusone.stores.record import Row, step, token_records
from plusone.stores.sqlite.connection import begin, connect_writer
from plusone.stores.sqlite.errors import translate
from plusone.stores.sqlite.statements import ManyRows, sql

T = TypeVar("T")
Recorded = dict[tuple[int, str], TokenRecord]
"""Tokens by their counter's id and their text."""

DEAD_KEPT_MS: Final = 60 * 60 * 1000
ROWS_REMEMBERED: Final = 8_192
"""In each of two generations; a row takes about 700 bytes."""
SWEEP_ROWS: Final = 1_000
SWEEP_EVERY_SECONDS: Final = 60.0
SWEEP_BEHIND_SECONDS: Final = 0.05
"""Until the next sweep, when the last one found as much as it takes."""
_SWEEP_START: Final = (-1, 0)

_LOAD: Final = sql("load.sql")
_LOAD_TOKENS: Final = sql("load_tokens.sql")
_FIND_DEAD: Final = sql("find_dead.sql")
_SWEEP_TOKENS: Final = sql("sweep_tokens.sql")
_UPDATE: Final = ManyRows("update.sql")
_WRITE: Final = ManyRows("write.sql")
_WRITE_TOKENS: Final = ManyRows("write_tokens.sql")
_encode: Final = msgspec.json.Encoder().encode
_decode_rows: Final = msgspec.json.Decoder(list[Row]).decode
_decode_tokens: Final = msgspec.json.Decoder(list[tuple[int, str, str, int, int, int]]).decode
_decode_dead: Final = msgspec.json.Decoder(list[tuple[int, int, str, int]]).decode

_log = logging.getLogger("plusone.stores.sqlite")


class Writer:
    """Everything that writes to the file; used by one thread only.

    Rows that were used lately stay in memory, as they were committed. They are good for as long as nobody else
    commits, which `PRAGMA data_version` tells under the write lock. After any error they are forgotten.
    """

    def __init__(
        self, path: Path, clock: Clock, *, token_retention_ms: int, synchronous: str, busy_seconds: float
    ) -> None:
        self._path = path
        self._clock = clock
        self._token_retention_ms = token_retention_ms
        self._synchronous = synchronous
        self._busy_seconds = busy_seconds
        self._connection: sqlite3.Connection | None = None
        self._data_version: int | None = None
        self._recent: dict[str, Row] = {}
        self._older: dict[str, Row] = {}
        self._last_id: int | None = None
        self._sweep_due = float("-inf")
        self._sweep_after = _SWEEP_START

    def check(self) -> None:
        """Take the write lock and give it back; connects, and brings the schema up to date, if that is to be done."""
        self._transaction(lambda connection: None)

    def close(self) -> None:
        """Close the connection. The last one of a file also empties its write-ahead log."""
        self._forget()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def apply(self, requests: Sequence[GuardedAdd]) -> list[Answer | PlusoneError]:
        """Decide and write all of these in one transaction. An error raised holds for them all."""
        return self._transaction(lambda connection: self._apply(connection, requests))

    def sweep_if_due(self) -> None:
        """Remove some of what is dead or expired, if it is time to. After a failure the next time will do."""
        now = self._clock.monotonic()
        if now < self._sweep_due:
            return
        self._sweep_due = now + SWEEP_EVERY_SECONDS
        try:
            if self._transaction(self._sweep):
                self._sweep_due = now + SWEEP_BEHIND_SECONDS
        except PlusoneError as error:
            _log.warning("removing dead counters and expired tokens failed: %s", error)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` between BEGIN IMMEDIATE and COMMIT. Raises errors of ours only."""
        committing = False
        try:
            if self._connection is None:
                self._connection = connect_writer(self._path, self._synchronous, self._busy_seconds)
            connection = self._connection
            begin(connection, self._busy_seconds)
            [data_version] = connection.execute("PRAGMA data_version").fetchone()
            if data_version != self._data_version:
                self._forget()
                self._data_version = data_version
            result = work(connection)
            committing = True
            connection.execute("COMMIT")
        except Exception as error:
            # Closing rolls back, and leaves no doubt of what state the connection is in.
            self.close()
            raise translate(error, self._path, committing=committing) from error
        return result

    def _apply(self, connection: sqlite3.Connection, requests: Sequence[GuardedAdd]) -> list[Answer | PlusoneError]:
        now_ms = self._clock.wall_ms()
        self._recall(connection, requests)
        rows = self._recent
        recorded = self._recorded(connection, requests, now_ms)
        answers: list[Answer | PlusoneError] = []
        changed: dict[str, Row] = {}
        tokens: list[Any] = []
        for request in requests:
            row = rows[request.key]
            known = [recorded[row.id, token.token] for token in request.tokens if (row.id, token.token) in recorded]
            answer = step(row, request, now_ms, known)
            answers.append(answer)
            if not row.change:
                continue
            changed[row.key] = row
            if row.id == 0:
                row.id = self._new_id(connection)
            if request.tokens and isinstance(answer, Answer) and answer.status == "applied":
                for record in token_records(request, answer):
                    recorded[row.id, record.token] = record
                    tokens += (row.id, *msgspec.structs.astuple(record), now_ms + self._token_retention_ms)
        _write(connection, changed.values())
        _WRITE_TOKENS.run(connection, tokens)
        if len(rows) > ROWS_REMEMBERED:
            self._older, self._recent = rows, {}
        return answers

    def _recall(self, connection: sqlite3.Connection, requests: Sequence[GuardedAdd]) -> None:
        """See that the row of each counter that is asked for is among the recent ones; a new one where none exists."""
        recent, older = self._recent, self._older
        keys = [request.key for request in requests if request.key not in recent]
        if not keys:
            return
        recent |= {key: older[key] for key in keys if key in older}
        keys = [key for key in keys if key not in recent]
        if keys:
            [found] = connection.execute(_LOAD, (_encode(keys).decode(),)).fetchone()
            recent |= {key: Row(0, key) for key in keys}
            recent |= {row.key: row for row in _decode_rows(found)}

    def _recorded(self, connection: sqlite3.Connection, requests: Sequence[GuardedAdd], now_ms: int) -> Recorded:
        """Those of the tokens asked with that are recorded and not expired."""
        asked = [
            (row.id, token.token)
            for request in requests
            if request.tokens and (row := self._recent[request.key]).id
            for token in request.tokens
        ]
        if not asked:
            return {}
        [found] = connection.execute(_LOAD_TOKENS, (_encode(asked).decode(), now_ms)).fetchone()
        return {
            (counter, token): TokenRecord(token, data, value, revision, existed == 1)
            for counter, token, data, value, revision, existed in _decode_tokens(found)
        }

    def _new_id(self, connection: sqlite3.Connection) -> int:
        if self._last_id is None:
            [self._last_id] = connection.execute("SELECT coalesce(max(id), 0) FROM counters").fetchone()
        assert self._last_id is not None
        self._last_id += 1
        return self._last_id

    def _forget(self) -> None:
        self._recent, self._older = {}, {}
        self._last_id = None

    def _sweep(self, connection: sqlite3.Connection) -> bool:
        """Remove counters long dead, and expired tokens, some at a time; True if there may be more right behind."""
        now_ms = self._clock.wall_ms()
        after_expires_ms, after_id = self._sweep_after
        position = {
            "now_ms": now_ms,
            "written_until_ms": now_ms - DEAD_KEPT_MS,
            "after_expires_ms": after_expires_ms,
            "after_id": after_id,
            "limit": SWEEP_ROWS,
        }
        [found] = connection.execute(_FIND_DEAD, position).fetchone()
        dead = _decode_dead(found)
        gone = {id_: key for _, id_, key, removable in dead if removable}
        if gone:
            ids = _encode(list(gone)).decode()
            connection.execute("DELETE FROM tokens WHERE counter IN (SELECT value FROM json_each(?))", (ids,))
            connection.execute("DELETE FROM counters WHERE id IN (SELECT value FROM json_each(?))", (ids,))
            for key in gone.values():
                self._recent.pop(key, None)
                self._older.pop(key, None)
        tokens = connection.execute(_SWEEP_TOKENS, {"now_ms": now_ms, "limit": SWEEP_ROWS}).rowcount
        more_dead = len(dead) == SWEEP_ROWS
        self._sweep_after = max(dead)[:2] if more_dead else _SWEEP_START
        return more_dead or tokens == SWEEP_ROWS


def _write(connection: sqlite3.Connection, rows: Collection[Row]) -> None:
    """Write what was changed of these; if the transaction fails later, they are forgotten."""
    updated: list[Any] = []
    written: list[Any] = []
    for row in rows:
        if row.change == 1:
            updated += (
                row.id,
                row.value,
                row.revision,
                row.updated_ms,
                row.seq,
                row.value_before,
                row.revision_before,
                row.existed_before,
                row.written_ms,
            )
        else:
            written += msgspec.structs.astuple(row)[: _WRITE.width]
        row.change = 0
    _UPDATE.run(connection, updated)
    _WRITE.run(connection, written)
