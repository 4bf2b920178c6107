"""Placeholder while the combiner is written: the public surface that the façade uses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

import msgspec

from plusone.clock import Clock
from plusone.stores.protocol import Record, Store
from plusone.types import Operation, Outcome

T = TypeVar("T")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    timeout: float = 10.0
    waiting_max: int = 100_000
    on_gap: Literal["continue", "stop"] = "continue"
    token_retention: float = 86_400.0


class Gap(msgspec.Struct, frozen=True):
    """A datastore was found to have lost acknowledged batches."""

    key: str
    acked: int
    last: int
    at_ms: int


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a combiner did since it was made. Totals only rise."""

    operations_waiting: int
    """Accepted and not yet sent."""
    batches_in_flight: int
    operations_total: int
    """Answered with an outcome, rejections and replays included."""
    replays_total: int
    batches_total: int
    """Batches that ended with an answer: datastore writes, but for rejections answered without one."""
    attempts_total: int
    """Requests in calls to the store, resends included."""
    ambiguous_total: int
    """Attempts whose effect was not known."""
    missed_total: int
    """Attempts that met a state outside their guard."""
    unknown_total: int
    """Operations that ended as `OutcomeUnknown`."""
    gaps_total: int
    recent_gaps: tuple[Gap, ...]
    """Those of the last five minutes: readiness shows them."""


class Combiner:
    lanes: dict[str, object]

    def __init__(self, store: Store, limits: Limits, clock: Clock) -> None: ...
    def submit(
        self, key: str, operations: tuple[Operation, ...], token: str | None
    ) -> asyncio.Future[Outcome | list[Outcome]]: ...
    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]: ...
    async def ask(self, question: Callable[[], Awaitable[T]]) -> T: ...
    async def check(self) -> None: ...
    async def close(self) -> None: ...
    def statistics(self) -> Statistics: ...
