"""The Momento store on an emulator: races, ttls, evictions, limits, credentials, TLS, setup, and its gRPC channels."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")
pytest.importorskip("google.protobuf")

import grpc.aio

from plusone import Counters
from plusone.clock import Clock
from plusone.errors import NotCounted, OutcomeUnknown, StoreRefused, StoreUnavailable
from plusone.statistics import Limits
from plusone.stores.momento import blob, connections, settings
from plusone.stores.momento.errors import translate
from plusone.stores.momento.store import TURNS_MAX, MomentoStore
from plusone.stores.momento.wire import ScsStub, cache, common
from plusone.stores.protocol import Answer, Store
from plusone.stores.registry import StoreURL
from tests.conformance.harness import DAY_MS, KEY, A, B, add, apply, asynchronous, opened, state
from tests.servers.momento import API_KEY, CACHE, api_key, momento_emulator, own_prefix, url_of
from tests.servers.process import ServerProcess


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with momento_emulator() as server, api_key():
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield own_prefix(url_of(server))


def store_at(url: str) -> MomentoStore:
    return MomentoStore.from_url(StoreURL.parse(url), clock=Clock(), token_retention_ms=DAY_MS)


@asynccontextmanager
async def beside(server: ServerProcess) -> AsyncIterator[Any]:
    """The driver's own stub, for what a test does beside the store."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield ScsStub(channel)


METADATA = (("authorization", API_KEY), ("cache", CACHE))


def item_key(url: str, key: str = KEY) -> bytes:
    return (StoreURL.parse(url).query["prefix"] + key).encode()


async def count(counters: Counters, callers: int, each: int) -> list[int]:
    async def caller() -> list[int]:
        return [(await counters.increment("hot")).value for _ in range(each)]

    return [value for values in await asyncio.gather(*(caller() for _ in range(callers))) for value in values]


# Races.


@asynchronous
async def test_many_writers_on_one_counter(url: str) -> None:
    """Each has read the same item, and one of them writes: no update is lost, and no value is answered twice."""
    writers = [Counters(store_at(url), limits=Limits(timeout=60)) for _ in range(6)]
    try:
        values = await asyncio.gather(*(count(counters, callers=3, each=20) for counters in writers))
        assert sorted(value for each in values for value in each) == list(range(1, 361))
    finally:
        for counters in writers:
            await counters.close()


@asynchronous
async def test_get_then_set_if_not_equal_loses_updates(server: ServerProcess, url: str) -> None:
    """The increment with a ceiling that is often copied: what it does, on the same emulator, is why we compare."""
    key, absent_or_equal = item_key(url), common.PresentAndNotEqual(value_to_check=b"10")
    async with beside(server) as stub:
        await stub.Set(cache._SetRequest(cache_key=key, cache_body=b"5", ttl_milliseconds=60_000), metadata=METADATA)
        found = [await stub.Get(cache._GetRequest(cache_key=key), metadata=METADATA) for _ in range(2)]
        for response in found:
            request = cache._SetIfRequest(
                cache_key=key,
                cache_body=b"%d" % (int(response.cache_body) + 1),
                ttl_milliseconds=60_000,
                present_and_not_equal=absent_or_equal,
            )
            assert (await stub.SetIf(request, metadata=METADATA)).HasField("stored")
        assert (await stub.Get(cache._GetRequest(cache_key=key), metadata=METADATA)).cache_body == b"6"


@asynchronous
async def test_an_item_seen_lately_makes_it_one_round_trip(url: str) -> None:
    async with opened(store_at(url)) as one, opened(store_at(url)) as two:
        assert isinstance(one, MomentoStore)
        connection = await one._connections.ready()
        await apply(one, add(1))
        before = connection._answered
        await apply(one, add(1, seq=2, acked=1))
        assert connection._answered == before + 1
        await apply(two, add(1, writer=B))
        before = connection._answered
        assert await apply(one, add(1, seq=3, acked=2)) == Answer("applied", 3, 3, True)
        assert connection._answered == before + 3  # not stored, read, stored


@asynchronous
async def test_whoever_is_always_beaten_is_told_of_a_miss(server: ServerProcess, url: str) -> None:
    """With the state as it was read last, so that it can decide anew; the call does not go on for ever."""
    async with opened(store_at(url)) as one, opened(store_at(url)) as two:
        assert isinstance(one, MomentoStore)
        await apply(one, add(1))
        beaten = 0

        class Beaten(connections.Connection):
            async def exchange(self, calls: Any) -> Any:
                """Behind each read somebody else is faster."""
                nonlocal beaten
                responses = await super().exchange(calls)
                if hasattr(responses[0], "cache_body"):
                    beaten += 1
                    await apply(two, add(1, seq=beaten, writer=B))
                return responses

        one._connections = connections.Connections(lambda: Beaten(one._settings))
        one._recent.forget(KEY)
        assert await apply(one, add(100, seq=2, acked=1)) == Answer("missed", beaten, beaten, True)
        assert beaten == TURNS_MAX + 1
        assert await state(two) == (beaten + 1, beaten + 1, True)


# A cache.


@asynchronous
async def test_every_write_sets_the_ttl_within_momentos_limit(server: ServerProcess, url: str) -> None:
    """24 h is the most that it takes: a counter's own ttl may be longer, and its item is not."""
    async with beside(server) as stub:
        request = cache._SetRequest(cache_key=b"k", cache_body=b"v", ttl_milliseconds=DAY_MS + 1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Set(request, metadata=METADATA)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    store = store_at(url)
    change = blob.decide(None, add(1, ttl_ms=400 * DAY_MS), 0, DAY_MS)
    assert isinstance(change, blob.Change)
    async with opened(store):
        await apply(store, add(1, ttl_ms=400 * DAY_MS))
        assert await state(store) == (1, 1, True)
    other = store_at(f"{url}&ttl=3600")
    async with opened(other):
        assert await apply(other, add(1, seq=2, acked=1)) == Answer("applied", 1, 1, True)
    for asked, ttl_ms in ((store, DAY_MS), (other, 3_600_000)):
        assert asked._settings.ttl_ms == ttl_ms
    assert "unwritten for 24 h" in store.capabilities.durable
    assert "unwritten for 3600 s" in other.capabilities.durable
    assert other.capabilities.token_retention.startswith("3600 s at most")


@asynchronous
async def test_an_evicted_counter_is_a_gap_and_counted_on_exactly(server: ServerProcess, url: str) -> None:
    async with Counters(store_at(url)) as counters, beside(server) as stub:
        assert sorted(await count(counters, callers=8, each=5)) == list(range(1, 41))
        await stub.Delete(cache._DeleteRequest(cache_key=item_key(url, "default/hot")), metadata=METADATA)
        assert sorted(await count(counters, callers=8, each=5)) == list(range(1, 41))
        [gap] = counters.statistics.recent_gaps
        assert (gap.key, gap.last, gap.acked > 0) == ("default/hot", 0, True)
        assert counters.statistics.gaps_total == 1
        assert (await counters.get("hot")).value == 40


@asynchronous
async def test_what_another_program_stored_is_no_counter(server: ServerProcess, url: str) -> None:
    async with opened(store_at(url)) as store, beside(server) as stub:
        request = cache._SetRequest(cache_key=item_key(url), cache_body=b"7", ttl_milliseconds=60_000)
        await stub.Set(request, metadata=METADATA)
        answers = await store.apply([add(1), add(1, key="default/other")])
        assert (
            str(answers[0]) == "Momento holds something under the key of 'default/counter' that is no counter of ours"
        )
        assert answers[1] == Answer("applied", 0, 0, False)
        with pytest.raises(NotCounted, match="no counter of ours"):
            await state(store)


# Limits.


@asynchronous
async def test_throttled_calls_are_definite_and_count_once() -> None:
    with momento_emulator("--operations-per-second", "40") as server:
        limits = Limits(timeout=60)
        async with Counters(store_at(url_of(server)), limits=limits) as counters:
            names = [f"counter-{number}" for number in range(60)]
            outcomes = await asyncio.gather(*(counters.increment(name) for name in names))
            assert [outcome.value for outcome in outcomes] == [1] * 60
            assert counters.statistics.failures_total >= 20
            assert counters.statistics.ambiguous_total == 0
            assert [counter.value for counter in await counters.get_many(names[:20])] == [1] * 20


@asynchronous
async def test_an_item_that_is_too_large_is_refused_for_good(url: str) -> None:
    """What the emulator says then, as Momento does; a counter of ours does not grow that large."""
    async with opened(store_at(url)) as store:
        assert isinstance(store, MomentoStore)
        connection = await store._connections.ready()
        request = cache._SetIfRequest(
            cache_key=b"large", cache_body=bytes(1024 * 1024 + 1), ttl_milliseconds=1_000, absent=common.Absent()
        )
        [error] = await connection.exchange([connection.set_if(request)])
        assert isinstance(translate(error), StoreRefused)
        assert "item_size_limit_exceeded" in str(translate(error))


# Who may, and where.


@asynchronous
async def test_a_wrong_api_key(url: str) -> None:
    with api_key("wrong"):
        store = store_at(url)
    with pytest.raises(StoreRefused, match=r"UNAUTHENTICATED: .*; check the API key in the environment") as caught:
        await store.open()
    assert "wrong" not in str(caught.value)
    with pytest.raises(StoreRefused, match="UNAUTHENTICATED"):
        await store.setup(dry_run=True)
    with pytest.raises(StoreRefused, match="UNAUTHENTICATED"):
        await store.apply([add(1)])
    await store.close()


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "nobody.invalid:443"], ids=["nobody listens", "no such host"])
@asynchronous
async def test_nobody_there_is_definite(endpoint: str, server: ServerProcess) -> None:
    store = store_at(f"momento://c?endpoint={endpoint}&api_key_from=PLUSONE_TEST_MOMENTO_API_KEY")
    for ask in (store.open, store.check, lambda: store.apply([add(1)]), lambda: store.setup(dry_run=False)):
        with pytest.raises(StoreUnavailable, match=r"^Momento: UNAVAILABLE: "):
            await ask()
    await store.close()


@asynchronous
async def test_what_is_no_momento_is_found_out() -> None:
    """Something that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = store_at(f"momento://c?endpoint=127.0.0.1:{silent.getsockname()[1]}&connect_timeout=100")
        with pytest.raises(StoreUnavailable, match="Momento: DEADLINE_EXCEEDED"):
            await store.open()
        await store.close()


@asynchronous
async def test_setup_creates_the_cache_that_is_missing(server: ServerProcess) -> None:
    url = url_of(server, cache="another")
    store = store_at(url)
    with pytest.raises(StoreRefused, match=r"NOT_FOUND: .*; run `plusone setup` to create the cache"):
        await store.open()
    assert await store.setup(dry_run=True) == ("CreateCache another",)
    assert await store.setup(dry_run=True) == ("CreateCache another",)
    several = await asyncio.gather(*(store_at(url).setup(dry_run=False) for _ in range(3)))
    assert ("CreateCache another",) in several
    assert await store.setup(dry_run=False) == ()
    assert await store.setup(dry_run=True) == ()
    async with opened(store):
        assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        await store.check()


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
    with momento_emulator("--certificate", str(trusted), "--key", str(key), tls=True) as server, api_key():
        async with opened(store_at(url_of(server, host="localhost", tls="on", ca_file=str(trusted)))) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        for refused in (
            url_of(server, host="127.0.0.1", tls="on", ca_file=str(trusted)),  # another name
            url_of(server, host="localhost", tls="on"),  # signed by nobody known
        ):
            store = store_at(refused)
            with pytest.raises(StoreRefused, match="; check ca_file, and that the endpoint is the name"):
                await store.open()
            await store.close()
        plain = store_at(url_of(server))
        with pytest.raises(StoreUnavailable):
            await plain.open()
        await plain.close()


# gRPC.


def test_channels_do_not_repeat_and_do_not_share_connections(
    monkeypatch: pytest.MonkeyPatch, server: ServerProcess
) -> None:
    made: list[dict[str, Any]] = []

    def insecure_channel(target: str, *, options: Any, **rest: Any) -> Any:
        assert not rest, "no interceptor repeats a call either"
        made.append(dict(options))
        return real(target, options=options)

    real = grpc.aio.insecure_channel
    monkeypatch.setattr(grpc.aio, "insecure_channel", insecure_channel)

    async def open_and_setup() -> None:
        async with opened(store_at(url_of(server))) as store:
            await store.setup(dry_run=True)

    asyncio.run(open_and_setup())
    assert len(made) == 2
    for options in made:
        assert options["grpc.enable_retries"] == 0
        assert options["grpc.use_local_subchannel_pool"] == 1
        assert options["grpc.service_config_disable_resolution"] == 1
        assert "grpc.service_config" not in options
    assert settings._OPTIONS  # the channels over TLS take the same


@asynchronous
async def test_a_cancelled_call_gives_up_a_silent_connection(url: str, server: ServerProcess) -> None:
    async with opened(store_at(url)) as store:
        assert isinstance(store, MomentoStore)
        await apply(store, add(1))
        connection = await store._connections.ready()
        with server.paused():
            under_way = asyncio.ensure_future(store.apply([add(2, seq=2, acked=1)]))
            done, _ = await asyncio.wait([under_way], timeout=0.05)
            assert not done
            under_way.cancel()
            with pytest.raises(asyncio.CancelledError):
                await under_way
            assert not connection.good
        answer = await apply(store, add(2, seq=2, acked=1))
        assert (answer.status in ("applied", "duplicate"), answer.value) == (True, 1)
        assert await store._connections.ready() is not connection
        assert await state(store) == (3, 2, True)


@asynchronous
async def test_a_late_copy_of_a_cancelled_batch_is_refused_by_its_condition(server: ServerProcess, url: str) -> None:
    """The packet itself, sent again after its writer has moved on: the item is no longer the one that it follows."""
    async with opened(store_at(url)) as store, beside(server) as stub:
        assert isinstance(store, MomentoStore)
        await apply(store, add(1))
        item = store._recent.get(KEY)
        [late], _ = store._guess([add(1_000, seq=2, acked=1)])
        assert late.follows == item
        await apply(store, add(0, seq=2, acked=1, applied=0, closing=True))
        await apply(store, add(1, seq=3, acked=1))
        assert (await stub.SetIf(store._request(late), metadata=METADATA)).HasField("not_stored")
        [first], _ = store_at(url)._guess([add(1_000, writer=A)])
        assert first.follows is None
        assert (await stub.SetIf(store._request(first), metadata=METADATA)).HasField("not_stored")
        assert await state(store) == (2, 2, True)


@asynchronous
async def test_a_restarted_server_is_found_again() -> None:
    with momento_emulator() as server, api_key():
        async with opened(store_at(url_of(server))) as store:
            await apply(store, add(1))
            await asyncio.to_thread(server.kill)
            with pytest.raises(StoreUnavailable):
                await asked_until_it_is_gone(store)
            await asyncio.to_thread(server.start)
            assert await apply(store, add(1, seq=2, acked=1)) == Answer("gap", last=0)


async def asked_until_it_is_gone(store: Store) -> None:
    """Raises `StoreUnavailable`, once the loop has seen the connection end."""
    for _ in range(1_000):
        [answer] = await store.apply([add(1, seq=2, acked=1)])
        assert isinstance(answer, OutcomeUnknown | StoreUnavailable)


@asynchronous
async def test_closing_while_calls_are_under_way(url: str, server: ServerProcess) -> None:
    """They fail as ambiguous, and the store can be used again."""
    store = store_at(url)
    await store.open()
    await apply(store, add(1))
    with server.paused():
        under_way = asyncio.ensure_future(store.apply([add(1, seq=2, acked=1)]))
        await asyncio.wait([under_way], timeout=0.05)
        await store.close()
        await store.close()
        [answer] = await under_way
        assert isinstance(answer, OutcomeUnknown)
    async with opened(store):
        assert (await apply(store, add(1, seq=2, acked=1))).status in ("applied", "duplicate")
        assert await state(store) == (2, 2, True)
