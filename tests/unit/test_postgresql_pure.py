"""What of the PostgreSQL store needs no server: the URL, the driver's settings, the errors."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

pytest.importorskip("asyncpg")

import asyncpg
from asyncpg.exceptions import _base

from plusone.errors import ConfigurationError, OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores.postgresql.errors import BY_SQLSTATE, is_data_error, leaves_connection_usable, not_sent, translate
from plusone.stores.postgresql.settings import Settings
from plusone.stores.registry import StoreURL


def settings(url: str) -> Settings:
    return Settings.from_url(StoreURL.parse(url))


def test_the_url_says_it_all() -> None:
    found = settings(
        "postgresql://me:p%40ss@[::1]:7000/my%20db?schema=counting&sslmode=require&replica=h:1&connect_timeout=70"
        "&connections=4&statement_cache_size=0"
    )
    assert found == Settings(
        host="::1",
        port=7000,
        database="my db",
        username="me",
        password="p@ss",
        schema="counting",
        sslmode="require",
        sslrootcert=None,
        replica=("h", 1),
        connect_timeout_ms=70,
        connections=4,
        statement_cache_size=0,
    )


def test_what_the_url_leaves_out() -> None:
    found = settings("postgres://host/db")
    assert (found.port, found.username, found.password, found.schema) == (5432, None, None, "plusone")
    assert (found.sslmode, found.replica, found.connections, found.statement_cache_size) == ("prefer", None, 8, 100)
    assert settings("postgres://host/db?replica=other").replica == ("other", 5432)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///db",
        "postgresql://host",
        "postgresql://host/",
        "postgresql://host/db#fragment",
        "postgresql://host/d%00b",
        "postgresql://host/db?schema=",
        "postgresql://host/db?schema=Upper",
        "postgresql://host/db?schema=pg_own",
        'postgresql://host/db?schema=a"b',
        "postgresql://host/db?schema=" + "a" * 64,
        "postgresql://host/db?sslmode=maybe",
        "postgresql://host/db?sslrootcert=/etc/hosts",
        "postgresql://host/db?sslmode=verify-full&sslrootcert=/no/such/file",
        "postgresql://host/db?sslmode=verify-full&sslrootcert=/etc/hosts",
        "postgresql://host/db?connections=0",
        "postgresql://host/db?connect_timeout=0",
        "postgresql://host/db?statement_cache_size=-1",
        "postgresql://host/db?replica=:1",
        "postgresql://host/db?replica=h:0",
        "postgresql://host/db?command_timeout=3",
    ],
)
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        settings(url)


@pytest.mark.parametrize("password", ["hun/ter2", "hun@t/er2", "1/hunter2", "hun@t/er2@", "h:1@2/er2"])
def test_a_password_that_is_not_encoded_is_not_taken_for_a_host(password: str) -> None:
    """A part of it would be the host, and the host's name is in messages."""
    with pytest.raises(ConfigurationError, match="percent-encoded") as refused:
        settings(f"postgresql://me:{password}@host/db")
    assert "hun" not in str(refused.value)
    assert "er2" not in str(refused.value)
    assert settings("postgresql://me:hun@ter2@host/db").host == "host"


def test_the_driver_is_given_no_retries_and_no_time_limit() -> None:
    """What asyncpg does by itself is a search for hosts, of which there is one, and a limit for statements: off."""
    arguments = settings("postgresql://host/db").arguments("host", 1)
    assert (arguments["host"], arguments["target_session_attrs"], arguments["command_timeout"]) == ("host", "any", None)
    assert arguments["timeout"] == 2


@pytest.mark.parametrize(
    ("sslmode", "verify", "named"),
    [
        ("require", ssl.CERT_NONE, False),
        ("verify-ca", ssl.CERT_REQUIRED, False),
        ("verify-full", ssl.CERT_REQUIRED, True),
    ],
)
def test_tls_checks_what_the_mode_says(sslmode: str, verify: ssl.VerifyMode, named: bool) -> None:
    context = settings(f"postgresql://host/db?sslmode={sslmode}").arguments("host", 1)["ssl"]
    assert (context.verify_mode, context.check_hostname) == (verify, named)


# Errors.

UNAVAILABLE = {
    *(
        "25000",
        "25001",
        "25002",
        "25003",
        "25004",
        "25005",
        "25006",
        "25007",
        "25008",
        "25P01",
        "25P02",
        "25P03",
        "25P04",
    ),
    *("26000", "40000", "40001", "40002", "40P01", "42P05", "53000", "53100", "53200", "53300", "53400"),
    *("55000", "55006", "55P02", "55P03", "55P04", "57000", "57014", "57P03", "57P04"),
    *("58000", "58030", "58P01", "58P02", "58P03", "23505"),
}
REFUSED_CLASSES = {"0A", "0L", "0P", "22", "23", "28", "3D", "3F", "42", "54", "F0", "P0"}
UNKNOWN_CLASSES = {
    *("01", "02", "03", "08", "09", "0B", "0F", "0Z", "20", "21", "24", "27", "2B", "2D", "2F", "34", "38", "39"),
    *("10", "3B", "44", "72", "HV", "XX"),
}
UNKNOWN = {"40003", "57P01", "57P02", "57P05"}


def expected(sqlstate: str) -> type[PlusoneError]:
    if sqlstate in UNAVAILABLE:
        return StoreUnavailable
    if sqlstate in UNKNOWN or sqlstate[:2] in UNKNOWN_CLASSES:
        return OutcomeUnknown
    if sqlstate[:2] in REFUSED_CLASSES:
        return StoreRefused
    raise AssertionError(f"{sqlstate}: decide what it means, and list it")


def driver_exceptions() -> list[type[Exception]]:
    found = [value for module in (asyncpg.exceptions, _base) for value in vars(module).values()]
    kinds = [kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception)]
    return [kind for kind in kinds if not issubclass(kind, Warning)]


def test_every_sqlstate_that_the_driver_knows_is_decided() -> None:
    codes = {sqlstate: kind for kind in driver_exceptions() if (sqlstate := vars(kind).get("sqlstate")) is not None}
    assert len(codes) >= 230
    for sqlstate, kind in codes.items():
        ours = translate(kind("as the server words it"))
        assert type(ours) is expected(sqlstate), (sqlstate, kind)
        assert ours.__cause__.__class__ is kind
        assert type(not_sent(kind("as the server words it"))) is not OutcomeUnknown


def test_every_exception_that_is_the_drivers_own_is_decided() -> None:
    own = {kind.__name__: kind for kind in driver_exceptions() if vars(kind).get("sqlstate") is None}
    verdicts = {name: type(translate(kind("as the driver words it"))).__name__ for name, kind in own.items()}
    assert verdicts == {
        "PostgresError": "OutcomeUnknown",
        "FatalPostgresError": "OutcomeUnknown",
        "UnknownPostgresError": "OutcomeUnknown",
        "InterfaceError": "OutcomeUnknown",
        "ClientConfigurationError": "OutcomeUnknown",
        "DataError": "StoreRefused",
        "UnsupportedClientFeatureError": "OutcomeUnknown",
        "UnsupportedServerFeatureError": "OutcomeUnknown",
        "InternalClientError": "OutcomeUnknown",
        "ProtocolError": "OutcomeUnknown",
        "TargetServerAttributeNotMatched": "OutcomeUnknown",
        "OutdatedSchemaCacheError": "OutcomeUnknown",
        "InvalidCachedStatementError": "StoreUnavailable",
    }


def test_the_table_names_codes_and_classes() -> None:
    assert {len(code) for code in BY_SQLSTATE} == {2, 5}


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("broken"),
        BrokenPipeError("broken"),
        TimeoutError(),
        RuntimeError("a bug"),
        _base.UnknownPostgresError("of a code that nobody knows"),
    ],
)
def test_what_breaks_without_an_answer_is_ambiguous_unless_nothing_was_sent(error: Exception) -> None:
    assert type(translate(error)) is OutcomeUnknown
    assert type(not_sent(error)) is StoreUnavailable


def test_messages_begin_with_the_datastore_and_say_what_to_do() -> None:
    error = asyncpg.TooManyConnectionsError("sorry, too many clients already")
    assert str(translate(error)) == (
        "PostgreSQL: sorry, too many clients already (53300); the server has no connection left: raise its"
        " max_connections, or lower connections in the store URL"
    )
    assert str(not_sent(TimeoutError())) == "PostgreSQL: no answer in time (TimeoutError)"
    assert str(not_sent(TimeoutError(), host="h")) == (
        "PostgreSQL: no answer in time (TimeoutError); see that the server runs, and that host and port in the store"
        " URL are right"
    )
    assert str(not_sent(socket.gaierror("Name or service not known"), host="db.invalid")) == (
        "PostgreSQL: the host's name 'db.invalid' cannot be resolved (Name or service not known); correct the store"
        " URL, in which a password's special characters are percent-encoded"
    )
    assert translate(known := StoreRefused("ours")) is known


def test_what_a_connection_survives() -> None:
    survived = translate(asyncpg.DeadlockDetectedError("deadlock"))
    assert leaves_connection_usable(survived)
    assert not leaves_connection_usable(translate(asyncpg.ReadOnlySQLTransactionError("read-only")))
    assert not leaves_connection_usable(asyncio.CancelledError())
    assert is_data_error(translate(asyncpg.NumericValueOutOfRangeError("bigint out of range")))
    assert not is_data_error(survived)


def test_a_root_certificate_is_read(tmp_path: Path) -> None:
    path = tmp_path / "empty.pem"
    path.touch()
    with pytest.raises(ConfigurationError, match="holds no certificate"):
        settings(f"postgresql://host/db?sslmode=verify-ca&sslrootcert={path}")
