"""A plain sequential counter: one operation after another, in the words of docs/protocol.md.

It shares nothing with `plusone.folding` but the operations themselves, for it judges it.
"""

from __future__ import annotations

from typing import NamedTuple

from plusone.types import MAX, MIN, Operation, Outcome, Reason


class State(NamedTuple):
    value: int
    revision: int
    exists: bool


ABSENT = State(0, 0, False)


def rejection(state: State, operation: Operation) -> Reason | None:
    """Why the counter would reject the operation, or None."""
    if operation.if_revision is not None and not (state.exists and state.revision == operation.if_revision):
        return "revision"
    if operation.if_absent and state.exists:
        return "exists"
    if operation.kind == "add":
        after = state.value + operation.amount
        if operation.amount > 0 and operation.ceiling is not None and after > operation.ceiling:
            return "ceiling"
        if operation.amount < 0 and operation.floor is not None and after < operation.floor:
            return "floor"
        if not MIN <= after <= MAX:
            return "overflow"
    return None


def apply(state: State, operation: Operation) -> State:
    """The counter after an operation that it does not reject."""
    after = state.value + operation.amount if operation.kind == "add" else operation.amount
    return State(after, state.revision + 1, operation.kind != "delete")


def is_true(outcome: Outcome, operation: Operation, before: State) -> bool:
    """Whether the outcome is what the counter in this state answers."""
    reason = rejection(before, operation)
    after = before if reason is not None else apply(before, operation)
    return (outcome.applied, outcome.reason, outcome.previous, outcome.value, outcome.revision) == (
        reason is None,
        reason,
        before.value,
        after.value,
        after.revision,
    )
