"""Load on a subject: closed-loop for its throughput, open-loop for its latency.

In a closed loop each caller calls again when it is answered, so a slow answer delays the calls behind it, and their
waiting is never seen. An open loop has operations fall due by a schedule, whatever the answers do, and a latency
counts from the moment when its operation was due: that is the correction for *coordinated omission*.
Source: G. Tene, "How NOT to Measure Latency", 2013, and its program wrk2, whose open loop has a fixed number of
connections as this one has.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from plusone.errors import ConfigurationError
from plusone.lab.results import Latency

if TYPE_CHECKING:
    from hdrh.histogram import HdrHistogram

Call: TypeAlias = Callable[[], Awaitable[Any]]

GRACE_SECONDS: Final = 30.0
"""How long calls that are under way at the end may take to be answered before they count as errors."""
DRAIN_SHARE: Final = 0.05
"""For this share of its seconds a load goes on at the end, to send what is waiting. What is left was too much."""
OPERATIONS_MAX: Final = 5_000_000
"""So many an open-loop load may have: their times are kept until it has ended."""
_DRAWN: Final = 50_021
"""So many names are drawn beforehand, at least."""
BACKLOG_MAX: Final = 100_000
"""So many operations may wait for a connection; further ones count as unsent at once."""
_PAUSE_SECONDS: Final = 0.01
"""The most that a closed-loop caller waits after an error. Without it, one that fails at once would never let go."""
_TURN: Final = 256
"""So many calls in a row may a task make before the others get a turn, for calls that never wait."""
_SPIN_SECONDS: Final = 0.003
"""An event loop's timers have milliseconds; what falls due sooner is waited for by turning the loop."""
_HIGHEST_MICROSECONDS: Final = 3_600_000_000
_DIGITS: Final = 3


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """What a closed loop got answered."""

    operations: int
    errors: int
    seconds: float
    first_error: str = ""

    @property
    def per_second(self) -> float:
        return self.operations / self.seconds if self.seconds else 0.0

    def __add__(self, other: Throughput) -> Throughput:
        return Throughput(
            operations=self.operations + other.operations,
            errors=self.errors + other.errors,
            seconds=self.seconds + other.seconds,
            first_error=self.first_error or other.first_error,
        )


def event_loop(*, fast: bool = True) -> asyncio.Runner:
    """An event loop for a run: uvloop where it is wanted and installed, as the service has, or plain asyncio."""
    if fast:
        try:
            import uvloop
        except ModuleNotFoundError:
            return asyncio.Runner()
        return asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return asyncio.Runner()


def spread(names: Sequence[str], *, seed: int = 1) -> Callable[[], str]:
    """A source of names: each call gives one of `names` at random, in the same order for the same seed.

    What is drawn is drawn beforehand, and then again from the beginning: so often that few names are never drawn.
    """
    if len(names) == 1:
        return itertools.repeat(names[0]).__next__
    return itertools.cycle(random.Random(seed).choices(names, k=max(_DRAWN, 5 * len(names)))).__next__


async def closed_loop(call: Call, *, concurrency: int, seconds: float, seed: int = 0) -> Throughput:
    """`concurrency` callers for about so many seconds, each awaiting one call after the other."""
    over = False
    operations = errors = 0
    first_error = ""
    pause = random.Random(seed)

    def end() -> None:
        nonlocal over
        over = True

    async def caller() -> None:
        nonlocal operations, errors, first_error
        answered = 0
        try:
            while not over:
                try:
                    await call()
                except Exception as error:
                    errors += 1
                    first_error = first_error or described(error)
                    await asyncio.sleep(pause.uniform(0, _PAUSE_SECONDS))
                    continue
                answered += 1
                if not answered % _TURN:
                    await asyncio.sleep(0)
        finally:
            operations += answered

    begin = time.perf_counter()
    asyncio.get_running_loop().call_later(seconds, end)
    late = await _finish([asyncio.ensure_future(caller()) for _ in range(concurrency)], seconds + GRACE_SECONDS)
    errors += late
    return Throughput(
        operations=operations, errors=errors, seconds=time.perf_counter() - begin, first_error=first_error
    )


async def open_loop(call: Call, *, rate: float, seconds: float, concurrency: int, seed: int) -> Latency:
    """Operations that fall due at `rate` per second on average for so many seconds, `concurrency` of them at once.

    The moments are those of a Poisson process with exactly `rate * seconds` arrivals: independent callers. What falls
    due while all connections are busy waits for one, which counts; what none became free for is `unsent`. Raises
    `ConfigurationError` for a load with no operation, or more than can be kept.
    """
    count = round(rate * seconds)
    if not 1 <= count <= OPERATIONS_MAX:
        raise ConfigurationError(
            f"a load of {rate:g} operations/s for {seconds:g} s has {count:,}, not 1 to {OPERATIONS_MAX:,};"
            " change the rate or the seconds"
        )
    source = random.Random(seed)
    due = array("d", sorted(source.uniform(0, seconds) for _ in range(count)))
    return await _OpenLoop(call, due, rate, seconds).run(concurrency)


def saturated(latency: Latency) -> bool:
    """Whether the load was too much: more than `DRAIN_SHARE` above what the subject answers."""
    return latency.unsent > 0


def described(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


class _OpenLoop:
    """One dispatcher that hands each operation, when it is due, to a worker that is idle, or lets it wait for one."""

    def __init__(self, call: Call, due: array[float], rate: float, seconds: float) -> None:
        self._call = call
        self._due = due
        self._rate = rate
        self._seconds = seconds
        self._begin = 0.0
        self._idle: list[asyncio.Future[float | None]] = []
        self._backlog: deque[float] = deque()
        self._latencies = array("d")
        self._lags = array("d")
        self._unsent: list[float] = []
        self._errors = 0
        self._over = False

    async def run(self, concurrency: int) -> Latency:
        self._begin = time.perf_counter()
        workers = [asyncio.ensure_future(self._worker()) for _ in range(concurrency)]
        try:
            await asyncio.sleep(0)  # the workers become idle
            await self._dispatch()
            answered = len(self._latencies)
            await self._drain()
            self._over = True
            for idle in self._idle:
                idle.set_result(None)
            late = await _finish(workers, GRACE_SECONDS)
            self._errors += late
        finally:
            for worker in workers:
                worker.cancel()
        return self._latency(answered / self._seconds)

    async def _dispatch(self) -> None:
        """Hand over every operation when it is due, and last until the load's last second has ended."""
        begin, idle, backlog = self._begin, self._idle, self._backlog
        for due in self._due:
            await self._until(begin + due)
            if idle:
                idle.pop().set_result(due)
            elif len(backlog) < BACKLOG_MAX:
                backlog.append(due)
            else:
                self._unsent.append(due)
        await self._until(begin + self._seconds)

    async def _drain(self) -> None:
        """Let what is waiting be sent for a moment longer. At an end there may always be something."""
        end = time.perf_counter() + self._seconds * DRAIN_SHARE
        while self._backlog and time.perf_counter() < end:  # noqa: ASYNC110 - an event would cost every call a check
            await asyncio.sleep(_SPIN_SECONDS)
        self._unsent += self._backlog
        self._backlog.clear()

    async def _until(self, moment: float) -> None:
        while (ahead := moment - time.perf_counter()) > 0:  # noqa: ASYNC110 - time is what is waited for
            await asyncio.sleep(max(ahead - _SPIN_SECONDS, 0))

    async def _worker(self) -> None:
        loop, begin, clock, backlog = asyncio.get_running_loop(), self._begin, time.perf_counter, self._backlog
        turn = 0
        while not self._over:
            if backlog:
                due = backlog.popleft()
                turn += 1
                if not turn % _TURN:
                    await asyncio.sleep(0)
            else:
                handed = loop.create_future()
                self._idle.append(handed)
                due = await handed
                if due is None:
                    return
                self._lags.append(clock() - begin - due)
            try:
                await self._call()
            except Exception:
                self._errors += 1
            else:
                self._latencies.append(clock() - begin - due)

    def _latency(self, achieved: float) -> Latency:
        histogram = _histogram()
        for seconds in self._latencies:
            _record(histogram, seconds)
        for due in self._unsent:
            _record(histogram, self._seconds - due)
        lags = _histogram()
        for seconds in self._lags:
            _record(lags, seconds)
        return Latency(
            rate=self._rate,
            achieved=achieved,
            unsent=len(self._unsent),
            errors=self._errors,
            lag_p99_us=_at(lags, 99),
            p50_us=_at(histogram, 50),
            p95_us=_at(histogram, 95),
            p99_us=_at(histogram, 99),
            p999_us=_at(histogram, 99.9),
            max_us=_at(histogram, 100),
            histogram=histogram.encode().decode(),
        )


def _histogram() -> HdrHistogram:
    from hdrh.histogram import HdrHistogram

    return HdrHistogram(1, _HIGHEST_MICROSECONDS, _DIGITS)


def _record(histogram: HdrHistogram, seconds: float) -> None:
    histogram.record_value(min(max(round(seconds * 1e6), 1), _HIGHEST_MICROSECONDS))


def _at(histogram: HdrHistogram, percentile: float) -> float:
    return float(histogram.get_value_at_percentile(percentile))


async def _finish(tasks: Sequence[asyncio.Future[None]], seconds: float) -> int:
    """Wait for tasks, at most so long, and end those that are left; how many these were."""
    try:
        done, late = await asyncio.wait(tasks, timeout=seconds)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in done:
        task.result()
    return len(late)
