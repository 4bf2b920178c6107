"""Clocks that jump, and what counting makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from plusone import Counters
from plusone.errors import NotCounted, OutcomeUnknown
from plusone.lab.clocks import JumpingClock
from plusone.stores.registry import make_store
from tests.conformance.harness import asynchronous

HOUR_MS = 3_600_000


def test_a_jump_is_the_wall_clocks_alone() -> None:
    clock = JumpingClock()
    monotonic, wall = clock.monotonic(), clock.wall_ms()
    clock.jump(-3_600)
    assert -HOUR_MS <= clock.wall_ms() - wall < -HOUR_MS + 60_000
    assert 0 <= clock.monotonic() - monotonic < 60
    clock.jump(7_200)
    assert HOUR_MS <= clock.wall_ms() - wall < HOUR_MS + 60_000


def test_elapsed_time_never_goes_back() -> None:
    clock = JumpingClock()
    before = clock.elapsed()
    clock.jump(-3_600)
    assert before <= clock.elapsed() < before + 60
    clock.jump(7_200)
    assert before + 7_200 <= clock.elapsed() < before + 7_260


@pytest.mark.parametrize("url", ["memory:", "sqlite:{folder}/counters.db"])
@asynchronous
async def test_increments_count_once_while_the_clock_jumps(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hours forth and back under 20 callers: no value twice, none left out, and the tokens still known.

    What a jump forward makes too late was not counted, or perhaps: its caller asks again, with the same token.
    """
    clock = JumpingClock()
    folder = tmp_path_factory.mktemp("jumps")
    store = make_store(url.format(folder=folder), clock=clock, token_retention_ms=24 * HOUR_MS)
    async with Counters(store, clock=clock) as counters:
        first = await counters.increment("jumps", token="first")

        async def increment(token: str) -> int:
            while True:
                with contextlib.suppress(NotCounted, OutcomeUnknown):
                    return (await counters.increment("jumps", token=token)).value

        async def caller(name: int) -> list[int]:
            return [await increment(f"{name}-{number}") for number in range(50)]

        async with asyncio.TaskGroup() as group:
            callers = [group.create_task(caller(name)) for name in range(20)]
            for hours in (1, -3, 5, -2, 1, -2):
                clock.jump(3_600 * hours)
                await asyncio.sleep(0)
        assert sorted(value for each in callers for value in each.result()) == list(range(2, 1_002))
        again = await counters.increment("jumps", token="first")
        assert (again.replayed, again.value) == (True, first.value) == (True, 1)
        assert abs(clock.wall_ms() / 1000 - time.time()) < 60
        assert counters.statistics.gaps_total == 0
