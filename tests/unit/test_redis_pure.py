"""What of the Redis store needs no server: names, the URL, the driver's settings, the error table."""

from __future__ import annotations

import inspect
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("redis")

from redis import exceptions
from redis._parsers.base import BaseParser
from redis.asyncio import SSLConnection

from plusone.errors import ConfigurationError, OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores.redis.cluster_store import RedisClusterStore
from plusone.stores.redis.errors import BY_CLASS, BY_CODE, WHAT_TO_DO, translate, while_connecting
from plusone.stores.redis.info import check_version, fact, parse_info, warn_of_losses
from plusone.stores.redis.keys import counter_key, counter_of, pattern, token_key
from plusone.stores.redis.sentinel import RedisSentinelStore
from plusone.stores.redis.settings import Settings
from plusone.stores.redis.store import RedisStore
from plusone.stores.registry import StoreURL

AWKWARD = st.text(st.sampled_from("ab{}%257BD*?[]\\ é☃/:"), min_size=1, max_size=12)
NAMES = st.one_of(AWKWARD, st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60))


def settings(url: str) -> Settings:
    return Settings.from_url(StoreURL.parse(url))


def test_reads_are_not_promised_where_an_old_primary_may_answer_them() -> None:
    """Whoever names one server asks that one; where others decide which it is, one that was cut off may not know."""
    assert RedisStore.CAPABILITIES.linearizable is True
    for store in (RedisClusterStore, RedisSentinelStore):
        assert store.CAPABILITIES.linearizable is False
        assert "a primary that was cut off may answer reads from before" in store.CAPABILITIES.survives_failover


@given(NAMES)
def test_a_name_comes_back_from_its_key(name: str) -> None:
    key = counter_key("p:", f"default/{name}")
    assert counter_of("p:", key.encode()) == f"default/{name}"


@given(NAMES, NAMES)
def test_two_names_have_two_keys(one: str, other: str) -> None:
    assert (counter_key("p:", one) == counter_key("p:", other)) == (one == other)


@given(NAMES, st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_a_counter_and_its_tokens_share_a_slot_that_the_name_cannot_choose(name: str, token: str) -> None:
    """The hash tag is between the first { and the first } behind it: here all of the name, and nothing else."""
    counter = counter_key("p:", name)
    for key in (counter, token_key(counter, token)):
        tag = key[key.index("{") + 1 :].partition("}")[0]
        assert counter == f"p:{{{tag}}}"
        assert (counter_of("p:", key.encode()) == name) == (key == counter)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("default/votes", "plusone:{default/votes}"),
        ("default/a b/ü", "plusone:{default/a b/ü}"),
        ("default/{x}", "plusone:{default/%7Bx%7D}"),
        ("default/%7Bx%7D", "plusone:{default/%257Bx%257D}"),
        ("default/" + "x" * 255, "plusone:{default/" + "x" * 255 + "}"),
    ],
)
def test_keys_as_they_stand_in_redis(name: str, key: str) -> None:
    assert counter_key("plusone:", name) == key


@pytest.mark.parametrize("key", [b"p:", b"p:{", b"p:{a", b"p:a}", b"q:{a}", b"p:{a}b", b"p:{a{b}", b"p:{%41}", b"\xff"])
def test_foreign_keys_are_no_counters(key: bytes) -> None:
    assert counter_of("p:", key) is None


def test_a_prefix_is_matched_literally() -> None:
    assert pattern("p:", "default/a*[b]?{\\") == r"p:{default/a\*\[b\]\?%7B\\*}"


def test_the_url_says_it_all() -> None:
    found = settings(
        "redis://me:p%40ss@[::1]:7000/3?wait=2&wait_timeout=50&connect_timeout=70&connections=4&prefix=x:&replica=h:1"
    )
    assert found == Settings(
        hosts=(("::1", 7000),),
        primary_name="",
        database=3,
        username="me",
        password="p@ss",
        tls=False,
        ca_file=None,
        prefix="x:",
        replica=("h", 1),
        eventual_from_replicas=False,
        same_credentials=False,
        wait=2,
        wait_timeout_ms=50,
        connect_timeout_ms=70,
        node_timeout_ms=1_000,
        connections=4,
    )


def test_what_the_url_leaves_out() -> None:
    found = settings("redis://host")
    assert (found.hosts, found.database, found.username, found.password) == ((("host", 6379),), 0, None, None)
    assert (found.prefix, found.wait, found.replica, found.tls) == ("plusone:", 0, None, False)
    assert settings("redis://host?replica=other").replica == ("other", 6379)
    assert settings("rediss://host").tls is True


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///0",
        "redis://host/zero",
        "redis://host/0#fragment",
        "redis://host?wait=-1",
        "redis://host?wait=many",
        "redis://host?prefix=a{b}",
        "redis://host?prefix=",
        "redis://host?replica=:1",
        "redis://host?replica=h:0",
        "redis://host?retry=3",
        "redis://host?ca_file=/etc/hosts",
        "rediss://host?ca_file=/no/such/file",
    ],
)
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        settings(url)


@pytest.mark.parametrize("url", ["redis://host", "rediss://host"])
def test_the_driver_repeats_nothing(url: str) -> None:
    """We own retries. What redis-py does by itself is off: retries, health checks, maintenance notices, pushes."""
    connection = settings(url).connector("host", 1)()
    assert connection.retry.get_retries() == 0
    assert connection.retry_on_error == []
    assert connection.retry_on_timeout is False
    assert connection.health_check_interval == 0
    assert connection.socket_timeout is None
    assert connection.socket_connect_timeout == 2
    assert connection.maint_notifications_config is None
    assert connection.protocol == 2
    assert connection.encoder.decode_responses is False


def test_tls_checks_certificate_and_name(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    connection = settings(f"rediss://host?ca_file={ca_file}").connector("host", 1)()
    assert isinstance(connection, SSLConnection)
    assert connection.cert_reqs == ssl.CERT_REQUIRED
    assert connection.check_hostname is True
    assert connection.ca_certs == str(ca_file)


LEFT_AMBIGUOUS = """
    ChildDeadlockedError ClusterError CrossSlotTransactionError ExecAbortError IncorrectPolicyType InvalidPipelineStack
    LockError LockNotOwnedError ModuleError NoSuchFieldsetError PubSubError RedisClusterException SlotNotCoveredError
    WatchError
"""
"""What nothing that we ask redis-py for should raise."""


def test_every_exception_of_the_driver_is_in_the_table_or_known_to_be_left_out() -> None:
    theirs = {
        found
        for _, found in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(found, Exception) and found.__module__ == "redis.exceptions"
    }
    assert set(BY_CLASS) <= theirs
    assert {found.__name__ for found in theirs - set(BY_CLASS)} == set(LEFT_AMBIGUOUS.split())


SCRIPT_ERROR = " script: 0123, on @user_script:9."


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (exceptions.NoScriptError("No matching script"), StoreUnavailable),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), StoreUnavailable),
        (exceptions.OutOfMemoryError("command not allowed" + SCRIPT_ERROR), StoreUnavailable),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), StoreUnavailable),
        (exceptions.ResponseError("MISCONF Errors writing to the AOF file"), StoreUnavailable),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), StoreUnavailable),
        (exceptions.AuthenticationError("invalid username-password pair"), StoreRefused),
        (exceptions.NoPermissionError("this user has no permissions"), StoreRefused),
        (exceptions.NoPermissionError("this user has no permissions" + SCRIPT_ERROR), OutcomeUnknown),
        (exceptions.ResponseError("ERR attempt to index a nil value" + SCRIPT_ERROR), OutcomeUnknown),
        (exceptions.ResponseError("ERR of some kind"), OutcomeUnknown),
        (exceptions.ConnectionError("Connection closed by server."), OutcomeUnknown),
        (exceptions.TimeoutError("Timeout reading from socket"), OutcomeUnknown),
        (exceptions.InvalidResponse("Protocol error"), OutcomeUnknown),
        (RuntimeError("the transport is closed"), OutcomeUnknown),
    ],
)
def test_what_comes_after_sending(error: Exception, ours: type[PlusoneError]) -> None:
    assert type(translate(error)) is ours


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (exceptions.ConnectionError("Error 111 connecting to host:1."), StoreUnavailable),
        (exceptions.TimeoutError("Timeout connecting to server"), StoreUnavailable),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), StoreUnavailable),
        (exceptions.AuthenticationError("invalid username-password pair"), StoreRefused),
        (exceptions.ResponseError("DENIED Redis is running in protected mode"), StoreRefused),
    ],
)
def test_a_failure_to_connect_is_definite(error: Exception, ours: type[PlusoneError]) -> None:
    assert type(while_connecting(error, tls=False)) is ours


def from_server(said: str) -> Exception:
    """What redis-py makes of an error that the server answers."""
    error = BaseParser.parse_error(said)  # type: ignore[no-untyped-call]
    assert isinstance(error, Exception)
    return error


def test_every_code_of_the_driver_has_its_advice() -> None:
    """And so has every code that we know and it does not."""
    codes = {*BaseParser.EXCEPTION_CLASSES, *BY_CODE} - {"ERR", "EXECABORT"}
    assert codes - set(WHAT_TO_DO) == set()
    for code in codes:
        error = from_server(f"{code} 7 127.0.0.1:1")
        assert str(translate(error)).endswith(f"; {WHAT_TO_DO[code]}")
        assert f"({code}); " in str(translate(error)) or f"Redis: {code} " in str(translate(error))


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ERR max number of clients reached", "raise the server's maxclients, or lower connections"),
        ("ERR DB index is out of range", "name a database that the server has"),
        ("ERR unknown command 'EVALSHA', with args beginning with: 'x'", "under their own names"),
        (
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
            "configuration is correct?",
            "take the password out of the store URL",
        ),
        ("DENIED Redis is running in protected mode because", "give the server a password"),
        ("ERR something new", "see the server's log"),
    ],
)
def test_what_a_server_says_on_connecting_has_its_advice(said: str, advice: str) -> None:
    assert advice in str(while_connecting(from_server(said), tls=False))


def test_a_connection_that_ends_at_once_may_have_met_a_full_server_or_one_with_tls() -> None:
    text = str(while_connecting(exceptions.ConnectionError("Connection closed by server."), tls=False))
    assert "maxclients" in text
    assert "rediss://" in text


def test_an_old_server_is_refused() -> None:
    for version in ("7.0.0", "7.2.4", "8.0.1", "10.0.0"):
        check_version({"redis_version": version})
    with pytest.raises(StoreRefused, match=r"version 6\.2\.14; plusone needs 7\.0 or later"):
        check_version({"redis_version": "6.2.14"})


@pytest.mark.parametrize("facts", [{}, {"redis_version": ""}, {"redis_version": "unknown"}])
def test_a_version_that_info_does_not_tell_is_refused(facts: dict[str, str]) -> None:
    """A proxy, or a service that hides it, may leave it out."""
    with pytest.raises(StoreRefused, match="redis_version"):
        check_version(facts)


def test_what_info_leaves_out_is_named() -> None:
    assert parse_info(b"# Replication\r\nrole:master\r\nhost:a:1\r\n") == {"role": "master", "host": "a:1"}
    assert fact({"role": "master"}, "role") == "master"
    with pytest.raises(StoreRefused, match="INFO says no connected_slaves"):
        fact({"role": "master"}, "connected_slaves")


@pytest.mark.parametrize(
    ("reply", "ours"),
    [
        (exceptions.ResponseError("ERR unknown command 'INFO'"), StoreRefused),
        (exceptions.NoPermissionError("this user has no permissions"), StoreRefused),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), StoreUnavailable),
    ],
)
def test_an_info_that_fails_is_definite(reply: Exception, ours: type[PlusoneError]) -> None:
    with pytest.raises(ours):
        parse_info(reply)


def test_a_policy_that_info_does_not_tell_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """It stops nobody from counting; who runs the server should see to it. Of several nodes it is said once."""
    warn_of_losses([{}, {}])
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "maxmemory_policy" in record.getMessage()
