"""What is Redis' own in the Redis store, on a real server: the script's arithmetic, its keys, and its failures."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("redis")

from redis import Redis

from plusone.clock import Clock
from plusone.errors import (
    CorruptRecord,
    InvalidRequest,
    OutcomeUnknown,
    PlusoneError,
    StoreRefused,
    StoreUnavailable,
)
from plusone.stores.protocol import Answer, GuardedAdd, TokenWrite
from plusone.stores.redis.store import RedisStore
from plusone.stores.registry import StoreURL
from plusone.types import MAX, MIN
from tests.conformance.harness import A, B, add, apply, asynchronous, closing, delete, listed, read, restart, state
from tests.servers.process import ServerProcess
from tests.servers.redis import client, own_prefix, redis_replica, redis_server, skip_without_redis, url_of

skip_without_redis(own=True)

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
SLACK_MS = 20_000
"""How much time a test may take on a slow machine."""
NUMBERS = itertools.count()
EDGES = (0, 2**31, 2**32, 2**53, 2**62, 2**63)


def store_at(url: str, *, token_retention_ms: int = 24 * HOUR_MS) -> RedisStore:
    return RedisStore.from_url(StoreURL.parse(url), clock=Clock(), token_retention_ms=token_retention_ms)


@asynccontextmanager
async def opened(store: RedisStore) -> AsyncIterator[RedisStore]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def prefix_of(url: str) -> str:
    return StoreURL.parse(url).query["prefix"]


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


# Arithmetic.


@st.composite
def sums(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """A value, a total that keeps the sum within 64 bits, and an interval, all mostly near an edge."""
    near = st.builds(
        lambda edge, sign, off: min(max(sign * edge + off, MIN), MAX),
        st.sampled_from(EDGES),
        st.sampled_from((1, -1)),
        st.integers(-3, 3),
    )
    integers = st.one_of(near, st.integers(MIN, MAX))
    value = draw(integers)
    total = min(max(draw(integers), MIN - value, MIN), MAX - value, MAX)
    beside = st.sampled_from((value - 1, value, value + 1)).map(lambda bound: min(max(bound, MIN), MAX))
    bounds = st.one_of(beside, integers)
    lo, hi = sorted((draw(bounds), draw(bounds)))
    return value, total, lo, hi


def test_sums_and_comparisons_are_those_of_integers(server: ServerProcess) -> None:
    """Exact around 0, 2^32, 2^53 and 2^63, on both sides; one packed call sets, one adds, one reads."""

    @settings(max_examples=60, deadline=None)
    @given(st.lists(sums(), min_size=1, max_size=100))
    def check(cases: list[tuple[int, int, int, int]]) -> None:
        asyncio.run(compute(cases))

    async def compute(cases: list[tuple[int, int, int, int]]) -> None:
        async with opened(store_at(url_of(server))) as store:
            keys = [f"default/{next(NUMBERS)}" for _ in cases]
            await store.apply([restart(value, key=key) for key, (value, *_) in zip(keys, cases, strict=True)])
            adds = [
                add(total, key=key, seq=2, acked=1, lo=lo, hi=hi)
                for key, (_, total, lo, hi) in zip(keys, cases, strict=True)
            ]
            assert list(await store.apply(adds)) == [
                Answer("applied" if lo <= value <= hi else "missed", value, 1, True) for value, _, lo, hi in cases
            ]
            assert [record.value for record in await store.read(keys, strong=True)] == [
                value + total if lo <= value <= hi else value for value, total, lo, hi in cases
            ]

    check()


@asynchronous
async def test_a_sum_beyond_64_bits_is_refused_not_wrapped(url: str) -> None:
    """The combiner's guards exclude it; the script does not rely on that."""
    async with opened(store_at(url)) as store:
        await apply(store, restart(MAX))
        with pytest.raises(StoreRefused):
            await apply(store, add(1, seq=2, acked=1))
        await apply(store, restart(MIN, seq=3, acked=1))
        with pytest.raises(StoreRefused):
            await apply(store, add(-1, seq=4, acked=3))
        assert await state(store) == (MIN, 2, True)


# The script.


@asynchronous
async def test_a_forgotten_script_is_sent_again(url: str, direct: Redis) -> None:
    """NOSCRIPT is definite: the same batch follows at once, with the script, and is applied once."""
    async with opened(store_at(url)) as store:
        await apply(store, add(5))
        direct.script_flush()
        assert await apply(store, add(5, seq=2, acked=1)) == Answer("applied", 5, 1, True)
        direct.script_flush()
        assert await apply(store, add(5, seq=2, acked=1)) == Answer("duplicate", 5, 1, True)
        assert await state(store) == (10, 2, True)


@asynchronous
async def test_requests_of_several_writers_and_forms_in_one_call(url: str) -> None:
    async with opened(store_at(url)) as store:
        await apply(store, add(7, key="default/3", writer=B))
        batch = [
            add(1, key="default/1"),
            add(2, key="default/2", writer=B, tokens=(TokenWrite("t", "notes"), TokenWrite("u", "more"))),
            add(3, key="default/3", tokens=(TokenWrite("t", "mine"),), revision=1),
            add(4, key="default/4", ttl_ms=MINUTE_MS, alive=False),
        ]
        assert list(await store.apply(batch)) == [
            Answer("applied", 0, 0, False),
            Answer("applied", 0, 0, False),
            Answer("applied", 7, 1, True),
            Answer("applied", 0, 0, False),
        ]
        again = [
            add(9, key="default/1", seq=2, acked=1, alive=False),
            add(9, key="default/2", tokens=(TokenWrite("new", "x"), TokenWrite("u", "x"))),
            add(9, key="default/3", seq=2, acked=1, tokens=(TokenWrite("t", "x"),)),
        ]
        missed, two, three = await store.apply(again)
        assert missed == Answer("missed", 1, 1, True)
        assert isinstance(two, Answer)
        assert isinstance(three, Answer)
        assert [(record.token, record.data, record.value) for record in two.tokens] == [("u", "more", 0)]
        assert [(record.token, record.data, record.value) for record in three.tokens] == [("t", "mine", 7)]


@pytest.mark.parametrize("shape", ["string", "foreign hash", "state", "version", "session"])
@asynchronous
async def test_what_is_no_counter_fails_alone(url: str, direct: Redis, shape: str) -> None:
    """CorruptRecord for that counter, which stays as it is; the others of the call are applied."""
    bad = f"{prefix_of(url)}{{default/bad}}"
    async with opened(store_at(url)) as store:
        if shape == "string":
            direct.set(bad, "5")
        elif shape == "foreign hash":
            direct.hset(bad, "name", "value")
        else:
            await apply(store, add(5, key="default/bad"))
            good = direct.hget(bad, "s")
            assert isinstance(good, bytes)
            if shape == "session":
                direct.hset(bad, f"w:{A}", "garbage")
            else:
                direct.hset(bad, "s", "garbage" if shape == "state" else b"\x02" + good[1:])
        before = direct.dump(bad)
        keys = ["default/one", "default/bad", "default/two"]
        one, corrupt, two = await store.apply([add(1, key=key, seq=2) for key in keys])
        assert (one, two) == (Answer("applied", 0, 0, False),) * 2
        assert isinstance(corrupt, CorruptRecord)
        assert direct.dump(bad) == before
        assert (await state(store, "default/two")) == (1, 1, True)
        if shape in ("string", "state", "version"):
            with pytest.raises(CorruptRecord):
                await read(store, "default/bad")


@asynchronous
async def test_a_token_that_is_no_token_fails_its_counter(url: str, direct: Redis) -> None:
    async with opened(store_at(url)) as store:
        direct.rpush(f"{prefix_of(url)}{{default/counter}}:t", "x")
        with pytest.raises(CorruptRecord):
            await apply(store, add(1, tokens=(TokenWrite("t", "notes"),)))
        assert await state(store) == (0, 0, False)


# What goes when.


def age_sessions(direct: Redis, key: str, milliseconds: int) -> None:
    """Make every session of a counter older; its time is what ends its field."""
    fields = cast("dict[bytes, bytes]", direct.hgetall(key))
    for field, session in fields.items():
        if field.startswith(b"w:"):
            [written] = struct.unpack(">q", session[-8:])
            direct.hset(key, field, session[:-8] + struct.pack(">q", written - milliseconds))


def writers(count: int) -> list[str]:
    return [f"writer{number:010}" for number in range(count)]


@asynchronous
async def test_old_sessions_above_32_go(url: str, direct: Redis) -> None:
    """Older than 5 minutes, and only as many as are above 32 with the new one."""
    key = f"{prefix_of(url)}{{default/counter}}"
    async with opened(store_at(url)) as store:
        for writer in writers(40):
            await apply(store, add(1, writer=writer))
        age_sessions(direct, key, 5 * MINUTE_MS - SLACK_MS)
        await apply(store, add(1, writer=B))
        assert direct.hlen(key) == 1 + 41
        age_sessions(direct, key, SLACK_MS)
        await apply(store, add(1, writer=A))
        assert direct.hlen(key) == 1 + 32
        assert direct.hexists(key, f"w:{A}")
        assert direct.hexists(key, f"w:{B}")
        assert await state(store) == (42, 42, True)


@asynchronous
async def test_a_living_counter_stays_and_a_dead_one_goes_an_hour_after_its_last_write(url: str, direct: Redis) -> None:
    key = f"{prefix_of(url)}{{default/counter}}"

    def removed_in(milliseconds: int) -> bool:
        return milliseconds - SLACK_MS < direct.pttl(key) <= milliseconds

    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        assert direct.pttl(key) == -1
        await apply(store, delete(seq=2, acked=1))
        assert removed_in(HOUR_MS)
        direct.pexpire(key, MINUTE_MS)
        await apply(store, closing(seq=3, acked=2))
        assert removed_in(HOUR_MS)
        await apply(store, add(1, seq=4, acked=3))
        assert direct.pttl(key) == -1
        await apply(store, delete(seq=5, acked=4))
        await apply(store, add(1, seq=6, acked=5, ttl_ms=5 * HOUR_MS))
        assert removed_in(6 * HOUR_MS)
        await apply(store, add(1, seq=7, acked=6))
        assert removed_in(6 * HOUR_MS)
        await apply(store, closing(seq=1, key="default/other"))
        assert 0 < direct.pttl(f"{prefix_of(url)}{{default/other}}") <= HOUR_MS


@asynchronous
async def test_a_counter_stays_as_long_as_its_tokens(url: str, direct: Redis) -> None:
    key = f"{prefix_of(url)}{{default/counter}}"
    async with opened(store_at(url, token_retention_ms=9 * HOUR_MS)) as store:
        await apply(store, add(1, tokens=(TokenWrite("t", "notes"),)))
        assert direct.pttl(key) == -1
        assert 9 * HOUR_MS - SLACK_MS < direct.pttl(f"{key}:t") <= 9 * HOUR_MS
        await apply(store, delete(seq=2, acked=1))
        assert 9 * HOUR_MS - SLACK_MS < direct.pttl(key) <= 9 * HOUR_MS
        assert direct.pttl(f"{key}:t") <= direct.pttl(key)


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


def test_nobody_there_is_definite() -> None:
    with pytest.raises(StoreUnavailable):
        asyncio.run(store_at("redis://127.0.0.1:1/0").open())


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
async def test_credentials_and_rights(url: str, server: ServerProcess, direct: Redis) -> None:
    direct.acl_setuser("reader", enabled=True, passwords=["+p@ss"], keys=["*"], commands=["+@all", "-evalsha"])
    try:
        with pytest.raises(StoreRefused):
            await store_at(f"redis://reader:wrong@127.0.0.1:{server.port}/0").open()
        async with opened(store_at(f"redis://reader:p%40ss@127.0.0.1:{server.port}/0")) as store:
            with pytest.raises(StoreRefused):
                await apply(store, add(1))
    finally:
        direct.acl_deluser("reader")


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
    [record] = [record for record in caplog.records if record.name == "plusone.redis"]
    assert record.levelname == "WARNING"
    assert f"{policy}: when memory is short Redis drops {lost};" in record.getMessage()
    caplog.clear()
    asyncio.run(open_and_close(url))
    assert caplog.records == []


async def open_and_close(url: str) -> None:
    async with opened(store_at(url)):
        pass


# Listing.


@asynchronous
async def test_forged_page_tokens_are_refused(url: str) -> None:
    """Another account's counters cannot be named by one, nor can a cursor be anything."""
    async with opened(store_at(url)) as store:
        for token in ("", "x", "W10", "é", "WzAsW11d", "Wy0xLFtdXQ", "WzUsWyJvdGhlci9hIl1d"):
            with pytest.raises(InvalidRequest) as refused:
                await store.list("default/", 10, token)
            assert refused.value.field == "page_token"


@asynchronous
async def test_other_keys_are_not_listed(url: str, direct: Redis) -> None:
    prefix = prefix_of(url)
    async with opened(store_at(url)) as store:
        await apply(store, add(5, tokens=(TokenWrite("t}", "notes"),)))
        direct.set(f"{prefix}{{default/string}}", "x")
        direct.hset(f"{prefix}{{default/{{}}", "name", "value")
        assert await listed(store, "default/", limit=10) == {"default/counter": 5}


# TLS.


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files],
        check=True,
        capture_output=True,
    )
    return key, certificate


@asynchronous
async def test_tls_takes_the_certificate_that_is_trusted_and_named_so(certificate: tuple[Path, Path]) -> None:
    key, trusted = certificate
    options = ("--tls-cert-file", str(trusted), "--tls-key-file", str(key), "--tls-ca-cert-file", str(trusted))
    with tls_server(*options) as server:
        async with opened(store_at(f"rediss://localhost:{server.port}/0?ca_file={trusted}")) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        refused: list[tuple[str, type[PlusoneError]]] = [
            (f"rediss://127.0.0.1:{server.port}/0?ca_file={trusted}", StoreRefused),  # another name
            (f"rediss://localhost:{server.port}/0", StoreRefused),  # signed by nobody known
        ]
        for url, error in refused:
            with pytest.raises(error):
                await store_at(url).open()


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
