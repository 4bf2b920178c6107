"""The clock: what passed, whichever of its two sources saw it."""

from __future__ import annotations

import re

import pytest

from plusone.clock import BACKOFF_FIRST_SECONDS, BACKOFF_LONGEST_SECONDS, Clock


class Times:
    """Two clocks that a test sets."""

    def __init__(self) -> None:
        self.monotonic = 100.0
        self.wall = 1_000_000.0
        self.clock = Clock(lambda: self.monotonic, lambda: self.wall, seed=1)

    def passes(self, monotonic: float, wall: float) -> float:
        """How far `elapsed` moves."""
        before = self.clock.elapsed()
        self.monotonic += monotonic
        self.wall += wall
        return self.clock.elapsed() - before


@pytest.mark.parametrize(
    ("monotonic", "wall", "seen"),
    [
        (5, 5, 5),
        (5, 0, 5),  # the wall clock stands still
        (5, -3_600, 5),  # and is set back
        (0, 400, 400),  # the machine was suspended
        (2, 400, 400),
        (10, 10.9, 10),  # the wall clock is steered
    ],
)
def test_elapsed_is_the_larger_of_both(monotonic: float, wall: float, seen: float) -> None:
    """Deadlines and forgetting use the larger of monotonic and wall-clock advance (docs/protocol.md, Sessions)."""
    assert Times().passes(monotonic, wall) == pytest.approx(seen)


def test_each_step_counts_for_itself() -> None:
    times = Times()
    assert times.passes(5, -3_600) == pytest.approx(5)
    assert times.passes(0, 100) == pytest.approx(100)
    assert times.passes(3, 3) == pytest.approx(3)
    assert times.clock.skew == pytest.approx(100)


def test_elapsed_never_goes_back() -> None:
    times = Times()
    assert [times.passes(0, wall) for wall in (-50, 0.5, -0.5, 0)] == [0, 0, 0, 0]


def test_steering_does_not_add_up() -> None:
    times = Times()
    total = sum(times.passes(1, 1.5) for _ in range(1_000))
    assert total == pytest.approx(1_000)


def test_wall_milliseconds_are_whole() -> None:
    times = Times()
    times.wall = 1_700_000_000.1239
    assert times.clock.wall_ms() == 1_700_000_000_123


def test_writer_ids_are_96_bits_each_time_anew() -> None:
    """A writer's id is 96 random bits, never reused (docs/protocol.md, Sessions)."""
    clock = Clock()
    ids = [clock.writer_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert all(re.fullmatch("[A-Za-z0-9_-]{16}", writer) for writer in ids)
    assert Clock().writer_id() not in ids


def test_a_seed_repeats_what_is_random() -> None:
    first, second = Times().clock, Times().clock
    assert [first.writer_id(), first.backoff(3)] == [second.writer_id(), second.backoff(3)]


@pytest.mark.parametrize("failures", [1, 2, 5, 50, 5_000])
def test_backoff_grows_to_a_limit_and_is_jittered(failures: int) -> None:
    longest = min(BACKOFF_LONGEST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** (min(failures, 20) - 1))
    delays = [Times().clock.backoff(failures)] + [Clock(seed=seed).backoff(failures) for seed in range(200)]
    assert all(0 <= delay <= longest for delay in delays)
    assert max(delays) > 0.9 * longest
    assert min(delays) < 0.1 * longest
