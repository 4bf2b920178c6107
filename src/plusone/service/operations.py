"""What the thin path, the framework's handlers and bulk requests have in common: from a request to what it is told."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from plusone.counters import Counters
from plusone.errors import BoundReached, InvalidRequest, PreconditionFailed
from plusone.service.messages import AddRequest, OutcomeAnswer, Problem, SetRequest, outcome_answer
from plusone.service.problems import problem
from plusone.service.requests import NONE, NOTHING_ADDED, Conditions
from plusone.types import MIN, Operation, Outcome

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
    return await perform(counters, name, addition(request.by, request, conditions), as_text=as_text)


async def perform(counters: Counters, name: str, operation: Operation, *, as_text: bool = False) -> Reply:
    """Apply the operation."""
    outcome = await counters.perform(name, operation)
    requested = None if operation.kind == "delete" else operation.amount
    return reply(name, outcome, requested, operation.ceiling, operation.floor, as_text=as_text)


def addition(by: int, request: AddRequest, conditions: Conditions) -> Operation:
    """An add of `by` under the bounds of the request."""
    return Operation.add(
        by,
        ceiling=request.ceiling,
        floor=request.floor,
        ttl=request.ttl,
        token=conditions.token,
        if_revision=conditions.if_revision,
        if_absent=conditions.if_absent,
    )


def subtraction(request: AddRequest, conditions: Conditions) -> Operation:
    """What a decrement asks for."""
    if request.by == MIN:
        raise InvalidRequest("by", "must be an integer from -2^63 + 1 to 2^63 - 1 to be subtracted")
    return addition(-request.by, request, conditions)


def setting(request: SetRequest, conditions: Conditions) -> Operation:
    """What a PUT asks for."""
    return Operation.set(
        request.value,
        ttl=request.ttl,
        token=conditions.token,
        if_revision=conditions.if_revision,
        if_absent=conditions.if_absent,
    )


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
