"""Concurrent callers on one event loop: how many calls they get answered."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypeAlias

import uvloop

from bench.measure import Side

Call: TypeAlias = Callable[[], Awaitable[Any]]

SPREAD: Final = 5_000
"""How many counters a spread load is on."""


@contextlib.contextmanager
def event_loop(*, fast: bool) -> Iterator[asyncio.Runner]:
    """An event loop that lives as long as an entry: uvloop, as the service runs, or plain asyncio."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if fast else None) as runner:
        yield runner


def rate(runner: asyncio.Runner, callers: int, call: Call) -> Side:
    """A side that says calls per second, with `callers` tasks that each call again when answered."""
    return lambda seconds: runner.run(_rate(callers, seconds, call))


def microseconds(runner: asyncio.Runner, call: Call) -> Side:
    """A side that says microseconds per call, one after the other."""
    return lambda seconds: 1e6 / runner.run(_rate(1, seconds, call))


async def _rate(callers: int, seconds: float, call: Call) -> float:
    over = False

    def end() -> None:
        nonlocal over
        over = True

    async def caller() -> int:
        answered = 0
        while not over:
            await call()
            answered += 1
        return answered

    begin = time.perf_counter()
    asyncio.get_running_loop().call_later(seconds, end)
    answered = await asyncio.gather(*(caller() for _ in range(callers)))
    return sum(answered) / (time.perf_counter() - begin)


def spread_names(count: int = SPREAD) -> Callable[[], str]:
    """A source of names: each call gives one of `count`, in the same random order in every run."""
    names = [f"counter:{number:012}" for number in range(count)]
    return itertools.cycle(random.Random(1).choices(names, k=50_021)).__next__
