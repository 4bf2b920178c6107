"""Writers in processes of their own, as the suite starts them: what they run has to be importable there."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier

import plusone

_start: Barrier


def count_in_processes(url: str, name: str, *, processes: int, increments: int, callers: int) -> list[int]:
    """Increment from so many processes at once; all the values that they were answered."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes, timeout=60)
    with ProcessPoolExecutor(processes, context, initializer=_arrive, initargs=(barrier,)) as pool:
        counts = [pool.submit(_count, url, name, increments, callers) for _ in range(processes)]
        return [value for count in counts for value in count.result()]


def _arrive(start: Barrier) -> None:
    global _start
    _start = start


def _count(url: str, name: str, increments: int, callers: int) -> list[int]:
    async def count() -> list[int]:
        async with plusone.open(url, timeout=60) as counters:
            await asyncio.to_thread(_start.wait)  # so that all are under way together

            async def caller() -> list[int]:
                return [(await counters.increment(name)).value for _ in range(increments // callers)]

            return [value for values in await asyncio.gather(*(caller() for _ in range(callers))) for value in values]

    return asyncio.run(count())
