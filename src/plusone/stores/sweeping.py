"""When to remove what is long dead or expired: now and then, beside the counting, by every process that counts."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from plusone.clock import Clock
from plusone.errors import PlusoneError

EVERY_SECONDS: Final = 60.0
SOON_SECONDS: Final = 5.0
"""Until the next sweep, when the last one left some for it."""
AT_MOST_SECONDS: Final = 60.0
"""Then the server is silent, and the connection it holds is worth more to the counting."""


class Sweeping:
    """Runs a store's sweep in a task of its own when it is time to; after a failure the next time will do."""

    def __init__(self, sweep: Callable[[], Awaitable[bool]], clock: Clock, log: logging.Logger) -> None:
        """`sweep` removes some and answers whether it left some behind."""
        self._sweep = sweep
        self._clock = clock
        self._log = log
        self._task: asyncio.Task[None] | None = None
        # Processes that began together do not sweep together.
        self._due = clock.monotonic() + random.uniform(0, EVERY_SECONDS)

    def if_due(self) -> asyncio.Task[None] | None:
        """Begin a sweep if it is time for one; the task, if one is under way."""
        if self._task is None and self._clock.monotonic() >= self._due:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return self._task

    async def close(self) -> None:
        """End a sweep that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        left_some = False
        try:
            async with asyncio.timeout(AT_MOST_SECONDS):
                left_some = await self._sweep()
        except PlusoneError as error:
            self._log.warning("removing dead counters and expired tokens failed: %s", error)
        except TimeoutError:
            self._log.warning("removing dead counters and expired tokens took too long")
        except Exception:
            self._log.exception("removing dead counters and expired tokens failed")
        finally:
            self._task = None
            self._due = self._clock.monotonic() + (SOON_SECONDS if left_some else EVERY_SECONDS)
