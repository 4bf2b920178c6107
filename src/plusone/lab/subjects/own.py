"""Counting with plusone itself, by the library's façade."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

import plusone
from plusone.lab.clocks import JumpingClock
from plusone.lab.subjects.protocol import PLACE, Counted, Subject
from plusone.statistics import Limits
from plusone.stores.registry import STORES, make_store
from plusone.types import Outcome

TIMEOUT_SECONDS: Final = 60.0
"""Long enough for a server to be killed and started again meanwhile."""
TOKEN_RETENTION_SECONDS: Final = 600.0
"""What a run leaves of its tokens is gone within ten minutes."""


class Own:
    """Counters, and what only the lab asks them."""

    def __init__(self, counters: plusone.Counters, clock: JumpingClock) -> None:
        self.counters = counters
        self._clock = clock

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        return _counted(await self.counters.increment(name, ceiling=ceiling))

    async def increment_once(self, name: str, ceiling: int | None, token: str) -> Counted:
        return _counted(await self.counters.increment(name, ceiling=ceiling, token=token))

    async def change(self, name: str, operation: plusone.Operation) -> Counted:
        return _counted(await self.counters.perform(name, operation))

    async def read(self, name: str) -> Counted:
        counter = await self.counters.get(name)
        return Counted(value=counter.value, revision=counter.revision)

    async def remove(self, names: Sequence[str]) -> None:
        """Deleted: what then is left of each (its sessions) goes as the datastore's own clearing does."""
        results = await self.counters.apply([(name, plusone.Operation.delete()) for name in names])
        for result in results:
            if isinstance(result, plusone.PlusoneError):
                raise result

    @property
    def writes(self) -> int:
        return self.counters.statistics.batches_total

    async def gaps(self) -> int:
        return self.counters.statistics.gaps_total

    def jump(self, seconds: float) -> None:
        self._clock.jump(seconds)


def _counted(outcome: Outcome) -> Counted:
    return Counted(outcome.applied, outcome.value, outcome.previous, outcome.revision)


@contextlib.asynccontextmanager
async def _connect(url: str, place: str = PLACE) -> AsyncIterator[Own]:
    clock = JumpingClock()
    store = make_store(url, clock=clock, token_retention_ms=round(TOKEN_RETENTION_SECONDS * 1000))
    limits = Limits(timeout=TIMEOUT_SECONDS, token_retention=TOKEN_RETENTION_SECONDS)
    async with plusone.Counters(store, limits=limits, clock=clock) as counters:
        yield Own(counters, clock)


PLUSONE: Final = Subject(
    name="plusone",
    title="plusone",
    schemes=frozenset(STORES),
    found="README.md",
    told="value and revision",
    bounded=True,
    tokens=True,
    retried=False,
    clocked=True,
    writes=None,
    connect=_connect,
)
