"""Concurrent callers on one event loop: how many calls they get answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from bench.measure import Side
from plusone.lab.load import Call, closed_loop, spread

SPREAD: Final = 5_000
"""How many counters a spread load is on."""


def rate(runner: asyncio.Runner, callers: int, call: Call) -> Side:
    """A side that says calls per second, with `callers` tasks that each call again when answered."""
    return lambda seconds: runner.run(_rate(callers, seconds, call))


def microseconds(runner: asyncio.Runner, call: Call) -> Side:
    """A side that says microseconds per call, one after the other."""
    return lambda seconds: 1e6 / runner.run(_rate(1, seconds, call))


async def _rate(callers: int, seconds: float, call: Call) -> float:
    done = await closed_loop(call, concurrency=callers, seconds=seconds)
    if done.errors:
        raise RuntimeError(f"{done.errors:,} calls failed, the first with {done.first_error}")
    return done.per_second


def spread_names(count: int = SPREAD) -> Callable[[], str]:
    """A source of names: each call gives one of `count`, in the same random order in every run."""
    return spread(_names(count))


def touch_all(runner: asyncio.Runner, callers: int, increment: Callable[[str], Awaitable[Any]]) -> None:
    """Count once on each of the spread counters.

    The first count on a counter makes its record, which on some datastores takes longer than all the later ones; and
    what a slow datastore is measured with should not depend on how many of the counters it has got round to.
    """
    names = iter(_names(SPREAD))

    async def caller() -> None:
        for name in names:
            await increment(name)

    async def all_callers() -> None:
        await asyncio.gather(*(caller() for _ in range(callers)))

    runner.run(all_callers())


def _names(count: int) -> list[str]:
    return [f"counter:{number:012}" for number in range(count)]
