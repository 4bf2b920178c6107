"""Every result code of SQLite has its place in the table, or is known to be left out of it."""

from __future__ import annotations

import sqlite3

import pytest

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores.sqlite.errors import TABLE, translate

UNAVAILABLE = "BUSY LOCKED CONSTRAINT ABORT FULL INTERRUPT IOERR NOMEM PROTOCOL SCHEMA"
REFUSED = "AUTH CANTOPEN CORRUPT ERROR MISMATCH NOLFS NOTADB PERM READONLY TOOBIG"
UNLISTED = "INTERNAL MISUSE RANGE FORMAT EMPTY NOTFOUND NOTICE WARNING"
DEFINITE_AT_COMMIT = "BUSY LOCKED CONSTRAINT"
NO_ERRORS = "OK ROW DONE"
NO_RESULTS = """
    ALTER_TABLE ANALYZE ATTACH CREATE_INDEX CREATE_TABLE CREATE_TEMP_INDEX CREATE_TEMP_TABLE CREATE_TEMP_TRIGGER
    CREATE_TEMP_VIEW CREATE_TRIGGER CREATE_VIEW CREATE_VTABLE DELETE DENY DETACH DROP_INDEX DROP_TABLE DROP_TEMP_INDEX
    DROP_TEMP_TABLE DROP_TEMP_TRIGGER DROP_TEMP_VIEW DROP_TRIGGER DROP_VIEW DROP_VTABLE FUNCTION IGNORE INSERT PRAGMA
    READ RECURSIVE REINDEX SAVEPOINT SELECT TRANSACTION UPDATE
"""
"""Constants of the authorizer, whose numbers are others' numbers too."""


def _module_names() -> set[str]:
    names = {name.removeprefix("SQLITE_") for name in dir(sqlite3) if name.startswith("SQLITE_")}
    return {name for name in names if not name.startswith(("LIMIT_", "DBCONFIG_"))} - set(NO_RESULTS.split())


def _code(name: str) -> int:
    return int(getattr(sqlite3, f"SQLITE_{name}"))


def _error(name: str) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite words it")
    error.sqlite_errorcode = _code(name)
    error.sqlite_errorname = f"SQLITE_{name}"
    return error


def test_every_primary_code_is_classified() -> None:
    primary = {name for name in _module_names() if _code(name) < 256}
    classified = " ".join((UNAVAILABLE, REFUSED, UNLISTED, NO_ERRORS)).split()
    assert len(classified) == len(set(classified))
    assert primary == set(classified)
    assert set(TABLE) == {_code(name) for name in (UNAVAILABLE + " " + REFUSED).split()}


def test_every_extended_code_is_of_a_classified_kind() -> None:
    extended = {name for name in _module_names() if _code(name) >= 256}
    assert len(extended) >= 70
    for name in extended:
        kind = name.split("_", maxsplit=1)[0]
        assert _code(kind) == _code(name) & 0xFF
        for committing in (False, True):
            ours = translate(_error(name), "f.db", committing=committing)
            assert type(ours) is type(translate(_error(kind), "f.db", committing=committing)), name


@pytest.mark.parametrize(
    ("names", "expected"), [(UNAVAILABLE, StoreUnavailable), (REFUSED, StoreRefused), (UNLISTED, OutcomeUnknown)]
)
def test_before_commit(names: str, expected: type[PlusoneError]) -> None:
    for name in names.split():
        assert type(translate(_error(name), "f.db")) is expected, name


def test_at_commit_all_is_unknown_but_what_comes_before_any_writing() -> None:
    for name in (UNAVAILABLE + " " + REFUSED + " " + UNLISTED).split():
        expected = StoreUnavailable if name in DEFINITE_AT_COMMIT.split() else OutcomeUnknown
        assert type(translate(_error(name), "f.db", committing=True)) is expected, name


def test_what_is_no_result_code_is_unknown() -> None:
    for error in (sqlite3.ProgrammingError("closed"), OverflowError("too large"), RuntimeError("a bug")):
        assert type(translate(error, "f.db")) is OutcomeUnknown
    assert type(translate(MemoryError(), "f.db")) is StoreUnavailable
    assert type(translate(MemoryError(), "f.db", committing=True)) is OutcomeUnknown


def test_the_message_says_which_file_and_what_sqlite_said() -> None:
    ours = translate(_error("IOERR_WRITE"), "/data/f.db")
    assert str(ours) == "SQLite, /data/f.db: as SQLite words it (SQLITE_IOERR_WRITE)"
    assert isinstance(ours.__cause__, sqlite3.OperationalError)
