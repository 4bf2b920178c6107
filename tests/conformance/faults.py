"""What every store that is reached over TCP must bear: replies lost, requests lost, late or swallowed.

A store's test module inherits `FaultSuite` beside `ConformanceSuite` and supplies more fixtures:

`proxied` (has a default in conftest.py)
    What puts a proxy with given faults before the server that a URL leads to. Servers at several addresses override it.

`is_apply`
    A callable that says of the first bytes of a request whether they begin an `apply`. Handshakes are left alone, so
    that the counts are of what the tests are about.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import ClassVar, Final, Protocol, TypeAlias

from plusone import Counters
from plusone.clock import Clock
from plusone.errors import PlusoneError
from plusone.lab.faults import Event, Fault, Faults
from plusone.statistics import Limits
from plusone.stores.protocol import Answer, GuardedAdd, Store
from plusone.stores.registry import make_store
from tests.conformance.harness import DAY_MS, NewStore, add, apply, asynchronous, closing, opened, state, told

IsApply: TypeAlias = Callable[[bytes], bool]


class ProxyLike(Protocol):
    """What the suite uses of a proxy, or of several that stand together."""

    @property
    def url(self) -> str: ...
    @property
    def counts(self) -> Counter[Event]: ...
    @property
    def in_flight(self) -> int: ...
    def deliver(self) -> None: ...


Proxied: TypeAlias = Callable[[str, Faults], AbstractAsyncContextManager[ProxyLike]]

INCREMENTS: Final = 20_000 if os.environ.get("PLUSONE_TEST_SOAK") else 2_000
CALLERS: Final = 4
"""So few, that a batch has few increments, and there are many batches for a fault to befall."""
EXPECTED: Final = range(1, INCREMENTS + 1)


def every(number: int, fault: Fault) -> dict[int, Fault]:
    """A schedule on which each so many-th request meets the fault."""
    return dict.fromkeys(range(number, 100_000, number), fault)


def store_at(url: str) -> Store:
    return make_store(url, clock=Clock(), token_retention_ms=DAY_MS)


@asynccontextmanager
async def through(
    proxied: Proxied, url: str, faults: Faults, attempt_timeout: float = 3.0
) -> AsyncIterator[tuple[Counters, ProxyLike]]:
    """Counters that reach the store by way of a proxy with these faults."""
    async with proxied(url, faults) as proxy:
        limits = Limits(timeout=60, attempt_timeout=attempt_timeout)
        async with Counters(store_at(proxy.url), limits=limits) as counters:
            yield counters, proxy


async def count(counters: Counters, name: str, *, callers: int, each: int) -> list[int]:
    """The values that so many callers are answered, one increment after another each, in order of size."""

    async def caller() -> list[int]:
        return [(await counters.increment(name)).value for _ in range(each)]

    return sorted(value for values in await asyncio.gather(*(caller() for _ in range(callers))) for value in values)


class Twice:
    """A store whose every `apply` reaches the datastore twice. The second one's answer is lost."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.repeated = 0
        self.capabilities = store.capabilities
        self.setup, self.open, self.check, self.close = store.setup, store.open, store.check, store.close
        self.read = store.read

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        first, second = await asyncio.gather(self._store.apply(batch), self._store.apply(batch), return_exceptions=True)
        self.repeated += not isinstance(second, BaseException)
        if isinstance(first, BaseException):
            raise first
        return first


async def _counts_once(proxied: Proxied, store_url: str, faults: Faults, attempt_timeout: float = 3.0) -> None:
    """Count through these faults, of which there is one kind: every value is answered once, and the counter has it."""
    [fault] = set(faults.schedule.values())
    async with through(proxied, store_url, faults, attempt_timeout) as (counters, proxy):
        assert await count(counters, "hot", callers=CALLERS, each=INCREMENTS // CALLERS) == list(EXPECTED)
        assert (await counters.get("hot")).value == INCREMENTS
        assert proxy.counts[fault] == proxy.counts["requests"] // 20 >= 20
        statistics = counters.statistics
        assert statistics.ambiguous_total + statistics.failures_total >= 20
        assert statistics.unknown_total == 0


class FaultSuite:
    attempt_seconds: ClassVar[float] = 0.1
    """Where an attempt is to be given up: more than the datastore ever takes, on a machine that is busy too."""

    @asynchronous
    async def test_lost_replies_count_once(self, proxied: Proxied, store_url: str, is_apply: IsApply) -> None:
        """A batch whose reply is lost is sent again unchanged, and answered with the stored before."""
        await _counts_once(proxied, store_url, Faults(schedule=every(20, "cut_after_request"), matcher=is_apply))

    @asynchronous
    async def test_lost_requests_count_once(self, proxied: Proxied, store_url: str, is_apply: IsApply) -> None:
        """A batch that never arrived is applied by its repetition."""
        await _counts_once(proxied, store_url, Faults(schedule=every(20, "cut_before_request"), matcher=is_apply))

    @asynchronous
    async def test_late_requests_count_once(self, proxied: Proxied, store_url: str, is_apply: IsApply) -> None:
        """Requests that arrive after their writer gave them up and sent them again: duplicates, or ghosts."""
        faults = Faults(schedule=every(20, "delay"), delay_ms=round(2_000 * self.attempt_seconds), matcher=is_apply)
        async with through(proxied, store_url, faults, attempt_timeout=self.attempt_seconds) as (counters, proxy):
            assert await count(counters, "hot", callers=CALLERS, each=INCREMENTS // CALLERS) == list(EXPECTED)
            while proxy.in_flight:
                assert (await counters.get("hot")).value == INCREMENTS
            assert (await counters.get("hot")).value == INCREMENTS
            assert proxy.counts["ghosts"] >= 20

    @asynchronous
    async def test_swallowed_requests_count_once(self, proxied: Proxied, store_url: str, is_apply: IsApply) -> None:
        """A half-open connection answers nothing: the attempt times out and another connection takes over."""
        faults = Faults(schedule=every(20, "half_open"), matcher=is_apply)
        await _counts_once(proxied, store_url, faults, attempt_timeout=self.attempt_seconds)

    @asynchronous
    async def test_every_request_twice_counts_once(self, new_store: NewStore) -> None:
        """Each batch goes out twice at the same time, over connections of their own: which one is first is open."""
        twice = Twice(new_store())
        async with Counters(twice, limits=Limits(timeout=60)) as counters:
            assert await count(counters, "hot", callers=CALLERS, each=INCREMENTS // CALLERS) == list(EXPECTED)
            assert (await counters.get("hot")).value == INCREMENTS
            assert twice.repeated >= 20

    @asynchronous
    async def test_bounds_hold_when_replies_are_lost(self, proxied: Proxied, store_url: str, is_apply: IsApply) -> None:
        """Outcomes of a repeated batch are those of its first time, rejections included."""
        faults = Faults(schedule=every(3, "cut_after_request"), matcher=is_apply)
        async with (
            through(proxied, store_url, faults) as (one, near),
            through(proxied, store_url, faults) as (two, far),
        ):

            async def caller(counters: Counters) -> list[tuple[bool, int]]:
                return [told(await counters.increment("seats", ceiling=300))[:2] for _ in range(160)]

            answers = await asyncio.gather(*(caller((one, two)[number % 2]) for number in range(4)))
            outcomes = [outcome for each in answers for outcome in each]
            assert sorted(value for applied, value in outcomes if applied) == list(range(1, 301))
            assert [value for applied, value in outcomes if not applied] == [300] * 340
            assert (await one.get("seats")).value == 300
            assert near.counts["cut_after_request"] + far.counts["cut_after_request"] >= 20

    @asynchronous
    async def test_tokens_sets_and_deletes_survive_lost_replies(
        self, proxied: Proxied, store_url: str, is_apply: IsApply
    ) -> None:
        """Every kind of operation is applied once when every second reply is lost."""
        faults = Faults(schedule=every(2, "cut_after_request"), matcher=is_apply)
        async with through(proxied, store_url, faults) as (counters, proxy):
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
    async def test_ghosts_do_nothing(self, proxied: Proxied, store_url: str, is_apply: IsApply) -> None:
        """Batches that are delivered after their writers closed the seq and moved on are refused."""
        keys = [f"default/{number}" for number in range(20)]
        faults = Faults(schedule=dict.fromkeys(range(1, 21), "delay"), delay_ms=60_000, matcher=is_apply)
        async with (
            proxied(store_url, faults) as proxy,
            opened(store_at(store_url)) as direct,
            AsyncExitStack() as stack,
        ):
            writers = [await stack.enter_async_context(opened(store_at(proxy.url))) for _ in keys]
            attempts = [
                asyncio.ensure_future(writer.apply([add(1_000, key=key)]))
                for writer, key in zip(writers, keys, strict=True)
            ]
            while proxy.counts["delay"] < 20:
                assert await state(direct, keys[0]) == (0, 0, False)
            for attempt in attempts:
                attempt.cancel()
            await asyncio.wait(attempts)
            await stack.aclose()
            for key in keys:
                await apply(direct, closing(seq=1, key=key))
                await apply(direct, add(1, seq=2, key=key))
            proxy.deliver()
            while proxy.counts["ghosts"] < 20:
                assert [await state(direct, key) for key in keys] == [(1, 1, True)] * 20
            assert [await state(direct, key) for key in keys] == [(1, 1, True)] * 20
