"""Questions that change nothing: asked again after any failure, until the deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from plusone.clock import Clock
from plusone.errors import OutcomeUnknown, PlusoneError, StoreUnavailable
from plusone.statistics import Limits
from plusone.stores.protocol import Record, Store

T = TypeVar("T")


class Reader:
    """Reads from one store. That an answer was lost is no matter here: the question is asked again."""

    def __init__(self, store: Store, limits: Limits, clock: Clock) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock

    async def read(self, keys: Sequence[str], *, strong: bool) -> list[Record]:
        """Read records, in as few calls as the store's largest allows."""
        size = self._store.capabilities.batches_per_call
        records: list[Record] = []
        for start in range(0, len(keys), size):
            part = keys[start : start + size]
            records += await self.ask(lambda part=part: self._store.read(part, strong=strong))  # type: ignore[misc]
        return records

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask the store something that changes nothing, again after a failure, until the deadline."""
        deadline = self._clock.elapsed() + self._limits.timeout
        failures = 0
        while True:
            left = deadline - self._clock.elapsed()
            try:
                async with asyncio.timeout(min(self._limits.attempt_timeout, left)):
                    return await question()
            except TimeoutError:
                error: PlusoneError = OutcomeUnknown("the datastore did not answer in time")
            except (StoreUnavailable, OutcomeUnknown) as failure:
                error = failure
            failures += 1
            delay = self._clock.backoff(failures)
            if self._clock.elapsed() + delay >= deadline:
                raise StoreUnavailable(f"the datastore could not be read until the deadline: {error}") from error
            await asyncio.sleep(delay)

    async def check(self) -> None:
        """Ask the store once whether it can serve."""
        try:
            async with asyncio.timeout(self._limits.attempt_timeout):
                await self._store.check()
        except TimeoutError:
            raise StoreUnavailable("the datastore did not answer in time") from None
        except OutcomeUnknown as error:
            raise StoreUnavailable(str(error)) from error
