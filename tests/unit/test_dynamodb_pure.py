"""What of the DynamoDB store needs no server: the URL, the driver's settings, signatures, statements, errors."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("aiobotocore")

import aiohttp
import botocore
from aiohttp.client_reqrep import ConnectionKey
from botocore import exceptions

from plusone.errors import ConfigurationError, OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores.dynamodb.errors import BY_CODE, WHILE_SENDING, bare, before_sending, by_code, while_sending
from plusone.stores.dynamodb.item import ABSENT
from plusone.stores.dynamodb.keys import SHARDS, counter_key, token_key
from plusone.stores.dynamodb.settings import Settings
from plusone.stores.dynamodb.statements import Statements
from plusone.stores.dynamodb.step import Plan, plan
from plusone.stores.dynamodb.wire import Wire
from plusone.stores.registry import StoreURL
from tests.conformance.harness import add, closing, delete, restart

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)


def settings(url: str) -> Settings:
    return Settings.from_url(StoreURL.parse(url))


# The URL.


def test_the_url_says_it_all(tmp_path: Path) -> None:
    certificates = tmp_path / "certificates.pem"
    certificates.touch()
    found = settings(
        "dynamodb://AKIA:p%2Fss@My_Table.1?region=eu-central-1&endpoint=https://localhost:8000/"
        f"&connect_timeout=70&connections=4&ca_file={certificates}"
    )
    assert found == Settings(
        table="My_Table.1",
        region="eu-central-1",
        endpoint="https://localhost:8000",
        access_key="AKIA",
        secret_key="p/ss",
        ca_file=str(certificates),
        connect_timeout_ms=70,
        connections=4,
    )


def test_what_the_url_leaves_out() -> None:
    found = settings("dynamodb://counters")
    assert (found.table, found.region, found.endpoint, found.access_key, found.secret_key) == (
        *("counters", None),
        *(None, None, None),
    )
    assert (found.connect_timeout_ms, found.connections, found.ca_file) == (2_000, 32, None)


@pytest.mark.parametrize(
    "url",
    [
        "dynamodb://",
        "dynamodb://ab",
        "dynamodb://a%20b",
        "dynamodb://" + "t" * 256,
        "dynamodb://table:8000",
        "dynamodb://table/path",
        "dynamodb://table#fragment",
        "dynamodb://key@table",
        "dynamodb://key:@table",
        "dynamodb://:secret@table",
        "dynamodb://table?region=",
        "dynamodb://table?region=eu central",
        "dynamodb://table?endpoint=localhost:8000",
        "dynamodb://table?endpoint=http://",
        "dynamodb://table?endpoint=http://host:port",
        "dynamodb://table?endpoint=http://host:8000/path",
        "dynamodb://table?endpoint=http://me:secret@host:8000",
        "dynamodb://table?connections=0",
        "dynamodb://table?connect_timeout=soon",
        "dynamodb://table?retries=3",
        "dynamodb://table?ca_file=/no/such/file",
    ],
)
def test_what_no_url_may_say(url: str) -> None:
    with pytest.raises(ConfigurationError, match="dynamodb") as refused:
        settings(url)
    assert "secret" not in str(refused.value).replace("[key:secret@]", "").replace("key and secret", "")


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("http://localhost:8000", True),
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://dynamodb:8000", False),
        ("https://vpce-1.dynamodb.eu-central-1.vpce.amazonaws.com", False),
        ("http://10.0.0.1:8000", False),
    ],
)
def test_tables_are_made_unasked_on_this_machine_only(endpoint: str, local: bool) -> None:
    assert settings(f"dynamodb://table?endpoint={endpoint}").is_local is local
    assert settings("dynamodb://table").is_local is False


# Keys.


@given(NAMES, NAMES)
def test_keys_are_apart_and_fit(one: str, other: str) -> None:
    """A partition key has 2,048 bytes at most, a sort key 1,024; a token is no counter."""
    assert (counter_key(f"a/{one}") == counter_key(f"a/{other}")) == (one == other)
    assert counter_key(f"a/{one}")[1] == one
    token = token_key(f"a/{one}", other)
    assert token != counter_key(f"a/{one}")
    assert (token == token_key(f"a/{other}", one)) == (one == other)


def test_the_longest_keys_fit() -> None:
    partition, name = token_key("a" * 63 + "/" + "n" * 255, "\U0001fa99" * 255)
    assert len(partition.encode()) <= 2_048
    assert len(name.encode()) <= 1_024


def test_a_name_stays_in_its_shard() -> None:
    """What is stored is found by it: these are literals."""
    assert SHARDS == 16
    assert [counter_key(f"default/{name}") for name in ("votes", "Votes", "caf\u00e9")] == [
        ("default/15", "votes"),
        ("default/11", "Votes"),
        ("default/05", "caf\u00e9"),
    ]


# The driver.


def test_the_drivers_retries_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says. What counts does not go through the client at all."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "10")
    monkeypatch.setenv("AWS_RETRY_MODE", "adaptive")

    async def look() -> None:
        wire = Wire(settings("dynamodb://k:s@table?region=eu-central-1&connections=7&connect_timeout=1500"))
        await wire.open()
        try:
            assert wire.client.meta.config.retries == {"mode": "standard", "total_max_attempts": 1}
            assert wire.client.meta.config.connect_timeout == 1.5
            assert wire.client.meta.endpoint_url == "https://dynamodb.eu-central-1.amazonaws.com"
            assert wire.http._max_pool_connections == 7
        finally:
            await wire.close()

    asyncio.run(look())


def test_aiohttp_repeats_no_post() -> None:
    """It sends again what a stale connection did not take, but idempotent methods only."""
    from aiohttp import client

    assert "POST" not in client.IDEMPOTENT_METHODS
    assert "method in IDEMPOTENT_METHODS" in inspect.getsource(client.ClientSession)


# Statements.


def test_no_between_has_its_ends_crossed_and_every_value_is_a_parameter() -> None:
    """BETWEEN with lo > hi is a ValidationException, of the whole step."""
    statements = Statements("plusone")
    requests: list[Any] = [
        add(5, seq=9, acked=8, lo=7, hi=7),
        add(5, seq=1),
        restart(-3, seq=2, acked=1, ttl_ms=1_000),
        delete(seq=3, acked=2, revision=7),
        closing(seq=4, acked=3),
        add(1, seq=2, alive=False, lo=0, hi=0),
        add(1, seq=2, acked=1, alive=False),
        add(0, seq=2, applied=0, revision=0),
    ]
    for request in requests:
        for item in (None, ABSENT) if not request.acked else (None,):
            planned = plan(statements, request, item, 1_000, 1_000)
            assert isinstance(planned, Plan)
            text, parameters = planned.statement.text, planned.statement.parameters
            assert text.count("?") == len(parameters)
            position = -1
            while (position := text.find("BETWEEN ? AND ?", position + 1)) >= 0:
                first = text[:position].count("?")
                low, high = (int(str(parameters[first + which]["N"])) for which in (0, 1))
                assert low <= high


def test_a_dead_record_whose_guard_excludes_0_is_read_first() -> None:
    """The forms for the dead hold no guard, for their value is 0: they must not be sent where 0 is outside."""
    statements = Statements("plusone")
    assert plan(statements, add(1, alive=False, lo=1), None, 1_000, 1_000) is None
    assert plan(statements, add(1, revision=0, hi=-1), None, 1_000, 1_000) is None


# Errors.


def service() -> Any:
    [model] = Path(botocore.__file__).parent.glob("data/dynamodb/*/service-2.json.gz")
    return json.loads(gzip.decompress(model.read_bytes()))


def codes() -> list[str]:
    """Every error code that botocore's description of DynamoDB has."""
    shapes = service()["shapes"]
    whole = [name for name, shape in shapes.items() if shape.get("exception")]
    return sorted({*map(bare, whole), *map(bare, shapes["BatchStatementErrorCodeEnum"]["enum"])})


OF_OTHER_CALLS = {
    *("BackupInUse", "BackupNotFound", "ContinuousBackupsUnavailable", "PointInTimeRecoveryUnavailable"),
    *(
        "ExportConflict",
        "ExportNotFound",
        "ImportConflict",
        "ImportNotFound",
        "InvalidExportTime",
        "InvalidRestoreTime",
    ),
    *("GlobalTableAlreadyExists", "GlobalTableNotFound", "ReplicaAlreadyExists", "ReplicaNotFound", "PolicyNotFound"),
    "TableAlreadyExists",
}
"""Of backups, exports, replicas and policies, which plusone does not ask for."""


def test_every_error_code_of_the_service_has_its_place() -> None:
    assert [code for code in codes() if code not in BY_CODE and code not in OF_OTHER_CALLS] == []
    assert not OF_OTHER_CALLS & BY_CODE.keys()


def test_every_exception_of_the_driver_has_its_place() -> None:
    """What can come of a request under way is listed by class; the rest of botocore's comes before one is sent."""
    ours = {kind for kind in WHILE_SENDING if kind.__module__ == "botocore.exceptions"}
    theirs = {
        kind
        for _, kind in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(kind, exceptions.HTTPClientError | exceptions.ConnectionError)
        and kind.__module__ == "botocore.exceptions"
    }
    assert theirs == ours
    for _, kind in inspect.getmembers(exceptions, inspect.isclass):
        if issubclass(kind, exceptions.BotoCoreError):
            unmade: Any = kind.__new__  # without the arguments that each wants of its own
            assert isinstance(before_sending(unmade(kind)), StoreUnavailable | StoreRefused)


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException", StoreUnavailable),
        ("com.amazon.coral.availability#ThrottlingException", StoreUnavailable),
        ("ThrottlingError", StoreUnavailable),
        ("RequestLimitExceeded", StoreUnavailable),
        ("TransactionConflict", StoreUnavailable),
        ("TransactionConflictException", StoreUnavailable),
        ("ResourceNotFoundException", StoreRefused),
        ("AccessDeniedException", StoreRefused),
        ("UnrecognizedClientException", StoreRefused),
        ("ValidationError", StoreRefused),
        ("InternalServerError", OutcomeUnknown),
        ("ServiceUnavailable", OutcomeUnknown),
        ("SomethingNewException", OutcomeUnknown),
    ],
)
def test_what_a_code_means(code: str, ours: type[PlusoneError]) -> None:
    assert type(by_code(code, "because")) is ours


def test_a_reset_connection_is_no_failure_to_connect() -> None:
    """aiobotocore says EndpointConnectionError of both; only the one before anything was sent is definite."""
    key = ConnectionKey("host", 1, False, True, None, None, None, None)
    refused = aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused"))
    reset = aiohttp.ClientOSError(104, "reset by peer")
    for cause, ours in ((refused, StoreUnavailable), (reset, OutcomeUnknown)):
        assert type(while_sending(exceptions.EndpointConnectionError(endpoint_url="u", error=cause))) is ours
    assert type(while_sending(exceptions.ReadTimeoutError(endpoint_url="u", error="late"))) is OutcomeUnknown
    assert type(while_sending(exceptions.ConnectTimeoutError(endpoint_url="u", error="late"))) is StoreUnavailable
    assert type(while_sending(RuntimeError("whatever"))) is OutcomeUnknown
