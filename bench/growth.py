"""What a counter costs when there are many: in time, with a million in the datastore, and in the process's memory.

For time, both sides ask for the same: one caller, ten different counters a call. With more callers the ten counters of
the small datastore would be combined, and those of the large one would not. Either the same ten are used on both sides,
so that only the size differs, or any of the million, which also counts what a datastore pays for touching ten places.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import plusone
from bench import servers
from bench.measure import Pair, Side
from bench.plain import CALLERS, opened
from plusone.lab.load import event_loop
from plusone.types import Operation

MANY: Final = 1_000_000
FEW: Final = 10
IDLE: Final = 100_000
_CREATED_TOGETHER: Final = 50_000
_ADD: Final = Operation.add()


@contextlib.contextmanager
def cost_on_redis(*, anywhere: bool) -> Iterator[Pair]:
    with servers.redis_server() as port:
        yield from _cost(f"redis://127.0.0.1:{port}/0", f"redis://127.0.0.1:{port}/1", anywhere)


@contextlib.contextmanager
def cost_on_sqlite(*, anywhere: bool) -> Iterator[Pair]:
    with servers.folder() as folder:
        yield from _cost(f"sqlite://{folder}/many.db", f"sqlite://{folder}/few.db", anywhere)


def _cost(many: str, few: str, anywhere: bool) -> Iterator[Pair]:
    with event_loop(fast=True) as runner, opened(runner, many) as large, opened(runner, few) as small:
        runner.run(_create(large))
        yield Pair(_ten_a_call(runner, large, MANY if anywhere else FEW), _ten_a_call(runner, small, FEW))


async def _create(counters: plusone.Counters) -> None:
    for first in range(0, MANY, _CREATED_TOGETHER):
        await counters.apply([(_name(number), _ADD) for number in range(first, first + _CREATED_TOGETHER)])


def _ten_a_call(runner: asyncio.Runner, counters: plusone.Counters, used: int) -> Side:
    source = random.Random(1)

    async def work(seconds: float) -> float:
        begin = now = time.perf_counter()
        calls = 0
        while now < begin + seconds:
            await counters.apply([(_name(number), _ADD) for number in source.sample(range(used), FEW)])
            calls += 1
            now = time.perf_counter()
        return (now - begin) / calls / FEW * 1e6

    return lambda seconds: runner.run(work(seconds))


def _name(number: int) -> str:
    return f"counter:{number:012}"


@contextlib.contextmanager
def memory_on_redis() -> Iterator[Pair]:
    with servers.redis_server() as port:
        yield Pair(_memory(lambda: f"redis://127.0.0.1:{port}/0"))


@contextlib.contextmanager
def memory_on_sqlite() -> Iterator[Pair]:
    with servers.folder() as folder:
        files = itertools.count()
        yield Pair(_memory(lambda: f"sqlite://{folder}/{next(files)}.db"))


def _memory(url: Callable[[], str]) -> Side:
    """In a process of its own, since what another entry left free would be used first."""

    def side(_: float) -> float:
        command = [sys.executable, "-m", "bench.growth", url()]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return side


async def _use_each_once(url: str) -> float:
    """Bytes by which this process has grown per counter, after 256 callers used 100,000 counters once each."""
    async with plusone.open(url) as counters:
        await asyncio.gather(*(counters.increment("warm-up") for _ in range(CALLERS)))
        gc.collect()
        before = _resident_bytes()
        numbers = iter(range(IDLE))

        async def caller() -> None:
            for number in numbers:
                await counters.increment(_name(number))

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        gc.collect()
        return (_resident_bytes() - before) / IDLE


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    print(asyncio.run(_use_each_once(sys.argv[1])))
