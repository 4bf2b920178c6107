"""A clock that jumps, as an operator, a bad time server or a resumed virtual machine makes it."""

from __future__ import annotations

import time

from plusone.clock import Clock


class JumpingClock(Clock):
    """The machine's clock, and the jumps it has made.

    Give it to the stores and the combiner of the process that is to be confused; the datastore's own clock goes on.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._wall_seconds = 0.0
        super().__init__(wall=lambda: time.time() + self._wall_seconds, seed=seed)

    def jump(self, seconds: float) -> None:
        """Set the wall clock by so much, back if it is negative. The monotonic clock does not notice."""
        self._wall_seconds += seconds

    def suspend(self, seconds: float) -> None:
        """Let so much time pass for the world and not for the process, as when a virtual machine is suspended.

        The monotonic clock of Linux stands still meanwhile (clock_gettime(2), CLOCK_MONOTONIC).
        """
        if seconds < 0:
            raise ValueError("time does not pass backwards; jump() sets the wall clock")
        self._wall_seconds += seconds
