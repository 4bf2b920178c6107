"""The one idea: any batch of operations is one guarded add, and the state before it tells every outcome.

`fold` runs operations one after another from a start state. It answers each outcome, and the `Guard` that makes them
true: for every start state that the guard admits the same operations are accepted, for the same reasons, so the
datastore has only to add `total` if the guard holds, and to say what the state was before. From that state the same
fold gives the outcomes, however late the answer and however often it was asked for.

Why an interval is enough. Let the running sum of the accepted adds be s. A rise by d under the limit u is accepted if
and only if start + s + d <= u: an upper bound on start. It is rejected if and only if start > u - s - d: a lower bound.
Falls mirror this. The pattern is thus fixed by an intersection of half-lines, which is an interval; and a start outside
of it violates a first one of them, where the sums before are still the same, so its pattern differs.

Nothing here does I/O, reads a clock or keeps state.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import repeat
from typing import Final, TypeAlias

import msgspec

from plusone.errors import InvalidRequest
from plusone.types import MAX, MIN, Operation, Outcome, Reason

BARE_MAGNITUDE_MAX: Final = 2**48
"""2^15 operations of this size add up to less than 2^63: more than any batch takes."""


State: TypeAlias = tuple[int, int, bool]
"""A counter's value, revision and existence."""


class Guard(msgspec.Struct, frozen=True, gc=False):
    """Add `total` and count `applied` if the value lies in `[lo, hi]` and revision and liveness are as they must be."""

    total: int
    applied: int
    lo: int = MIN
    hi: int = MAX
    restart: bool = False
    """Add to 0 instead of the value."""
    delete: bool = False
    revision: int | None = None
    """The exact revision that the outcomes depend on, if they do."""
    alive: bool | None = None
    """Whether the counter must exist (True) or not (False), if the outcomes depend on it."""
    ttl_ms: int | None = None
    """The ttl of the first applied operation: the one that counts if it brings the counter to life."""


class Folded(Guard, frozen=True, gc=False):
    """The guard of a batch together with what it makes true."""

    outcomes: list[Outcome] = []
    """In the order of the operations."""
    end: State = (0, 0, False)
    """The state after them."""


def fold(value: int, revision: int, exists: bool, operations: Sequence[Operation], at: datetime) -> Folded:
    """Run `operations` from a start state; `at` is what every outcome carries.

    The operations are of a form that `fits` allows: adds without preconditions, behind at most one operation at the
    head that is a set or has a precondition; a delete is alone. A start state that does not exist has value 0.
    """
    head = operations[0]
    if head.kind == "add" and head.if_revision is None and not head.if_absent:
        return _fold_adds(value, revision, exists, operations, at, _NO_CONDITION)

    reason: Reason | None = None
    if head.if_revision is not None and not (exists and head.if_revision == revision):
        reason = "revision"
    elif head.if_absent and exists:
        reason = "exists"
    start = Guard(
        0,
        0,
        restart=reason is None and head.kind != "add",
        delete=reason is None and head.kind == "delete",
        revision=revision if head.if_revision is not None else None,
        alive=exists if head.if_revision is not None or head.if_absent else None,
    )
    if reason is not None:
        rejected = Outcome(False, value, value, revision, at, False, reason)
        rest = _fold_adds(value, revision, exists, operations[1:], at, start)
        return msgspec.structs.replace(rest, outcomes=[rejected, *rest.outcomes])
    if head.kind == "add":
        return _fold_adds(value, revision, exists, operations, at, start)

    # What follows a set counts from its value, whatever the start was: no start value is excluded.
    applied = Outcome(True, head.amount, value, revision + 1, at)
    rest = _fold_adds(head.amount, revision + 1, head.kind == "set", operations[1:], at, start)
    return msgspec.structs.replace(
        rest,
        total=head.amount + rest.total,
        applied=1 + rest.applied,
        lo=MIN,
        hi=MAX,
        ttl_ms=head.ttl_ms,
        outcomes=[applied, *rest.outcomes],
    )


_NO_CONDITION: Final = Guard(0, 0)


def _fold_adds(
    value: int, revision: int, exists: bool, operations: Sequence[Operation], at: datetime, start: Guard
) -> Folded:
    """Fold adds, whose preconditions (if the first has one) are known to hold."""
    before, revision_before = value, revision
    # By how much the start could rise and fall with every decision staying as it is.
    up = MAX - value
    down = value - MIN
    ttl_ms: int | None = None
    outcomes: list[Outcome] = []
    for operation in operations:
        by = operation.amount
        after = value + by
        reason: Reason | None = None
        if by > 0:
            slack = (MAX if operation.ceiling is None else operation.ceiling) - after
            if slack >= 0:
                if slack < up:
                    up = slack
            else:
                reason = "overflow" if operation.ceiling is None else "ceiling"
                if -slack - 1 < down:
                    down = -slack - 1
        elif by < 0:
            slack = after - (MIN if operation.floor is None else operation.floor)
            if slack >= 0:
                if slack < down:
                    down = slack
            else:
                reason = "overflow" if operation.floor is None else "floor"
                if -slack - 1 < up:
                    up = -slack - 1
        if reason is None:
            if revision == revision_before:
                ttl_ms = operation.ttl_ms
            revision += 1
            outcomes.append(Outcome(True, after, value, revision, at))
            value = after
        else:
            outcomes.append(Outcome(False, value, value, revision, at, False, reason))
    applied = revision - revision_before
    return Folded(
        value - before,
        applied,
        before - down,
        before + up,
        start.restart,
        start.delete,
        start.revision,
        start.alive,
        ttl_ms,
        outcomes,
        (value, revision, exists or applied > 0),
    )


def fold_repeated(
    value: int, revision: int, exists: bool, operation: Operation, times: int, at: datetime
) -> Folded | None:
    """What `fold` gives for one and the same bare add again and again, faster; None where it would not accept all."""
    by = operation.amount
    total = by * times
    if by == 0 or not MIN <= value + total <= MAX:
        return None
    first = value + by
    values = range(first, first + total, by)
    befores = range(value, value + total, by)
    revisions = range(revision + 1, revision + times + 1)
    outcomes = list(map(Outcome, repeat(True), values, befores, revisions, repeat(at)))
    guard = repeated(Guard(by, 1, MIN - min(by, 0), MAX - max(by, 0)), times)
    end = (value + total, revision + times, True)
    return Folded(guard.total, guard.applied, guard.lo, guard.hi, outcomes=outcomes, end=end)


def optimistic(operations: Sequence[Operation]) -> Guard | None:
    """The guard under which every operation is accepted, from no known state; None if no state can accept them all."""
    head = operations[0]
    size = len(operations)
    restart = head.kind != "add"
    offset = head.amount if restart else 0
    lo, hi = MIN, MAX
    for operation in operations[1:] if restart else operations:
        by = operation.amount
        offset += by
        if by > 0:
            hi = min(hi, (MAX if operation.ceiling is None else operation.ceiling) - offset)
        elif by < 0:
            lo = max(lo, (MIN if operation.floor is None else operation.floor) - offset)
    if restart:
        # The interval is about the value counted from, which is 0 here: it holds for every start, or for none.
        if not lo <= 0 <= hi:
            return None
        lo, hi = MIN, MAX
    if lo > hi:
        return None
    alive = True if head.if_revision is not None else False if head.if_absent else None
    return Guard(
        offset,
        size,
        lo,
        hi,
        restart,
        head.kind == "delete",
        head.if_revision,
        alive,
        head.ttl_ms,
    )


def repeated(guard: Guard, times: int) -> Guard:
    """The optimistic guard of one and the same bare add again and again, from that of a single one."""
    before_last = guard.total * (times - 1)
    return Guard(
        guard.total * times,
        times,
        guard.lo if guard.total > 0 else guard.lo - before_last,
        guard.hi if guard.total < 0 else guard.hi - before_last,
    )


class Group(msgspec.Struct, frozen=True, gc=False):
    """Operations of one call on one counter that stay together in one batch; usually one operation.

    A batch is adds without preconditions, except that its first may be a set or have a precondition; a delete is
    alone. The weights of a batch add up to less than 2^63, so that every running total fits in 64 bits, whichever of
    the adds are accepted.
    """

    operations: tuple[Operation, ...]
    size: int
    token: str | None
    weight: int
    joins: bool
    """Whether it may follow others in a batch."""
    bare: bool
    """One add that no bound, token, precondition or ttl goes with, and so small that any full batch of such fits."""
    guard: Guard | None
    """The optimistic guard of the group alone."""


def group(operations: tuple[Operation, ...], token: str | None = None) -> Group:
    """The group of these operations. Raises `InvalidRequest` if they cannot travel in one batch."""
    weight = _weight(operations[0])
    for operation in operations[1:]:
        weight += _weight(operation)
        if weight > MAX or not _joins(operation):
            raise InvalidRequest(
                "token",
                "covers operations that cannot travel together: after the first, only adds without preconditions,"
                " of magnitudes that add up to less than 2^63; give the others tokens of their own",
            )
    only = operations[0]
    bare = (
        len(operations) == 1
        and token is None
        and only.kind == "add"
        and -BARE_MAGNITUDE_MAX <= only.amount <= BARE_MAGNITUDE_MAX
        and only.ceiling is None
        and only.floor is None
        and only.ttl_ms is None
        and _joins(only)
    )
    return Group(operations, len(operations), token, weight, _joins(only), bare, optimistic(operations))


def _weight(operation: Operation) -> int:
    """What an operation takes of the 64 bits that a batch has room for; a delete takes them all, to be alone."""
    return MAX + 1 if operation.kind == "delete" else abs(operation.amount)


def _joins(operation: Operation) -> bool:
    return operation.kind == "add" and operation.if_revision is None and not operation.if_absent
