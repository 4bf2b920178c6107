"""Removing what is long dead or expired: some at a time, beside the counting, by every process that counts."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from plusone.clock import Clock
from plusone.errors import PlusoneError
from plusone.stores.postgresql.connections import Connections, Link

DEAD_KEPT_MS: Final = 60 * 60 * 1000
SWEEP_ROWS: Final = 1_000
SWEEP_EVERY_SECONDS: Final = 60.0
_START: Final = (-1, "")

_log = logging.getLogger("plusone.stores.postgresql")


class Sweeper:
    """Sweeps in a task of its own when it is time to; after a failure the next time will do."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._clock = clock
        # Processes that began together do not sweep together.
        self._due = clock.monotonic() + random.uniform(0, SWEEP_EVERY_SECONDS)
        self._task: asyncio.Task[None] | None = None

    def sweep_if_due(self) -> None:
        now = self._clock.monotonic()
        if now < self._due or self._task is not None:
            return
        self._task = asyncio.get_running_loop().create_task(self._sweep_logged())
        self._task.add_done_callback(self._ended)

    async def sweep(self) -> None:
        """Remove all that may go, a statement at a time."""
        async with self._connections.one() as link:
            await self._sweep_counters(link)
            while (await link.change("sweep_tokens", SWEEP_ROWS))[0] == SWEEP_ROWS:
                pass

    async def close(self) -> None:
        """End a sweep that is under way."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _sweep_counters(self, link: Link) -> None:
        seen, position = SWEEP_ROWS, _START
        while seen == SWEEP_ROWS:
            seen, *following = await link.change("sweep_counters", DEAD_KEPT_MS, *position, SWEEP_ROWS)
            position = (following[0], following[1])

    async def _sweep_logged(self) -> None:
        try:
            await self.sweep()
        except PlusoneError as error:
            _log.warning("removing dead counters and expired tokens failed: %s", error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._due = self._clock.monotonic() + SWEEP_EVERY_SECONDS
