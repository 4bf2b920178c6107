"""The two loops: what they count, and that an open loop sees the waiting that a closed one leaves out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

pytest.importorskip("hdrh.histogram")

from hdrh.histogram import HdrHistogram

import plusone
from plusone.errors import ConfigurationError
from plusone.lab.load import Throughput, closed_loop, event_loop, open_loop, saturated, spread
from plusone.lab.results import Latency


class Stalling:
    """Answers at once, but for one call that takes long while the others wait behind it: a pause of the server."""

    def __init__(self, stalled_call: int, seconds: float) -> None:
        self.calls = 0
        self._stalled_call, self._seconds = stalled_call, seconds
        self._lock = asyncio.Lock()

    async def __call__(self) -> None:
        async with self._lock:
            self.calls += 1
            await asyncio.sleep(self._seconds if self.calls == self._stalled_call else 0)


def opened(call: Callable[[], Awaitable[None]], **load: float) -> Latency:
    load = {"rate": 1_000, "seconds": 0.5, "concurrency": 8, "seed": 1} | load
    with event_loop() as runner:
        return runner.run(open_loop(call, **load))  # type: ignore[arg-type]


def closed(call: Callable[[], Awaitable[None]], *, concurrency: int = 8, seconds: float = 0.2) -> Throughput:
    with event_loop(fast=False) as runner:
        return runner.run(closed_loop(call, concurrency=concurrency, seconds=seconds))


def test_a_closed_loop_counts_what_was_answered() -> None:
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)

    done = closed(call)
    assert (done.operations, done.errors, done.first_error) == (calls, 0, "")
    assert calls > 0
    assert done.seconds >= 0.19
    assert done.per_second == done.operations / done.seconds


def test_a_closed_loop_ends_where_calls_never_wait() -> None:
    async def call() -> None:
        pass

    assert closed(call, seconds=0.05).operations > 0


def test_a_closed_loop_ends_where_every_call_fails_at_once() -> None:
    async def call() -> None:
        raise ConnectionError("refused\nagain")

    done = closed(call, seconds=0.05)
    assert done.operations == 0
    assert done.errors >= 8
    assert done.first_error == "ConnectionError: refused again"


def test_calls_that_are_never_answered_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plusone.lab.load.GRACE_SECONDS", 0.05)

    async def call() -> None:
        await asyncio.Event().wait()

    assert closed(call, concurrency=3, seconds=0.05).errors == 3
    latency = opened(call, rate=100, seconds=0.1, concurrency=3)
    assert (latency.errors, latency.unsent, latency.achieved) == (3, 7, 0.0)


def test_throughputs_add_up() -> None:
    one = Throughput(operations=10, errors=1, seconds=2.0, first_error="first")
    other = Throughput(operations=50, errors=0, seconds=4.0, first_error="second")
    assert one + other == Throughput(operations=60, errors=1, seconds=6.0, first_error="first")
    assert (one + other).per_second == 10.0


def test_an_open_loop_has_as_many_operations_as_its_rate_says() -> None:
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)

    latency = opened(call, rate=2_000, seconds=0.5)
    assert calls == 1_000
    assert (latency.rate, latency.errors, latency.unsent) == (2_000, 0, 0)
    assert not saturated(latency)
    histogram = HdrHistogram.decode(latency.histogram.encode())
    assert histogram.get_total_count() == 1_000
    assert histogram.get_value_at_percentile(50) == latency.p50_us
    assert latency.p50_us <= latency.p95_us <= latency.p99_us <= latency.p999_us <= latency.max_us


def test_an_open_loop_counts_the_waiting_that_a_pause_causes() -> None:
    """A pause of 200 ms in a load of 500 ms delays 40% of the operations; a closed loop would see one slow call."""
    latency = opened(Stalling(100, 0.2), rate=1_000, seconds=0.5, concurrency=8)
    assert latency.unsent == 0
    assert latency.max_us >= 195_000
    histogram = HdrHistogram.decode(latency.histogram.encode())
    slow = histogram.get_total_count() - histogram.get_count_at_value(0) - _up_to(histogram, 10_000)
    assert slow >= 150


def _up_to(histogram: HdrHistogram, microseconds: int) -> int:
    counts = (histogram.get_count_at_index(index) for index in range(histogram.get_counts_array_index(microseconds)))
    return sum(counts)


def test_what_cannot_be_sent_is_counted_and_has_waited() -> None:
    """Two connections of 20 ms each answer 100 a second; of 1,000 a second most are never sent."""

    async def call() -> None:
        await asyncio.sleep(0.02)

    latency = opened(call, rate=1_000, seconds=0.5, concurrency=2)
    assert saturated(latency)
    assert latency.unsent >= 440
    assert latency.achieved <= 100
    assert latency.p50_us >= 150_000
    assert HdrHistogram.decode(latency.histogram.encode()).get_total_count() == 500


def test_the_backlog_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plusone.lab.load.BACKLOG_MAX", 10)
    under_way = 0
    most = 0

    async def call() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        under_way -= 1

    latency = opened(call, rate=1_000, seconds=0.2, concurrency=4)
    assert most == 4
    # Of 200, four are under way, and ten wait and are unsent in the end as well.
    assert latency.unsent == 196


def test_errors_of_an_open_loop_are_counted_and_have_no_latency() -> None:
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        fails = calls % 4 == 0
        await asyncio.sleep(0)
        if fails:
            raise ConnectionError

    latency = opened(call, rate=1_000, seconds=0.4)
    assert latency.errors == 100
    assert HdrHistogram.decode(latency.histogram.encode()).get_total_count() == 300


def test_the_loads_own_lag_is_measured() -> None:
    """A call that keeps the loop from turning for 5 ms makes what falls due meanwhile late, through no datastore."""
    from time import perf_counter

    async def call() -> None:
        end = perf_counter() + 0.005
        while perf_counter() < end:
            pass

    assert opened(call, rate=100, seconds=0.3).lag_p99_us >= 1_000


@pytest.mark.parametrize(("rate", "seconds"), [(0.1, 1), (1e6, 60)])
def test_a_load_of_no_operation_or_too_many_is_refused(rate: float, seconds: float) -> None:
    async def call() -> None: ...

    with pytest.raises(ConfigurationError, match="change the rate or the seconds"):
        opened(call, rate=rate, seconds=seconds)


def test_the_same_seed_spreads_the_same_names() -> None:
    names = [f"name-{number}" for number in range(1_000)]
    one, other = spread(names, seed=7), spread(names, seed=7)
    first = [one() for _ in range(100)]
    assert first == [other() for _ in range(100)]
    assert len(set(first)) > 80
    assert {spread(["votes"])() for _ in range(3)} == {"votes"}


def test_of_many_names_nearly_all_are_drawn() -> None:
    names = [str(number) for number in range(100_000)]
    draw = spread(names)
    assert len({draw() for _ in range(500_000)}) > 99_000


def test_real_counters_under_both_loops() -> None:
    async def run() -> tuple[int, int]:
        async with plusone.open("memory:") as counters:
            done = await closed_loop(lambda: counters.increment("votes"), concurrency=16, seconds=0.1)
            latency = await open_loop(
                lambda: counters.increment("votes"), rate=1_000, seconds=0.2, concurrency=16, seed=1
            )
            assert (latency.errors, latency.unsent) == (0, 0)
            return done.operations + 200, (await counters.get("votes")).value

    with event_loop() as runner:
        expected, counted = runner.run(run())
    assert counted == expected
