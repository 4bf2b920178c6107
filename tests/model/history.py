"""What happened in a schedule: what callers asked for and were told, and what the store did."""

from __future__ import annotations

import msgspec

from plusone.errors import PlusoneError
from plusone.stores.protocol import Answer, GuardedAdd
from plusone.types import Operation, Outcome
from tests.model.network import Phase, Sent, Step
from tests.model.plain import State


class Call(msgspec.Struct):
    """Operations on one counter that a caller asked for in one go."""

    process: int
    key: str
    operations: tuple[Operation, ...]
    token: str | None
    called: float
    returned: float | None = None
    result: list[Outcome] | PlusoneError | None = None
    """None: the caller was cancelled, or its process killed, before it knew."""
    due: float | None = None
    """By when it had to return; None where nobody can say."""


class Read(msgspec.Struct):
    key: str
    called: float
    returned: float
    state: State


class Told(msgspec.Struct):
    """What a process was told by the store."""

    process: int
    time: float
    request: GuardedAdd
    answer: Answer | PlusoneError


class History(msgspec.Struct):
    """All that happened in a schedule."""

    calls: list[Call]
    reads: list[Read]
    steps: list[Step]
    phases: dict[str, list[Phase]]
    told: list[Told]
    sent: dict[tuple[str, str, int], Sent]
    """The first time that each batch (key, writer, seq) was sent."""
    token_retention_seconds: float
    failovers: list[float] = []
