"""A clock that jumps, as an operator, a bad time server or a resumed virtual machine makes it."""

from __future__ import annotations

import time

from plusone.clock import Clock


class JumpingClock(Clock):
    """The machine's clock, and the jumps it has made.

    Give it to the stores and the combiner of the process that is to be confused; the datastore's own clock goes on.
    """

    def __init__(self) -> None:
        self._wall_seconds = 0.0
        super().__init__(wall=lambda: time.time() + self._wall_seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock by so much, back if it is negative. The monotonic clock does not notice.

        It stands still, too, while a virtual machine is suspended (clock_gettime(2), CLOCK_MONOTONIC): to the process
        that is the same as a jump forward.
        """
        self._wall_seconds += seconds
