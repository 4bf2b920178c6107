"""Time and randomness, injected so that a simulation can own both."""

from __future__ import annotations

import base64
import random
import secrets
import time
from collections.abc import Callable


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
        self._monotonic = monotonic
        self._wall = wall
        self._last_monotonic = monotonic()
        self._last_wall = wall()
        self._elapsed = 0.0
        self._seeded = seed is not None
        self.random = random.Random(seed if seed is not None else secrets.randbits(128))

    def elapsed(self) -> float:
        """Seconds since this clock was made: each step the larger of what the monotonic and the wall clock advanced."""
        monotonic, wall = self._monotonic(), self._wall()
        advance = monotonic - self._last_monotonic
        # Below a second the wall clock's advance is the noise of its being steered, which would add up.
        wall_advance = wall - self._last_wall
        if wall_advance > advance + 1.0:
            advance = wall_advance
        self._last_monotonic, self._last_wall = monotonic, wall
        self._elapsed += advance
        return self._elapsed

    def wall_ms(self) -> int:
        """The wall clock, in whole milliseconds since 1970."""
        return int(self._wall() * 1000)

    def writer_id(self) -> str:
        """96 fresh random bits as 16 characters of A-Z a-z 0-9 _ -; from the system's generator unless seeded."""
        bits = self.random.randbytes(12) if self._seeded else secrets.token_bytes(12)
        return base64.urlsafe_b64encode(bits).decode()
