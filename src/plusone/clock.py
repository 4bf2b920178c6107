"""Time and randomness, injected so that a simulation can own both."""

from __future__ import annotations

import base64
import random
import secrets
import time
from collections.abc import Callable
from typing import Final

BACKOFF_FIRST_SECONDS: Final = 0.02
BACKOFF_LONGEST_SECONDS: Final = 1.0


class Clock:
    """What the combiner and the stores know of time, and where their random numbers come from.

    `elapsed` never runs slower than the world does: a process that was stopped, or a machine that was suspended, sees
    the time that passed meanwhile, because a monotonic clock may stand still where the wall clock does not (and the
    wall clock may be set back where the monotonic one goes on).
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        seed: int | None = None,
    ) -> None:
        self.monotonic = monotonic
        self._wall = wall
        self._last_monotonic = monotonic()
        self._last_wall = wall()
        self.skew = 0.0
        """By how much `elapsed` is ahead of `monotonic`: the time that only the wall clock saw pass."""
        self._seeded = seed is not None
        self.random = random.Random(seed if seed is not None else secrets.randbits(128))

    def elapsed(self) -> float:
        """Seconds since some moment; each step the larger of what the monotonic and the wall clock advanced."""
        monotonic, wall = self.monotonic(), self._wall()
        unseen = (wall - self._last_wall) - (monotonic - self._last_monotonic)
        # Less than a second is the wall clock being steered: noise, which would add up.
        if unseen > 1.0:
            self.skew += unseen
        self._last_monotonic, self._last_wall = monotonic, wall
        return monotonic + self.skew

    def wall_ms(self) -> int:
        """The wall clock, in whole milliseconds since 1970."""
        return int(self._wall() * 1000)

    def writer_id(self) -> str:
        """96 fresh random bits as 16 characters of A-Z a-z 0-9 _ -; from the system's generator unless seeded."""
        bits = self.random.randbytes(12) if self._seeded else secrets.token_bytes(12)
        return base64.urlsafe_b64encode(bits).decode()

    def backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures (1 or more): exponential, with full jitter.

        Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        longest = min(BACKOFF_LONGEST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(failures - 1, 10))
        return self.random.uniform(0, longest)
