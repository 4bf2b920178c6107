"""What of the MongoDB store needs no server: the URL, the driver's settings, the documents, the error table."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pymongo")

import bson.errors
import pymongo.errors
from bson import decode, encode
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from pymongo import ReadPreference

from plusone.errors import (
    ConfigurationError,
    CorruptRecord,
    OutcomeUnknown,
    PlusoneError,
    StoreRefused,
    StoreUnavailable,
)
from plusone.stores.mongodb.documents import TOKENS_PER_COUNTER, Document, Write, absent, decide, parse
from plusone.stores.mongodb.errors import BY_CLASS, DUPLICATE_KEY, of_write_error, translate
from plusone.stores.mongodb.settings import Settings
from plusone.stores.mongodb.store import MongoDBStore
from plusone.stores.protocol import Answer, GuardedAdd, TokenWrite
from plusone.stores.record import Session
from plusone.stores.registry import StoreURL
from tests.conformance.harness import KEY, A, B, C, add, asynchronous

NOW = 1_800_000_000_000


def settings(url: str) -> Settings:
    return Settings.from_url(StoreURL.parse(url))


# The URL.


def test_a_url_says_it_all(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    found = settings(
        "mongodb://me:s%2Fcret@a:1,b/shop?collection=likes&auth_source=users&replica_set=rs&tls=yes"
        f"&ca_file={ca_file}&secondaries=yes&connect_timeout=50&connections=7"
    )
    assert found == Settings(
        scheme="mongodb",
        hosts=(("a", 1), ("b", 27_017)),
        database="shop",
        collection="likes",
        username="me",
        password="s/cret",
        auth_source="users",
        replica_set="rs",
        tls=True,
        ca_file=str(ca_file),
        secondaries=True,
        connect_timeout_ms=50,
        connections=7,
    )


def test_what_a_url_leaves_out() -> None:
    found = settings("mongodb://localhost")
    assert (found.hosts, found.database, found.collection) == ((("localhost", 27_017),), "plusone", "counters")
    assert (found.tls, found.secondaries, found.connect_timeout_ms, found.connections) == (False, False, 2_000, 32)
    assert settings("documentdb://h").tls
    assert settings("mongodb+srv://h").tls


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mongodb:///plusone", "the store URL must read mongodb://"),
        ("mongodb://h/a.b", "the database must be"),
        ("mongodb://h/a/b", "the database must be"),
        ("mongodb://h/plusone?collection=system.users", "collection must be"),
        ("mongodb://h/plusone?collection=a$b", "collection must be"),
        ("mongodb://h/plusone?tls=maybe", "tls must be yes or no"),
        ("mongodb://h/plusone?secondaries=1", "secondaries must be yes or no"),
        ("mongodb://h/plusone?ca_file=/none", "ca_file needs tls=yes"),
        ("documentdb://h/plusone?ca_file=/none", "ca_file '/none' is no file"),
        ("mongodb://h/plusone?connections=0", "connections must be an integer from 1 to 10000"),
        ("mongodb://h/plusone?connect_timeout=60001", "connect_timeout must be an integer from 1 to 60000"),
        ("mongodb://h/plusone?retryWrites=true", "unknown parameter 'retryWrites'"),
        ("mongodb+srv://h:27017/plusone", "names one host, without a port"),
    ],
)
def test_other_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")) as refused:
        settings(url)
    assert str(refused.value).startswith(url.partition(":")[0])


# The driver.


@pytest.mark.parametrize("scheme", ["mongodb", "documentdb"])
@asynchronous
async def test_the_drivers_own_retries_are_off(scheme: str) -> None:
    found = settings(f"{scheme}://a:1,b:2/plusone")
    client = found.client()
    try:
        options = client.options
        assert (options.retry_writes, options.retry_reads) == (False, False)
        assert options.server_selection_timeout == options.pool_options.connect_timeout == 2.0
        assert options.pool_options.socket_timeout is None
        assert options.pool_options.max_pool_size == 32
        counters = found.counters(client)
        assert counters.write_concern.document == {"w": "majority", "j": True}
        assert counters.read_preference == ReadPreference.PRIMARY
        assert counters.read_concern.level == (None if scheme == "documentdb" else "majority")
    finally:
        await client.close()


# Documents.


def written(document: Document, request: GuardedAdd, now_ms: int = NOW, retention_ms: int = 1_000) -> Write:
    decided = decide(document, request, now_ms, retention_ms)
    assert isinstance(decided, Write)
    return decided


def integers(part: Any) -> list[Any]:
    if isinstance(part, dict):
        return [found for inner in part.values() for found in integers(inner)]
    if isinstance(part, list):
        return [found for inner in part for found in integers(inner)]
    return [part] if isinstance(part, int) and not isinstance(part, bool) else []


def test_integers_are_sent_as_64_bits() -> None:
    """Int64 always: PyMongo sends a small one as 32 bits, on which the server would count and overflow."""
    tokens = (TokenWrite("t", "notes"),)
    created = written(absent(KEY), add(1, ttl_ms=5, tokens=tokens)).statement
    changed = written(Document(KEY, stamp=7), add(1, tokens=tokens)).statement
    for statement in (created, changed):
        found = decode(encode(statement["u"]))
        sessions = [value for name, value in (found | found.get("$set", {})).items() if name.startswith("sessions")]
        assert sessions
        assert {type(number) for number in integers(found)} - {Int64} <= {int}
        existed = [session for each in sessions for session in (each if isinstance(each, list) else each[A])][3]
        assert [number for number in integers(found) if type(number) is int] == [existed]


def test_a_write_asks_for_the_document_it_was_decided_on() -> None:
    document = Document(KEY, stamp=7, value=5, revision=2, expires=None, sessions={B: Session(1, 0, 0, 0, NOW)})
    write = written(document, add(3, seq=4))
    assert write.answer == Answer("applied", 5, 2, True)
    assert write.statement["q"] == {"_id": KEY, "stamp": 7}
    assert write.after.stamp not in (0, 7)
    assert write.statement["u"]["$set"]["stamp"] == write.after.stamp
    assert write.statement["u"]["$set"][f"sessions.{A}"] == [4, 5, 2, 1, NOW]
    assert (write.after.value, write.after.revision, set(write.after.sessions)) == (8, 3, {A, B})
    assert written(document, add(3, seq=4)).after.stamp != write.after.stamp
    assert document.sessions == {B: Session(1, 0, 0, 0, NOW)}


def test_a_document_that_is_not_there_is_created_or_missed() -> None:
    statement = written(absent(KEY), add(1)).statement
    assert (statement["q"], statement["upsert"]) == ({"_id": KEY, "stamp": 0}, True)
    assert statement["u"]["_id"] == KEY


def test_old_sessions_leave_with_the_write_of_a_new_writer() -> None:
    old = {f"writer{number:010}": Session(1, 0, 0, 0, NOW - 3_600_001 + number) for number in range(40)}
    write = written(Document(KEY, stamp=7, sessions=old), add(1))
    assert write.statement["u"]["$unset"] == {"sessions.writer0000000000": "", "sessions.writer0000000001": ""}
    assert len(write.after.sessions) == 39
    assert (
        "$unset" not in written(Document(KEY, stamp=7, sessions=old), add(1, seq=2, writer=next(iter(old)))).statement
    )


def test_tokens_that_were_not_read_are_asked_for_in_the_write() -> None:
    document = Document(KEY, stamp=7, token_count=2, tokens_until=NOW + 5)
    write = written(document, add(1, tokens=(TokenWrite("$t.u", "notes"),)))
    assert write.statement["q"]["tokens.token"] == {"$nin": ["$t.u"]}
    assert [token["token"] for token in write.statement["u"]["$push"]["tokens"]["$each"]] == ["$t.u"]
    assert (write.after.token_count, write.after.tokens_until) == (3, NOW + 1_000)


def test_expired_tokens_leave_with_the_next_write() -> None:
    document = Document(KEY, stamp=7, token_count=2, tokens_until=NOW)
    write = written(document, add(1))
    assert write.statement["u"]["$set"]["tokens"] == []
    assert write.after.token_count == 0


def test_a_full_document_is_read_before_it_refuses() -> None:
    document = Document(KEY, stamp=7, token_count=TOKENS_PER_COUNTER, tokens_until=NOW + 5)
    assert decide(document, add(1, tokens=(TokenWrite("t", "notes"),)), NOW, 1_000) is None


def test_a_server_may_remove_what_is_long_dead() -> None:
    hour = 3_600_000
    living = written(absent(KEY), add(1))
    assert living.statement["u"]["gone_at"] is None
    assert written(absent(KEY), add(1, ttl_ms=50)).statement["u"]["gone_at"] == DatetimeMS(NOW + 50 + hour)
    tokens = (TokenWrite("t", "notes"),)
    kept = written(absent(KEY), add(0, restart=True, delete=True, tokens=tokens), retention_ms=2 * hour)
    assert kept.statement["u"]["gone_at"] == DatetimeMS(NOW + 2 * hour)


@pytest.mark.parametrize(
    "found",
    [
        {"stamp": "seven"},
        {"value": 1.0},
        {"value": None},
        {"sessions": []},
        {"sessions": {C: [1, 2]}},
        {"tokens": ["t"]},
    ],
)
def test_a_document_of_something_else_is_corrupt(found: dict[str, Any]) -> None:
    document = parse({"_id": KEY, "stamp": 1, "value": 1} | found)
    assert isinstance(document, CorruptRecord)
    assert str(document).startswith(f"MongoDB: {KEY!r} holds a document that is no counter of plusone's")


def test_a_document_without_a_stamp_is_corrupt() -> None:
    assert isinstance(parse({"_id": KEY, "count": 3}), CorruptRecord)
    assert isinstance(parse({"_id": KEY, "stamp": 0}), CorruptRecord)


# Errors.


def exceptions(module: Any) -> list[type[Exception]]:
    return [
        found
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, Exception) and found.__module__ == module.__name__
    ]


def test_every_exception_of_the_driver_is_in_the_table() -> None:
    assert set(exceptions(pymongo.errors) + exceptions(bson.errors)) == set(BY_CLASS)


@pytest.mark.parametrize(
    ("error", "verdict", "text"),
    [
        (pymongo.errors.AutoReconnect("connection closed"), OutcomeUnknown, "connection closed"),
        (pymongo.errors.NetworkTimeout("timed out"), OutcomeUnknown, "timed out"),
        (pymongo.errors.NotPrimaryError("not primary"), OutcomeUnknown, "not primary"),
        (pymongo.errors.NotPrimaryError("no", {"errorLabels": ["NoWritesPerformed"]}), StoreUnavailable, "no"),
        (pymongo.errors.WriteConcernError("waiting", 64), OutcomeUnknown, "waiting"),
        (pymongo.errors.WTimeoutError("waiting", 64), OutcomeUnknown, "waiting"),
        (pymongo.errors.OperationFailure("new", 987_654), OutcomeUnknown, "new"),
        (pymongo.errors.OperationFailure("no code"), OutcomeUnknown, "no code"),
        (pymongo.errors.OperationFailure("conflict", 112), StoreUnavailable, "conflict"),
        (pymongo.errors.OperationFailure("disk full", 14_031), StoreUnavailable, "disk full"),
        (pymongo.errors.OperationFailure("not authorized", 13), StoreRefused, "give the user the role readWrite"),
        (pymongo.errors.OperationFailure("failed", 18), StoreRefused, "see the user, its password and auth_source"),
        (pymongo.errors.ServerSelectionTimeoutError("h:1: [Errno 111] Connect call failed"), StoreUnavailable, "runs"),
        (pymongo.errors.ServerSelectionTimeoutError("h:1: Name or service not known"), StoreUnavailable, "host"),
        (pymongo.errors.ServerSelectionTimeoutError("certificate verify failed"), StoreRefused, "ca_file"),
        (
            pymongo.errors.ServerSelectionTimeoutError("No servers found yet, Timeout: 2.0s"),
            StoreUnavailable,
            "tls: a server without TLS needs tls=no",
        ),
        (
            pymongo.errors.ServerSelectionTimeoutError("h:1: SSL handshake failed: h:1: reset"),
            StoreUnavailable,
            "tls: a server without TLS needs tls=no",
        ),
        (pymongo.errors.ServerSelectionTimeoutError("h:1: timed out"), StoreUnavailable, "it did not answer in time"),
        (
            pymongo.errors.ServerSelectionTimeoutError("h:1: connection closed"),
            StoreUnavailable,
            "it hung up; see that tls in the store URL fits",
        ),
        (
            pymongo.errors.ServerSelectionTimeoutError('No replica set members available for replica set name "a"'),
            StoreUnavailable,
            "see replica_set in the store URL",
        ),
        (
            pymongo.errors.ServerSelectionTimeoutError("No primary available for writes"),
            StoreUnavailable,
            "its replica set has a primary",
        ),
        (
            pymongo.errors.ServerSelectionTimeoutError("certificate verify failed"),
            StoreRefused,
            "Amazon DocumentDB: its global-bundle.pem",
        ),
        (pymongo.errors.WaitQueueTimeoutError("no connection"), StoreUnavailable, "no connection"),
        (pymongo.errors.ConfigurationError("too old"), StoreRefused, "too old"),
        (bson.errors.InvalidDocument("too large"), StoreRefused, "too large"),
        (bson.errors.InvalidBSON("garbled"), OutcomeUnknown, "garbled"),
    ],
)
def test_what_an_exception_means(error: Exception, verdict: type[PlusoneError], text: str) -> None:
    found = translate(error, wrote=True)
    assert type(found) is verdict
    assert str(found).startswith("MongoDB: ")
    assert text in str(found)


def test_a_question_that_fails_counted_nothing() -> None:
    assert type(translate(pymongo.errors.AutoReconnect("cut"), wrote=False)) is StoreUnavailable
    assert type(translate(pymongo.errors.OperationFailure("no", 13), wrote=False)) is StoreRefused


def test_one_statements_error() -> None:
    assert type(of_write_error({"code": 17_419, "errmsg": "too large"})) is StoreRefused
    assert type(of_write_error({"code": 112, "errmsg": "conflict"})) is StoreUnavailable
    assert type(of_write_error({"code": 11_602, "errmsg": "interrupted"})) is OutcomeUnknown
    assert DUPLICATE_KEY == 11_000  # the guard's miss, and no error at all


def test_what_it_promises() -> None:
    assert MongoDBStore.CAPABILITIES.tokens_per_counter == TOKENS_PER_COUNTER
    assert MongoDBStore.CAPABILITIES.linearizable is False
    assert "MongoDB and DocumentDB themselves were not run" in MongoDBStore.CAPABILITIES.tested_on
