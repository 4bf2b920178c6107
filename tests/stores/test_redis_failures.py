"""How the Redis store fails, on real servers: replicas that lag, servers that refuse or go, TLS, cancellation."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("redis")

from redis import Redis

from plusone.errors import OutcomeUnknown, StoreRefused, StoreUnavailable
from plusone.lab.processes import ServerProcess, free_port, until
from plusone.lab.servers.redis import redis_replica, redis_server, url_of
from plusone.stores.protocol import Answer, GuardedAdd, TokenWrite
from plusone.stores.redis.connections import Connections, command
from plusone.stores.redis.errors import translate
from plusone.stores.redis.settings import Settings
from plusone.stores.registry import StoreURL
from plusone.types import MAX
from tests.conformance.harness import B, add, apply, asynchronous, opened, state
from tests.servers.redis import client, own_prefix, skip_without_redis, store_at
from tests.servers.redis_cluster import store_at as cluster_store_at

skip_without_redis(own=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with redis_server() as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_prefix(url_of(server))


@pytest.fixture
def direct(url: str) -> Iterator[Redis]:
    with client(url) as redis:
        yield redis


@pytest.fixture(scope="module")
def primary_and_replica() -> Iterator[tuple[ServerProcess, ServerProcess]]:
    with redis_server() as primary, redis_replica(primary) as replica:
        yield primary, replica


# Replicas.


def replicated(servers: tuple[ServerProcess, ServerProcess], **parameters: str | int) -> Iterator[str]:
    yield from own_prefix(url_of(servers[0], **parameters))


@pytest.fixture
def waiting_url(primary_and_replica: tuple[ServerProcess, ServerProcess]) -> Iterator[str]:
    yield from own_prefix(url_of(primary_and_replica[0], wait=1, wait_timeout=100))


async def apply_unmet(url: str, request: GuardedAdd) -> None:
    """On a connection of its own, where WAIT would have nothing to wait for unless the script writes."""
    async with opened(store_at(url)) as store:
        [answer] = await store.apply([request])
        assert isinstance(answer, OutcomeUnknown)


@asynchronous
async def test_what_no_replica_has_is_not_acknowledged(
    waiting_url: str, primary_and_replica: tuple[ServerProcess, ServerProcess]
) -> None:
    """wait=1: an unmet WAIT is "maybe"; so are a duplicate and a replay, until the replica has the write."""
    token = (TokenWrite("t", "notes"),)
    async with opened(store_at(waiting_url)) as store:
        await apply(store, add(1))
        with primary_and_replica[1].paused():
            await apply_unmet(waiting_url, add(5, seq=2, acked=1))
            await apply_unmet(waiting_url, add(5, seq=2, acked=1))
            await apply_unmet(waiting_url, add(7, writer=B, tokens=token))
            await apply_unmet(waiting_url, add(7, seq=2, acked=1, writer=B, tokens=token))
            assert await apply(store, add(9, seq=3, acked=1, lo=MAX)) == Answer("missed", 13, 3, True)
            assert await apply(store, add(9, seq=1)) == Answer("stale")
        assert await apply(store, add(5, seq=2, acked=1)) == Answer("duplicate", 1, 1, True)
        known = await apply(store, add(7, seq=2, acked=1, writer=B, tokens=token))
        assert [(record.token, record.value) for record in known.tokens] == [("t", 6)]
        assert await state(store) == (13, 3, True)


@asynchronous
async def test_readiness_knows_of_missing_replicas_and_of_replicas(
    waiting_url: str, primary_and_replica: tuple[ServerProcess, ServerProcess]
) -> None:
    primary, replica = primary_and_replica
    async with opened(store_at(waiting_url)) as store:
        await store.check()
    async with opened(store_at(url_of(primary, wait=2))) as store:
        with pytest.raises(StoreUnavailable, match="1 replicas are connected, and wait=2"):
            await store.check()
    async with opened(store_at(url_of(replica))) as store:
        with pytest.raises(StoreUnavailable, match="is a replica"):
            await store.check()
        with pytest.raises(StoreUnavailable):
            await apply(store, add(1))


@asynchronous
async def test_eventual_reads_go_to_the_replica(primary_and_replica: tuple[ServerProcess, ServerProcess]) -> None:
    primary, replica = primary_and_replica
    for url in replicated(primary_and_replica, wait=1, replica=f"127.0.0.1:{replica.port}"):
        async with opened(store_at(url)) as store:
            assert store.capabilities.eventual_reads is True
            await apply(store, add(5))
            with primary.paused():
                [record] = await store.read(["default/counter"], strong=False)
            assert (record.value, record.revision, record.exists) == (5, 1, True)


# Failures.


@asynchronous
async def test_a_cancelled_call_leaves_no_reply_behind(url: str, server: ServerProcess, direct: Redis) -> None:
    """Its connection is closed, so a later call does not read the reply that is still to come."""
    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        connected = direct.info("clients")["connected_clients"]
        with server.paused():
            under_way = asyncio.ensure_future(store.apply([add(2, seq=2, acked=1)]))
            done, _ = await asyncio.wait([under_way], timeout=0.05)
            assert not done
            under_way.cancel()
            with pytest.raises(asyncio.CancelledError):
                await under_way
        assert await apply(store, add(2, seq=2, acked=1)) == Answer("duplicate", 1, 1, True)
        assert direct.info("clients")["connected_clients"] == connected


@asynchronous
async def test_a_definite_answer_says_nothing_of_the_calls_behind_it() -> None:
    """LOADING ends redis-py's connection: the first call was refused, of the second nothing is known."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+PONG\r\n")
        await reader.readuntil(b"two\r\n")
        writer.write(b"-LOADING Redis is loading the dataset in memory\r\n+OK\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = Settings.from_url(StoreURL.parse(f"redis://127.0.0.1:{port}"))
        connections = Connections.to(settings.connector("127.0.0.1", port), 1)
        first, second = await connections.exchange(command("GET", "one") + command("GET", "two"), 2)
        assert isinstance(translate(first), StoreUnavailable)
        assert isinstance(translate(second), OutcomeUnknown)
        await connections.close()
        await ended.wait()


@pytest.mark.parametrize(
    ("host", "advice"), [("127.0.0.1:1", "see that the server runs"), ("nobody.invalid", "name cannot be resolved")]
)
def test_nobody_there_is_definite(host: str, advice: str) -> None:
    with pytest.raises(StoreUnavailable, match=advice):
        asyncio.run(store_at(f"redis://{host}/0").open())


@asynchronous
async def test_a_full_server_is_definite(url: str, direct: Redis) -> None:
    with client(url) as other:
        other.ping()
        others = direct.info("clients")["connected_clients"]
        before = direct.config_get("maxclients")["maxclients"] or ""
        direct.config_set("maxclients", others)
        try:
            # The server's own words may be lost, as it closes the connection behind them.
            with pytest.raises(StoreUnavailable, match="maxclients, or lower connections in the store URL"):
                await store_at(url).open()
        finally:
            direct.config_set("maxclients", int(before))
    await open_and_close(url)


@asynchronous
async def test_a_restarted_server_is_found_again() -> None:
    """The idle connections of the old one are not used: nothing is ambiguous."""
    with redis_server() as server:
        async with opened(store_at(url_of(server))) as store:
            await apply(store, add(1))
            await asyncio.to_thread(server.kill)  # so that the loop sees the connection end
            with pytest.raises(StoreUnavailable):
                await apply(store, add(1, seq=2, acked=1))
            server.start()
            assert await apply(store, add(1, seq=2, acked=1)) == Answer("gap", last=0)


@pytest.mark.parametrize(
    ("setting", "value"), [("maxmemory", "1"), ("min-replicas-to-write", "1"), ("replicaof", "127.0.0.1 1")]
)
@asynchronous
async def test_a_server_that_cannot_write_refuses_the_whole_call(
    url: str, direct: Redis, setting: str, value: str
) -> None:
    """OOM, NOREPLICAS, READONLY: definite, for nothing of the call was written, and worth another try."""
    async with opened(store_at(url)) as store:
        try:
            if setting == "replicaof":
                direct.replicaof(*value.split())
            else:
                direct.config_set(setting, value)
            with pytest.raises(StoreUnavailable):
                await store.apply([add(1), add(1, key="default/other")])
        finally:
            if setting == "replicaof":
                direct.replicaof("NO", "ONE")
            else:
                direct.config_set(setting, "0")
        assert await state(store) == (0, 0, False)
        assert await apply(store, add(1)) == Answer("applied", 0, 0, False)


@asynchronous
async def test_a_server_without_info_is_refused() -> None:
    """INFO changes nothing: an error of it that we do not know is no operation whose outcome is unknown."""
    with redis_server("--rename-command", "INFO", "") as server:
        store = store_at(url_of(server))
        with pytest.raises(StoreRefused, match="unknown command"):
            await store.open()
        with pytest.raises(StoreRefused, match="unknown command"):
            await store.check()
        await store.close()


@pytest.mark.parametrize(
    ("policy", "lost"), [("allkeys-lru", "counters"), ("volatile-ttl", "tokens and counters with a ttl")]
)
def test_eviction_is_warned_of(
    url: str, direct: Redis, caplog: pytest.LogCaptureFixture, policy: str, lost: str
) -> None:
    direct.config_set("maxmemory-policy", policy)
    try:
        asyncio.run(open_and_close(url))
    finally:
        direct.config_set("maxmemory-policy", "noeviction")
    _, warning = warnings(caplog)
    assert warning.startswith(f"Redis: maxmemory-policy is {policy}: when memory is short Redis drops {lost};")


def test_a_server_without_an_append_only_file_is_warned_of(
    url: str, direct: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A snapshot now and then keeps less than every acknowledged count, and says so too."""
    for save in ("", "3600 1"):
        direct.config_set("save", save)
        asyncio.run(open_and_close(url))
        [warning] = warnings(caplog)
        assert warning.startswith("Redis: appendonly is no: a crash of Redis takes what it acknowledged since its last")
        assert warning.endswith("set appendonly yes")
        caplog.clear()
    direct.config_set("save", "")
    with redis_server("--appendonly", "yes") as keeping:
        asyncio.run(open_and_close(url_of(keeping)))
    assert warnings(caplog) == []


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the store warned of."""
    found = [record for record in caplog.records if record.name == "plusone.redis"]
    assert all(record.levelname == "WARNING" for record in found)
    return [record.getMessage() for record in found]


async def open_and_close(url: str) -> None:
    async with opened(store_at(url)):
        pass


# TLS.


@asynchronous
async def test_tls_takes_the_certificate_that_is_trusted_and_named_so(certificate: tuple[Path, Path]) -> None:
    key, trusted = certificate
    options = ("--tls-cert-file", str(trusted), "--tls-key-file", str(key), "--tls-ca-cert-file", str(trusted))
    with tls_server(*options) as server:
        async with opened(store_at(f"rediss://localhost:{server.port}/0?ca_file={trusted}")) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        # Another name; then, signed by nobody known.
        for url in (f"127.0.0.1:{server.port}/0?ca_file={trusted}", f"localhost:{server.port}/0"):
            with pytest.raises(StoreRefused, match="name the host as its certificate does, or set ca_file"):
                await store_at(f"rediss://{url}").open()
        with pytest.raises(StoreUnavailable, match="begin with rediss://"):
            await store_at(f"redis://localhost:{server.port}/0").open()


@asynchronous
async def test_tls_to_a_server_that_speaks_none(server: ServerProcess) -> None:
    """It waits for the end of a line; we do not wait for it for ever, and say what may be wrong."""
    with pytest.raises(StoreUnavailable, match="that it speaks TLS"):
        await store_at(f"rediss://127.0.0.1:{server.port}/0?connect_timeout=200").open()


@asynchronous
async def test_tls_to_the_nodes_of_a_cluster(certificate: tuple[Path, Path]) -> None:
    """Each node by the name that was asked for, where it does not know its own."""
    key, trusted = certificate
    options = ("--tls-cert-file", str(trusted), "--tls-key-file", str(key), "--tls-ca-cert-file", str(trusted))
    cluster = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--tls-cluster", "yes")
    with tls_server(*options, *cluster) as node:
        with Redis(host="localhost", port=node.port, ssl=True, ssl_ca_certs=str(trusted), protocol=2) as redis:
            redis.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
            until(lambda: b"cluster_state:ok" in redis.execute_command("CLUSTER", "INFO"))
        async with opened(cluster_store_at(f"rediss+cluster://localhost:{node.port}?ca_file={trusted}")) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
            await store.check()
        for url in (f"127.0.0.1:{node.port}?ca_file={trusted}", f"localhost:{node.port}"):
            with pytest.raises(StoreRefused, match="set ca_file"):
                await cluster_store_at(f"rediss+cluster://{url}").open()


def tls_server(*options: str) -> ServerProcess:
    def is_ready(port: int) -> bool:
        try:
            ssl.get_server_certificate(("127.0.0.1", port), timeout=1)
        except OSError:
            return False
        return True

    return ServerProcess(
        "redis-tls",
        lambda port, folder: (
            *("redis-server", "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1"),
            *("--tls-auth-clients", "no", "--save", ""),
            *options,
        ),
        is_ready,
    )
