"""Counting with plusone itself, by the library's façade."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

import plusone
from plusone.lab.subjects.protocol import PLACE, Counted, Subject
from plusone.stores.registry import STORES
from plusone.types import Outcome

TIMEOUT_SECONDS: Final = 60.0
"""Long enough for a server to be killed and started again meanwhile."""
TOKEN_RETENTION_SECONDS: Final = 600.0
"""What a run leaves of its tokens is gone within ten minutes."""


class Own:
    """Counters, and what only the lab asks them."""

    def __init__(self, counters: plusone.Counters) -> None:
        self.counters = counters

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        return _counted(await self.counters.increment(name, ceiling=ceiling))

    async def increment_once(self, name: str, ceiling: int | None, token: str) -> Counted:
        return _counted(await self.counters.increment(name, ceiling=ceiling, token=token))

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


def _counted(outcome: Outcome) -> Counted:
    return Counted(outcome.applied, outcome.value, outcome.previous, outcome.revision)


@contextlib.asynccontextmanager
async def _connect(url: str, place: str = PLACE) -> AsyncIterator[Own]:
    opened = plusone.open(url, timeout=TIMEOUT_SECONDS, token_retention=TOKEN_RETENTION_SECONDS)
    async with opened as counters:
        yield Own(counters)


PLUSONE: Final = Subject(
    name="plusone",
    title="plusone",
    schemes=frozenset(STORES),
    found="README.md",
    told="value and revision",
    bounded=True,
    tokens=True,
    retried=False,
    writes=None,
    connect=_connect,
)
