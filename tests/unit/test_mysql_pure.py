"""What of the MySQL, MariaDB and TiDB store needs no server: the URL, the driver's settings, the error table, texts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("asyncmy")

from asyncmy import constants, errors
from asyncmy.constants import CR, ER

from plusone.clock import Clock
from plusone.errors import ConfigurationError, OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores.mysql.errors import HINTS, TABLE, translate, without_effect
from plusone.stores.mysql.settings import Settings
from plusone.stores.mysql.statements import COMMIT, literal, step
from plusone.stores.mysql.store import MariaDBStore, MySQLStore, TiDBStore
from plusone.stores.protocol import TokenWrite
from plusone.stores.registry import StoreURL, store_class
from tests.conformance.harness import add, asynchronous, closing, delete, restart


def settings(url: str) -> Settings:
    return Settings.from_url(StoreURL.parse(url))


# The URL.


def test_the_url_says_it_all(tmp_path: Path) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_text("")
    query = f"tls=yes&ca_file={trusted}&connect_timeout=70&connections=4"
    assert settings(f"mysql://me:p%40ss%2F%C3%A9@[::1]:7000/my%20counters?{query}") == Settings(
        host="::1",
        port=7000,
        user="me",
        password="p@ss/é",
        database="my counters",
        tls=True,
        ca_file=str(trusted),
        connect_timeout_ms=70,
        connections=4,
    )


@pytest.mark.parametrize(("scheme", "port"), [("mysql", 3306), ("mariadb", 3306), ("tidb", 4000)])
def test_what_the_url_leaves_out(scheme: str, port: int) -> None:
    assert settings(f"{scheme}://me@h/d") == Settings(
        host="h",
        port=port,
        user="me",
        password="",
        database="d",
        tls=False,
        ca_file=None,
        connect_timeout_ms=2_000,
        connections=8,
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://h/d", "must read mysql://user:password@host:port/database"),
        ("mysql://me@h", "must read mysql://user:password@host:port/database"),
        ("mysql://me@h/", "must read mysql://user:password@host:port/database"),
        ("mysql://me@/d", "must read mysql://user:password@host:port/database"),
        ("tidb://me@h/d#1", "must read tidb://user:password@host:port/database"),
        ("mysql://me@h/a/b", "the database's name"),
        ("mysql://me@h/" + "d" * 65, "the database's name"),
        ("mysql://me@h/a%00", "the database's name"),
        ("mysql://me@h/d?tls=maybe", "tls must be yes or no"),
        ("mysql://me@h/d?ca_file=/x", "ca_file needs tls=yes"),
        ("mysql://me@h/d?tls=yes&ca_file=/no/such/file", "ca_file '/no/such/file' is no file"),
        ("mysql://me@h/d?connect_timeout=0", "connect_timeout must be an integer from 1 to 60000"),
        ("mysql://me@h/d?connections=1001", "connections must be an integer from 1 to 1000"),
        ("mariadb://me@h/d?charset=latin1", "unknown parameter 'charset'"),
    ],
)
def test_other_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings(url)
    assert message in str(refused.value)


@pytest.mark.parametrize("password", ["hun/ter2", "hun@t/er2", "1/hunter2", "hun@t/er2@", "h:1@2/er2"])
def test_a_password_that_is_not_encoded_is_not_taken_for_a_host(password: str) -> None:
    """A part of it would be the host, and the host's name is in messages."""
    with pytest.raises(ConfigurationError, match="percent-encoded") as refused:
        settings(f"mysql://me:{password}@host/db")
    assert "hun" not in str(refused.value)
    assert "er2" not in str(refused.value)
    assert settings("mysql://me:hun@ter2@host/db").host == "host"


# The driver.


@asynchronous
async def test_the_driver_repeats_nothing_by_itself() -> None:
    """It connects when it is told to, reads without a deadline of its own, prepares nothing, and loads no files."""
    connection: Any = settings("mysql://me:p%40ss%C3%A9@h:1/d").connection()
    assert connection._password == "p@ssé".encode()
    assert (connection._read_timeout, connection._connect_timeout, connection._stmt_cache_size) == (None, 2.0, 0)
    assert (connection._local_infile, connection._init_command, connection._ssl_context) == (False, None, None)
    assert connection.autocommit_mode is None
    assert (connection.connected, connection._stream_broken, connection._result) == (False, True, None)


@asynchronous
async def test_tls_checks_certificate_and_name() -> None:
    connection: Any = settings("mysql://me@h/d?tls=yes").connection()
    assert connection._ssl_context.verify_mode == ssl.CERT_REQUIRED
    assert connection._ssl_context.check_hostname is True


# Errors.

CLASSES = {
    "DataError",
    "DatabaseError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "MySQLError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "Warning",
}


def test_every_class_of_the_driver_is_known() -> None:
    found = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert found == CLASSES


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_code_decides_and_not_the_class(name: str) -> None:
    """asyncmy's classes mix what was refused with what was lost."""
    kind = getattr(errors, name)
    assert type(translate(kind(1213, "Deadlock found"), "T", committing=False)) is StoreUnavailable
    assert type(translate(kind(2013, "Lost connection"), "T", committing=False)) is OutcomeUnknown
    assert type(translate(kind("no code"), "T", committing=False)) is OutcomeUnknown
    assert type(translate(kind(), "T", committing=False)) is OutcomeUnknown


def test_every_code_of_the_driver_s_own_is_ambiguous() -> None:
    """A lost connection, a protocol that broke: the packet with COMMIT may have arrived."""
    codes = {code for name, code in vars(CR).items() if name.startswith("CR_")}
    assert len(codes) > 50
    for code in codes:
        for committing in (False, True):
            assert type(translate(errors.OperationalError(code, "…"), "T", committing=committing)) is OutcomeUnknown


def test_at_commit_only_refused_transactions_are_definite() -> None:
    """Of all codes that the driver, the table and TiDB's and MySQL's newer ranges know."""
    codes = {code for code in vars(ER).values() if isinstance(code, int)} | set(TABLE) | set(range(8_000, 9_100))
    definite = {
        code
        for code in codes
        if type(translate(errors.OperationalError(code, "…"), "T", committing=True)) is not OutcomeUnknown
    }
    assert definite == {1213, 3101, 8002, 8005, 8022, 8028, 9007}


@pytest.mark.parametrize("code", [1053, 1105, 1152, 1158, 1159, 1160, 1161, 1180, 1927, 2006, 2013, 4031, 9999])
def test_what_a_proxy_may_say_of_a_server_that_goes_on_is_ambiguous(code: int) -> None:
    for committing in (False, True):
        assert type(translate(errors.OperationalError(code, "…"), "T", committing=committing)) is OutcomeUnknown


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        (1213, StoreUnavailable),
        (1205, StoreUnavailable),
        (1062, StoreUnavailable),
        (1040, StoreUnavailable),
        (1290, StoreUnavailable),
        (1792, StoreUnavailable),
        (1836, StoreUnavailable),
        (1317, StoreUnavailable),
        (9001, StoreUnavailable),
        (9007, StoreUnavailable),
        (1690, StoreRefused),
        (1264, StoreRefused),
        (1406, StoreRefused),
        (1044, StoreRefused),
        (1045, StoreRefused),
        (1049, StoreRefused),
        (1142, StoreRefused),
        (1146, StoreRefused),
        (8004, StoreRefused),
    ],
)
def test_what_a_server_says_before_commit_is_definite(code: int, ours: type[PlusoneError]) -> None:
    found = translate(errors.OperationalError(code, "said so"), "TiDB", committing=False)
    assert type(found) is ours
    assert str(found).startswith(f"TiDB: said so ({code})")
    assert str(found).endswith(HINTS.get(code, f"({code})"))


def test_tidb_s_code_for_everything_else_is_read() -> None:
    for message in ("pessimistic lock retry limit reached", "Lock wait timeout exceeded; try restarting transaction"):
        error = errors.OperationalError(1105, message)
        assert type(translate(error, "TiDB", committing=False)) is StoreUnavailable
        assert type(translate(error, "TiDB", committing=True)) is OutcomeUnknown


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (errors.OperationalError(2003, "Can't connect"), StoreUnavailable),
        (errors.OperationalError(2013, "Lost connection"), StoreUnavailable),
        (errors.OperationalError(1040, "Too many connections"), StoreUnavailable),
        (errors.OperationalError(1045, "Access denied"), StoreRefused),
        (errors.OperationalError(1049, "Unknown database"), StoreRefused),
        (ssl.SSLCertVerificationError("self-signed"), StoreRefused),
        (RuntimeError("the transport is closed"), StoreUnavailable),
    ],
)
def test_a_failure_to_connect_is_definite(error: Exception, ours: type[PlusoneError]) -> None:
    assert type(without_effect(error, "MySQL")) is ours


def test_what_failed_of_tls_is_told_apart() -> None:
    def told(cause: Exception) -> str:
        error = errors.OperationalError(2003, "Can't connect")
        error.__cause__ = cause
        found = without_effect(error, "MySQL")
        assert type(found) is StoreRefused
        return str(found)

    assert "must be a name in the server's certificate" in told(ssl.SSLCertVerificationError("self-signed"))
    assert "switch it on there, or write tls=no" in told(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"))


# Statements.


@pytest.mark.parametrize("text", ["votes", "'; DROP TABLE x; --", "\\", "é\u0000{rows}", "%s"])
def test_a_literal_has_no_character_that_means_anything(text: str) -> None:
    found = literal(text)
    assert bytes.fromhex(found.removeprefix("x'").removesuffix("'")).decode() == text


def test_a_call_is_one_transaction_that_ends_with_its_commit() -> None:
    """Whatever it holds; and with tokens all rows are locked before any token is looked up."""
    requests = [add(1, key="a/x"), restart(5, key="a/y"), delete(key="a/z"), closing(seq=2, key="b/x")]
    plain = step(requests, 31, 1_000, returning=False)
    assert [statement.split()[0] for statement in plain] == ["BEGIN", "INSERT", "SELECT", "COMMIT"]
    returning = step(requests, 31, 1_000, returning=True)
    assert [statement.split()[0] for statement in returning] == ["BEGIN", "INSERT", "COMMIT"]
    requests = [add(1, key="a/x"), add(1, key="a/y", tokens=(TokenWrite("t", "notes"),))]
    tokens = step(requests, 31, 1_000, returning=False)
    assert tokens == step(requests, 31, 1_000, returning=True)
    assert [statement.split()[0] for statement in tokens] == [
        *("BEGIN", "INSERT", "INSERT", "INSERT", "UPDATE", "SELECT", "SELECT", "COMMIT")
    ]
    for statement in (*plain, *returning, *tokens):
        assert ";" not in statement
        assert "{" not in statement.replace("'{}'", "")
        assert "--" not in statement
    assert all(statement != COMMIT for statement in tokens[:-1])


@pytest.mark.parametrize(("scheme", "kind"), [("mysql", MySQLStore), ("mariadb", MariaDBStore), ("tidb", TiDBStore)])
def test_each_scheme_promises_for_itself(scheme: str, kind: type[MySQLStore]) -> None:
    assert store_class(scheme) is kind
    assert kind.CAPABILITIES.schemes == (scheme,)
    store = kind.from_url(StoreURL.parse(f"{scheme}://me@h/d"), clock=Clock(), token_retention_ms=1_000)
    assert store.capabilities is kind.CAPABILITIES


def test_constants_are_the_driver_s() -> None:
    """The codes above are read from where the driver keeps them."""
    assert constants.__name__ == "asyncmy.constants"
    assert (ER.LOCK_DEADLOCK, CR.CR_SERVER_LOST) == (1213, 2013)
