"""From SQLite's result codes to our errors: the one table."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final, TypeAlias

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable

ErrorClass: TypeAlias = type[StoreUnavailable] | type[StoreRefused] | type[OutcomeUnknown]

_NO_CODE: Final = -1

TABLE: Final[Mapping[int, tuple[ErrorClass, ErrorClass]]] = {
    # Result code: the error before COMMIT, and the error of COMMIT itself. Before COMMIT nothing of a transaction is
    # in the database, whatever fails, and we roll back: each code listed is definite there. At COMMIT only those are
    # that SQLite answers before it writes. Extended codes are their primary code's kind (the low byte).
    sqlite3.SQLITE_BUSY: (StoreUnavailable, StoreUnavailable),
    sqlite3.SQLITE_LOCKED: (StoreUnavailable, StoreUnavailable),
    sqlite3.SQLITE_CONSTRAINT: (StoreUnavailable, StoreUnavailable),
    sqlite3.SQLITE_ABORT: (StoreUnavailable, OutcomeUnknown),
    sqlite3.SQLITE_FULL: (StoreUnavailable, OutcomeUnknown),
    sqlite3.SQLITE_INTERRUPT: (StoreUnavailable, OutcomeUnknown),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, OutcomeUnknown),
    sqlite3.SQLITE_NOMEM: (StoreUnavailable, OutcomeUnknown),
    sqlite3.SQLITE_PROTOCOL: (StoreUnavailable, OutcomeUnknown),
    sqlite3.SQLITE_SCHEMA: (StoreUnavailable, OutcomeUnknown),
    sqlite3.SQLITE_AUTH: (StoreRefused, OutcomeUnknown),
    sqlite3.SQLITE_CANTOPEN: (StoreRefused, OutcomeUnknown),
    sqlite3.SQLITE_CORRUPT: (StoreRefused, OutcomeUnknown),
    sqlite3.SQLITE_ERROR: (StoreRefused, OutcomeUnknown),
    sqlite3.SQLITE_MISMATCH: (StoreRefused, OutcomeUnknown),
    sqlite3.SQLITE_NOLFS: (StoreRefused, OutcomeUnknown),
    sqlite3.SQLITE_NOTADB: (StoreRefused, OutcomeUnknown),
    sqlite3.SQLITE_PERM: (StoreRefused, OutcomeUnknown),
    sqlite3.SQLITE_READONLY: (StoreRefused, OutcomeUnknown),
    sqlite3.SQLITE_TOOBIG: (StoreRefused, OutcomeUnknown),
}
"""Not listed, and so "maybe": INTERNAL, MISUSE, RANGE, FORMAT, EMPTY, NOTFOUND, NOTICE, WARNING, which are faults of
SQLite, of Python's module or of ours, and everything that is no result code."""


def translate(error: Exception, path: object, *, committing: bool = False) -> PlusoneError:
    """Our error for what went wrong with the database at `path`; `committing`: at COMMIT."""
    if isinstance(error, PlusoneError):
        return error
    before, at_commit = TABLE.get(_primary_code(error), (OutcomeUnknown, OutcomeUnknown))
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    ours = (at_commit if committing else before)(f"SQLite, {path}: {error} ({name})")
    ours.__cause__ = error
    return ours


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection has the lock."""
    return _primary_code(error) == sqlite3.SQLITE_BUSY


def _primary_code(error: Exception) -> int:
    if isinstance(error, MemoryError):  # what Python's module makes of NOMEM
        return sqlite3.SQLITE_NOMEM
    code = getattr(error, "sqlite_errorcode", None)
    return _NO_CODE if code is None else code & 0xFF
