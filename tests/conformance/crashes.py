"""What every store bears whose server the tests may stop: it stands still, or ends as in a crash and comes back.

A store's test module inherits `CrashSuite` and supplies one fixture, `crashing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Final, Protocol

import msgspec

from plusone import Counters
from plusone.statistics import Limits
from tests.conformance.faults import INCREMENTS, store_at
from tests.conformance.harness import asynchronous

NAMES: Final = tuple(f"counter-{number}" for number in range(25))
"""So many, that 20 of their batches are under way when the fault begins."""
PAUSE_SECONDS: Final = 3.0


class Server(Protocol):
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def restart(self) -> None:
        """Kill it, and start it again on the same port and folder."""


class Crashing(msgspec.Struct, frozen=True):
    """A server that the test may harm, and an empty place on it."""

    url: str
    server: Server
    keeps: bool
    """Whether, as it is configured, it keeps what it acknowledged when it is killed."""


class CrashSuite:
    @asynchronous
    async def test_a_server_that_stands_still(self, crashing: Crashing) -> None:
        """SIGSTOP for seconds: every attempt meanwhile is unanswered, and each operation counts once."""

        async def stand_still() -> None:
            crashing.server.pause()
            try:
                await asyncio.sleep(PAUSE_SECONDS)  # the fault itself
            finally:
                crashing.server.resume()

        async with _counters(crashing) as counters:
            answers = await _under_load(counters, stand_still)
            assert answers == [list(range(1, INCREMENTS // len(NAMES) + 1))] * len(NAMES)
            assert await _values(counters) == [INCREMENTS // len(NAMES)] * len(NAMES)
            assert _hit(counters) >= 20
            assert counters.statistics.gaps_total == 0

    @asynchronous
    async def test_a_server_that_is_killed(self, crashing: Crashing) -> None:
        """`kill -9`: what the server keeps is exact, and what it loses is reported, counter by counter."""

        async def kill() -> None:
            await asyncio.to_thread(crashing.server.restart)

        async with _counters(crashing) as counters:
            answers = await _under_load(counters, kill)
            assert _hit(counters) >= 20
            assert await _values(counters) == [values[-1] for values in answers]
            losses = [_losses(values) for values in answers]
            statistics = counters.statistics
            assert statistics.gaps_total == sum(losses)
            assert all(gap.last < gap.acked for gap in statistics.recent_gaps)
            if crashing.keeps:
                assert losses == [0] * len(NAMES)
            else:
                # One crash, one loss: from there on it is counted without a gap or a repetition again.
                assert max(losses) == 1


def _counters(crashing: Crashing) -> Counters:
    return Counters(store_at(crashing.url), limits=Limits(timeout=60, attempt_timeout=0.5))


def _hit(counters: Counters) -> int:
    """How many attempts met the fault."""
    return counters.statistics.ambiguous_total + counters.statistics.failures_total


async def _under_load(counters: Counters, disturb: Callable[[], Awaitable[None]]) -> Sequence[list[int]]:
    """What one caller on each counter is answered while, halfway, `disturb` happens."""
    answers: list[list[int]] = [[] for _ in NAMES]
    halfway = asyncio.Event()

    async def caller(name: str, values: list[int]) -> None:
        for _ in range(INCREMENTS // len(NAMES)):
            values.append((await counters.increment(name)).value)
            if sum(map(len, answers)) == INCREMENTS // 2:
                halfway.set()

    async with asyncio.TaskGroup() as group:
        for name, values in zip(NAMES, answers, strict=True):
            group.create_task(caller(name, values))
        await halfway.wait()
        await disturb()
    return answers


async def _values(counters: Counters) -> list[int]:
    return [counter.value for counter in await counters.get_many(NAMES)]


def _losses(values: Sequence[int]) -> int:
    """How often acknowledged counts were lost in between, where each answer else is one more than the last."""
    steps = [after - before for before, after in pairwise([0, *values])]
    assert all(step <= 1 for step in steps), "a value was skipped: an operation counted twice"
    return sum(step < 1 for step in steps)
