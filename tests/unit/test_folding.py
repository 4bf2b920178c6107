"""The laws of the fold, for any operations and any start; and a few examples by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from plusone.errors import InvalidRequest
from plusone.folding import BARE_MAGNITUDE_MAX, Folded, Guard, fold, fold_repeated, group, optimistic, repeated
from plusone.types import MAX, MIN, Operation, Outcome

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

near_zero = st.integers(-20, 20)
near_the_ends = st.one_of(st.integers(MIN, MIN + 20), st.integers(MAX - 20, MAX))
values = st.one_of(near_zero, near_the_ends, st.integers(MIN, MAX))
amounts = st.one_of(near_zero, near_zero, st.integers(MIN, MAX))
bounds = st.one_of(st.none(), st.none(), values)


@st.composite
def adds(draw: st.DrawFn) -> Operation:
    floor, ceiling = draw(bounds), draw(bounds)
    if floor is not None and ceiling is not None and floor > ceiling:
        floor, ceiling = ceiling, floor
    ttl = draw(st.sampled_from([None, None, 1.5, 60]))
    return Operation.add(draw(amounts), floor=floor, ceiling=ceiling, ttl=ttl)


@st.composite
def heads(draw: st.DrawFn) -> Operation:
    """An operation that only the first of a batch may be."""
    operation = draw(st.one_of(adds(), values.map(Operation.set)))
    if draw(st.booleans()):
        return replace(operation, if_absent=True)
    if draw(st.booleans()):
        return replace(operation, if_revision=draw(st.integers(0, 5)))
    return operation


def within_64_bits(operations: Sequence[Operation]) -> bool:
    return sum(abs(operation.amount) for operation in operations) <= MAX


add_batches = st.lists(adds(), min_size=1, max_size=8).filter(within_64_bits)
batches = st.one_of(
    add_batches,
    st.tuples(heads(), st.lists(adds(), max_size=6)).map(lambda parts: [parts[0], *parts[1]]).filter(within_64_bits),
    st.sampled_from([[Operation.delete()], [Operation.delete(if_revision=3)]]),
)


@st.composite
def states(draw: st.DrawFn) -> tuple[int, int, bool]:
    exists = draw(st.booleans())
    return (draw(values) if exists else 0, draw(st.integers(0, 5)), exists)


def guard_of(folded: Folded) -> Guard:
    """The guard alone, without what it makes true."""
    return Guard(*(getattr(folded, field) for field in Guard.__struct_fields__))


def pattern(folded: Folded) -> list[str | None]:
    return [outcome.reason for outcome in folded.outcomes]


def admits(guard: Guard, value: int, revision: int, exists: bool) -> bool:
    return guard.lo <= value <= guard.hi and guard.revision in (None, revision) and guard.alive in (None, exists)


@given(add_batches, st.integers(0, 8), states())
def test_folding_in_pieces_equals_folding_at_once(
    operations: list[Operation], cut: int, state: tuple[int, int, bool]
) -> None:
    whole = fold(*state, operations, AT)
    outcomes: list[Outcome] = []
    value, revision, exists = state
    applied = total = 0
    for piece in (operations[:cut], operations[cut:]):
        if piece:
            folded = fold(value, revision, exists, piece, AT)
            outcomes += folded.outcomes
            value, revision, exists = folded.end
            applied += folded.applied
            total += folded.total
    assert outcomes == whole.outcomes
    assert (value, revision, exists) == whole.end
    assert (applied, total) == (whole.applied, whole.total)


@given(add_batches, values, st.data())
def test_every_start_inside_the_interval_gives_the_same_pattern(
    operations: list[Operation], start: int, data: st.DataObject
) -> None:
    folded = fold(start, 7, True, operations, AT)
    guard = guard_of(folded)
    assert guard.lo <= start <= guard.hi
    inside = data.draw(st.one_of(st.integers(guard.lo, guard.hi), st.sampled_from([guard.lo, guard.hi])))
    other = fold(inside, 7, True, operations, AT)
    assert pattern(other) == pattern(folded)
    assert guard_of(other) == guard


@given(add_batches, values, st.data())
def test_every_start_outside_the_interval_gives_another_pattern(
    operations: list[Operation], start: int, data: st.DataObject
) -> None:
    folded = fold(start, 7, True, operations, AT)
    guard = guard_of(folded)
    outside = []
    if guard.lo > MIN:
        outside.append(st.one_of(st.just(guard.lo - 1), st.integers(MIN, guard.lo - 1)))
    if guard.hi < MAX:
        outside.append(st.one_of(st.just(guard.hi + 1), st.integers(guard.hi + 1, MAX)))
    assume(outside)
    assert pattern(fold(data.draw(st.one_of(outside)), 7, True, operations, AT)) != pattern(folded)


@given(batches, states())
def test_no_outcome_crosses_a_bound_and_each_follows_from_the_one_before(
    operations: list[Operation], state: tuple[int, int, bool]
) -> None:
    folded = fold(*state, operations, AT)
    value, revision, _ = state
    for operation, outcome in zip(operations, folded.outcomes, strict=True):
        assert outcome.previous == value
        assert outcome.at == AT
        assert not outcome.replayed
        if outcome.applied:
            revision += 1
            value = outcome.value
            assert MIN <= value <= MAX
            assert value == (outcome.previous + operation.amount if operation.kind == "add" else operation.amount)
            if operation.amount > 0 and operation.ceiling is not None and operation.kind == "add":
                assert value <= operation.ceiling
            if operation.amount < 0 and operation.floor is not None and operation.kind == "add":
                assert value >= operation.floor
        assert (outcome.value, outcome.revision) == (value, revision)
        assert (outcome.reason is None) == outcome.applied == bool(outcome)
    assert folded.end[:2] == (value, revision)
    assert folded.applied == revision - state[1]
    assert folded.end[0] == (0 if folded.restart else state[0]) + folded.total


@given(batches, states())
def test_a_guard_admits_the_state_it_was_folded_from(operations: list[Operation], state: tuple[int, int, bool]) -> None:
    guard = guard_of(fold(*state, operations, AT))
    assert admits(guard, *state)
    assert guard.lo <= guard.hi


@given(batches, states())
@example([Operation.add(1, ceiling=5)], (5, 1, True))
def test_the_optimistic_guard_admits_exactly_the_states_that_accept_all(
    operations: list[Operation], state: tuple[int, int, bool]
) -> None:
    guard = optimistic(operations)
    folded = fold(*state, operations, AT)
    if folded.applied == len(operations):
        assert guard is not None
        assert admits(guard, *state)
        assert replace(guard, revision=None, alive=None) == replace(guard_of(folded), revision=None, alive=None)
    elif guard is not None:
        assert not admits(guard, *state)


@given(add_batches)
def test_no_optimistic_guard_means_that_no_start_accepts_all(operations: list[Operation]) -> None:
    guard = optimistic(operations)
    if guard is not None:
        for start in (guard.lo, guard.hi):
            assert fold(start, 0, True, operations, AT).applied == len(operations)
    else:
        # Only an end of a half-line can be the first to admit: a ceiling, a floor, an end of 64 bits, less the sums.
        ends = {MIN, MAX, 0}
        total = 0
        for operation in operations:
            total += operation.amount
            ends |= {end - total for end in (operation.floor, operation.ceiling, MIN, MAX) if end is not None}
        for start in (end for end in ends if MIN <= end <= MAX):
            assert fold(start, 0, True, operations, AT).applied < len(operations)


@given(batches, states())
def test_the_ttl_is_that_of_the_first_applied_operation(
    operations: list[Operation], state: tuple[int, int, bool]
) -> None:
    folded = fold(*state, operations, AT)
    applied = [operation.ttl_ms for operation, outcome in zip(operations, folded.outcomes, strict=True) if outcome]
    assert folded.ttl_ms == (applied[0] if applied else None)


@given(st.lists(adds(), min_size=1, max_size=6), st.data())
def test_a_groups_weight_keeps_every_running_total_within_64_bits(
    operations: list[Operation], data: st.DataObject
) -> None:
    if not within_64_bits(operations):
        alone = any(abs(operation.amount) > MAX for operation in operations)
        if len(operations) > 1:
            with pytest.raises(InvalidRequest) as raised:
                group(tuple(operations), "t")
            assert raised.value.field == "token"
        else:
            assert alone
        return
    together = group(tuple(operations), "t")
    assert together.weight <= MAX
    accepted = data.draw(st.lists(st.booleans(), min_size=len(operations), max_size=len(operations)))
    total = 0
    for operation, counts in zip(operations, accepted, strict=True):
        total += operation.amount * counts
        assert MIN <= total <= MAX


# By hand.


def outcomes(folded: Folded) -> list[tuple[bool, int, int, int, str | None]]:
    return [(o.applied, o.previous, o.value, o.revision, o.reason) for o in folded.outcomes]


def test_adds_up_to_a_ceiling() -> None:
    three = [Operation.add(2, ceiling=5)] * 3
    folded = fold(0, 0, False, three, AT)
    assert outcomes(folded) == [(True, 0, 2, 1, None), (True, 2, 4, 2, None), (False, 4, 4, 2, "ceiling")]
    assert guard_of(folded) == Guard(total=4, applied=2, lo=0, hi=1)
    assert folded.end == (4, 2, True)


def test_past_a_bound_already_movement_back_is_allowed() -> None:
    assert outcomes(fold(10, 1, True, [Operation.add(-1, ceiling=5)], AT)) == [(True, 10, 9, 2, None)]
    assert outcomes(fold(-10, 1, True, [Operation.add(1, floor=5)], AT)) == [(True, -10, -9, 2, None)]
    assert outcomes(fold(10, 1, True, [Operation.add(0, ceiling=5)], AT)) == [(True, 10, 10, 2, None)]


@pytest.mark.parametrize(
    ("start", "by", "reason"),
    [(MAX, 1, "overflow"), (MIN, -1, "overflow"), (MAX - 1, 1, None), (MIN + 1, -1, None), (MIN, MAX, None)],
)
def test_the_ends_of_64_bits_are_bounds(start: int, by: int, reason: str | None) -> None:
    (outcome,) = fold(start, 3, True, [Operation.add(by)], AT).outcomes
    assert (outcome.reason, outcome.value) == (reason, start if reason else start + by)


def test_a_set_counts_from_its_value_whatever_the_start() -> None:
    folded = fold(99, 4, True, [Operation.set(10, ttl=1), Operation.add(5, ceiling=12), Operation.add(1)], AT)
    assert outcomes(folded) == [(True, 99, 10, 5, None), (False, 10, 10, 5, "ceiling"), (True, 10, 11, 6, None)]
    assert guard_of(folded) == Guard(total=11, applied=2, restart=True, ttl_ms=1000)


def test_a_delete_is_alone_and_leaves_nothing() -> None:
    folded = fold(99, 4, True, [Operation.delete()], AT)
    assert outcomes(folded) == [(True, 99, 0, 5, None)]
    assert guard_of(folded) == Guard(total=0, applied=1, restart=True, delete=True)
    assert folded.end == (0, 5, False)
    for operations in ((Operation.delete(), Operation.add(1)), (Operation.add(1), Operation.delete())):
        with pytest.raises(InvalidRequest):
            group(operations, "t")


def test_a_revision_asked_for_is_in_the_guard() -> None:
    asked = [Operation.add(1, if_revision=4), Operation.add(1)]
    held = fold(7, 4, True, asked, AT)
    assert outcomes(held) == [(True, 7, 8, 5, None), (True, 8, 9, 6, None)]
    assert (held.revision, held.alive) == (4, True)
    failed = fold(7, 5, True, asked, AT)
    assert outcomes(failed) == [(False, 7, 7, 5, "revision"), (True, 7, 8, 6, None)]
    assert (failed.revision, failed.alive) == (5, True)
    dead = fold(0, 4, False, asked, AT)
    assert pattern(dead) == ["revision", None]
    assert (dead.revision, dead.alive) == (4, False)


def test_absence_asked_for_is_in_the_guard() -> None:
    asked = [Operation.set(3, if_absent=True)]
    assert outcomes(fold(0, 9, False, asked, AT)) == [(True, 0, 3, 10, None)]
    assert fold(0, 9, False, asked, AT).alive is False
    assert outcomes(fold(7, 4, True, asked, AT)) == [(False, 7, 7, 4, "exists")]
    guard = optimistic(asked)
    assert guard is not None
    assert (guard.revision, guard.alive) == (None, False)


def test_adds_that_exclude_each_other_have_no_optimistic_guard() -> None:
    assert optimistic([Operation.add(1, ceiling=0), Operation.add(-1, floor=5)]) is None
    assert optimistic([Operation.set(10), Operation.add(1, ceiling=10)]) is None


def test_what_joins_a_batch() -> None:
    assert group((Operation.add(1),)).joins
    for operation in (
        Operation.set(1),
        Operation.delete(),
        Operation.add(1, if_revision=0),
        Operation.add(1, if_absent=True),
    ):
        assert not group((operation,)).joins
    assert group((Operation.add(MIN),)).weight == MAX + 1
    assert group((Operation.delete(),)).weight == MAX + 1


def test_bare_adds_fit_any_batch_together() -> None:
    """A full batch of the largest of them, 4,096, is far from 64 bits."""
    assert BARE_MAGNITUDE_MAX * 4_096 <= MAX
    assert group((Operation.add(BARE_MAGNITUDE_MAX),)).bare
    others = (
        Operation.add(BARE_MAGNITUDE_MAX + 1),
        Operation.add(1, ceiling=1),
        Operation.add(1, floor=1),
        Operation.add(1, ttl=1),
        Operation.add(1, if_revision=1),
        Operation.add(1, if_absent=True),
        Operation.set(1),
        Operation.delete(),
    )
    assert not any(group((operation,)).bare for operation in others)
    assert not group((Operation.add(1),), "t").bare
    assert not group((Operation.add(1), Operation.add(1)), "t").bare


@given(
    value=st.integers(MIN, MAX),
    revision=st.integers(0, 10),
    exists=st.booleans(),
    by=st.integers(-BARE_MAGNITUDE_MAX, BARE_MAGNITUDE_MAX),
    times=st.integers(2, 20),
)
def test_one_bare_add_repeated_folds_as_any_batch_does(
    value: int, revision: int, exists: bool, by: int, times: int
) -> None:
    """The short way is taken only where it leads to the same, and so does the short guard."""
    operations = [Operation.add(by)] * times
    folded = fold(value, revision, exists, operations, AT)
    short = fold_repeated(value, revision, exists, operations[0], times, AT)
    assert short == (folded if by and all(folded.outcomes) else None)
    single = group((operations[0],)).guard
    assert single is not None
    assert repeated(single, times) == optimistic(operations)
