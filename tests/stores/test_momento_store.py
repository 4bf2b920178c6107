"""The Momento store on an emulator: races, late packets, ttls, evictions, limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("grpc")
pytest.importorskip("google.protobuf")

import grpc.aio

from plusone import Counters
from plusone.errors import NotCounted, StoreRefused
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.momento import API_KEY, CACHE, api_key, momento_emulator, url_of
from plusone.statistics import Limits
from plusone.stores.momento import connections
from plusone.stores.momento.errors import translate
from plusone.stores.momento.store import TURNS_MAX, MomentoStore
from plusone.stores.momento.wire import ScsStub, cache, common
from plusone.stores.protocol import Answer
from plusone.stores.registry import StoreURL
from tests.conformance.harness import DAY_MS, KEY, A, B, add, apply, asynchronous, opened, state
from tests.servers.momento import own_prefix, store_at


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with momento_emulator() as server, api_key():
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield own_prefix(url_of(server))


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
    async with opened(store):
        await apply(store, add(1, ttl_ms=400 * DAY_MS))
        assert await state(store) == (1, 1, True)
    other = store_at(f"{url}&ttl=3600")
    async with opened(other):
        assert await apply(other, add(1, seq=2, acked=1)) == Answer("applied", 1, 1, True)
    for asked, ttl_ms in ((store, DAY_MS), (other, 3_600_000)):
        [write], _ = asked._guess([add(1, key="default/new", ttl_ms=400 * DAY_MS)])
        assert asked._request(write).ttl_milliseconds == ttl_ms
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
        assert isinstance(translate(error, "KEY"), StoreRefused)
        assert "item_size_limit_exceeded" in str(translate(error, "KEY"))


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
