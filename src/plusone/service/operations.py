"""What the thin path, the framework's handlers and bulk requests have in common: from a request to what it is told."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from plusone.counters import Counters
from plusone.errors import BoundReached, PreconditionFailed
from plusone.service.messages import AddRequest, OutcomeAnswer, Problem, SetRequest, outcome_answer
from plusone.service.problems import problem
from plusone.service.requests import NONE, NOTHING_ADDED, Conditions
from plusone.types import Outcome

Content: TypeAlias = OutcomeAnswer | Problem


class Reply(msgspec.Struct, frozen=True):
    """An answer that any of them can put into its own form."""

    status: int
    content: Content
    replayed: bool = False


async def increment(
    counters: Counters, name: str, request: AddRequest, conditions: Conditions, *, as_text: bool = False
) -> Reply:
    """Add what the request says."""
    if request is NOTHING_ADDED and conditions is NONE:  # what most requests are
        return reply(name, await counters.increment(name), 1, as_text=as_text)
    outcome = await counters.increment(
        name,
        request.by,
        ceiling=request.ceiling,
        floor=request.floor,
        ttl=request.ttl,
        token=conditions.token,
        if_revision=conditions.if_revision,
        if_absent=conditions.if_absent,
    )
    return reply(name, outcome, request.by, request.ceiling, request.floor, as_text=as_text)


async def decrement(
    counters: Counters, name: str, request: AddRequest, conditions: Conditions, *, as_text: bool = False
) -> Reply:
    """Subtract what the request says."""
    outcome = await counters.decrement(
        name,
        request.by,
        ceiling=request.ceiling,
        floor=request.floor,
        ttl=request.ttl,
        token=conditions.token,
        if_revision=conditions.if_revision,
        if_absent=conditions.if_absent,
    )
    return reply(name, outcome, -request.by, request.ceiling, request.floor, as_text=as_text)


async def set_to(
    counters: Counters, name: str, request: SetRequest, conditions: Conditions, *, as_text: bool = False
) -> Reply:
    """Make the counter what the request says."""
    outcome = await counters.set(
        name,
        request.value,
        ttl=request.ttl,
        token=conditions.token,
        if_revision=conditions.if_revision,
        if_absent=conditions.if_absent,
    )
    return reply(name, outcome, request.value, as_text=as_text)


def reply(
    name: str,
    outcome: Outcome,
    requested: int | None,
    ceiling: int | None = None,
    floor: int | None = None,
    *,
    as_text: bool = False,
) -> Reply:
    """The outcome if it was applied, the problem if it was rejected."""
    if outcome.reason is None:
        return Reply(200, outcome_answer(name, outcome, as_text=as_text), outcome.replayed)
    by_bound = outcome.reason not in ("revision", "exists")
    error = BoundReached(outcome) if by_bound else PreconditionFailed(outcome)
    document = problem(error, requested=requested, ceiling=ceiling, floor=floor, as_text=as_text)
    return Reply(document.status, document, outcome.replayed)
