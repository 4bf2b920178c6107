"""What every store that is reached over TCP must bear: replies lost, requests lost, late or swallowed.

A store's test module inherits `FaultSuite` beside `ConformanceSuite` and supplies one more fixture:

`is_apply`
    A callable that says of the first bytes of a request whether they begin an `apply`. Handshakes are left alone, so
    that the counts are of what the tests are about.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from plusone import Counters
from plusone.clock import Clock
from plusone.lab.proxy import Fault, Faults, Proxy
from plusone.statistics import Limits
from plusone.stores.protocol import Store
from plusone.stores.registry import make_store
from tests.conformance.harness import DAY_MS, A, add, apply, asynchronous, closing, opened, state, told

IsApply: TypeAlias = Callable[[bytes], bool]


def every(number: int, fault: Fault) -> dict[int, Fault]:
    """A schedule on which each so many-th request meets the fault."""
    return dict.fromkeys(range(number, 100_000, number), fault)


def store_at(url: str) -> Store:
    return make_store(url, clock=Clock(), token_retention_ms=DAY_MS)


@asynccontextmanager
async def through(url: str, faults: Faults, attempt_timeout: float = 3.0) -> AsyncIterator[tuple[Counters, Proxy]]:
    """Counters that reach the store by way of a proxy with these faults."""
    async with Proxy(url, faults) as proxy:
        limits = Limits(timeout=60, attempt_timeout=attempt_timeout)
        async with Counters(store_at(proxy.url), limits=limits) as counters:
            yield counters, proxy


async def count(counters: Counters, name: str, *, callers: int, each: int) -> list[int]:
    """The values that so many callers are answered, one increment after another each, in order of size."""

    async def caller() -> list[int]:
        return [(await counters.increment(name)).value for _ in range(each)]

    return sorted(value for values in await asyncio.gather(*(caller() for _ in range(callers))) for value in values)


class FaultSuite:
    @asynchronous
    async def test_lost_replies_count_once(self, store_url: str, is_apply: IsApply) -> None:
        """A batch whose reply is lost is sent again unchanged, and answered with the stored before."""
        faults = Faults(schedule=every(5, "cut_after_request"), matcher=is_apply)
        async with through(store_url, faults) as (counters, proxy):
            assert await count(counters, "hot", callers=64, each=50) == list(range(1, 3_201))
            assert (await counters.get("hot")).value == 3_200
            assert proxy.counts["cut_after_request"] == proxy.counts["requests"] // 5 >= 10
            assert counters.statistics.ambiguous_total >= proxy.counts["cut_after_request"]
            assert counters.statistics.unknown_total == 0

    @asynchronous
    async def test_lost_requests_count_once(self, store_url: str, is_apply: IsApply) -> None:
        """A batch that never arrived is applied by its repetition."""
        faults = Faults(schedule=every(5, "cut_before_request"), matcher=is_apply)
        async with through(store_url, faults) as (counters, proxy):
            assert await count(counters, "hot", callers=64, each=50) == list(range(1, 3_201))
            assert (await counters.get("hot")).value == 3_200
            assert proxy.counts["cut_before_request"] == proxy.counts["requests"] // 5 >= 10

    @asynchronous
    async def test_late_requests_count_once(self, store_url: str, is_apply: IsApply) -> None:
        """Requests that arrive after their writer gave them up and sent them again: duplicates, or ghosts."""
        faults = Faults(schedule=every(5, "delay"), delay_ms=60, matcher=is_apply)
        async with through(store_url, faults, attempt_timeout=0.03) as (counters, proxy):
            assert await count(counters, "hot", callers=64, each=50) == list(range(1, 3_201))
            while proxy.in_flight:
                assert (await counters.get("hot")).value == 3_200
            assert (await counters.get("hot")).value == 3_200
            assert proxy.counts["ghosts"] >= 10

    @asynchronous
    async def test_swallowed_requests_count_once(self, store_url: str, is_apply: IsApply) -> None:
        """A half-open connection answers nothing: the attempt times out and another connection takes over."""
        faults = Faults(schedule=every(5, "half_open"), matcher=is_apply)
        async with through(store_url, faults, attempt_timeout=0.03) as (counters, proxy):
            assert await count(counters, "hot", callers=64, each=50) == list(range(1, 3_201))
            assert (await counters.get("hot")).value == 3_200
            assert proxy.counts["half_open"] >= 10

    @asynchronous
    async def test_bounds_hold_when_replies_are_lost(self, store_url: str, is_apply: IsApply) -> None:
        """Outcomes of a repeated batch are those of its first time, rejections included."""
        faults = Faults(schedule=every(3, "cut_after_request"), matcher=is_apply)
        async with through(store_url, faults) as (one, proxy), through(store_url, faults) as (two, _):

            async def caller(counters: Counters) -> list[tuple[bool, int]]:
                return [told(await counters.increment("seats", ceiling=300))[:2] for _ in range(10)]

            answers = await asyncio.gather(*(caller((one, two)[number % 2]) for number in range(64)))
            outcomes = [outcome for each in answers for outcome in each]
            assert sorted(value for applied, value in outcomes if applied) == list(range(1, 301))
            assert [value for applied, value in outcomes if not applied] == [300] * 340
            assert (await one.get("seats")).value == 300
            assert proxy.counts["cut_after_request"] >= 1

    @asynchronous
    async def test_tokens_sets_and_deletes_survive_lost_replies(self, store_url: str, is_apply: IsApply) -> None:
        """Every kind of operation is applied once when every second reply is lost."""
        faults = Faults(schedule=every(2, "cut_after_request"), matcher=is_apply)
        async with through(store_url, faults) as (counters, proxy):
            for turn in range(10):
                first = 4 * turn
                assert told(await counters.set("a", 5)) == (True, 5, 0, first + 1, None)
                assert told(await counters.increment("a", 2, token=f"{turn}")) == (True, 7, 5, first + 2, None)
                replayed = await counters.increment("a", 2, token=f"{turn}")
                assert (told(replayed), replayed.replayed) == ((True, 7, 5, first + 2, None), True)
                assert told(await counters.increment("a", 2, if_revision=1)) == (False, 7, 7, first + 2, "revision")
                assert told(await counters.increment("a", if_revision=first + 2)) == (True, 8, 7, first + 3, None)
                assert told(await counters.delete("a")) == (True, 0, 8, first + 4, None)
            assert proxy.counts["cut_after_request"] == proxy.counts["requests"] // 2 >= 20

    @asynchronous
    async def test_a_ghost_does_nothing(self, store_url: str, is_apply: IsApply) -> None:
        """A batch that is delivered after its writer closed its seq and moved on is refused."""
        faults = Faults(schedule={1: "delay"}, delay_ms=300, matcher=is_apply)
        async with Proxy(store_url, faults) as proxy, opened(store_at(store_url)) as direct:
            async with opened(store_at(proxy.url)) as held:
                attempt = asyncio.ensure_future(held.apply([add(1_000, seq=1, writer=A)]))
                while not proxy.counts["delay"]:
                    assert await state(direct) == (0, 0, False)
                attempt.cancel()
                await asyncio.wait([attempt])
            await apply(direct, closing(seq=1))
            await apply(direct, add(1, seq=2))
            while not proxy.counts["ghosts"]:
                assert await state(direct) == (1, 1, True)
            assert await state(direct) == (1, 1, True)
