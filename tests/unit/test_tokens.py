"""Tokens: what is kept under one, and that the same outcomes come out of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from plusone.combiner import tokens
from plusone.errors import TokenReused
from plusone.folding import Group, fold, group
from plusone.stores.protocol import TokenRecord
from plusone.types import MAX, MIN, Operation

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)

small = st.integers(-20, 20)
adds = st.builds(
    lambda by, bound: Operation.add(by, ceiling=bound if by > 0 else None, floor=bound if by < 0 else None),
    small,
    st.one_of(st.none(), small),
)
heads = st.one_of(adds, small.map(Operation.set), adds.map(lambda operation: replace(operation, if_revision=3)))
groups = st.tuples(heads, st.lists(st.lists(adds, min_size=1, max_size=3), max_size=3)).map(
    lambda parts: [group((parts[0],), "t0")] + [group(tuple(more), "t") for more in parts[1]]
)
states = st.one_of(st.just((0, 3, False)), st.tuples(small, st.integers(0, 4), st.just(True)))


def records(batch: list[Group], guessed: tuple[int, int, bool], actual: tuple[int, int, bool]) -> list[TokenRecord]:
    """What a store keeps for a batch whose notes were made for one state, and which was applied to another."""
    operations = [operation for part in batch for operation in part.operations]
    folded = fold(*guessed, operations, AT)
    behind_set, first, kept = False, 0, []
    for part in batch:
        data = tokens.notes(part, folded.outcomes[first], guessed[0], guessed[1], behind_set)
        kept.append(TokenRecord("t", data, *actual))
        behind_set = behind_set or (first == 0 and folded.restart)
        first += len(part.operations)
    return kept


@given(groups, states, states)
def test_the_outcomes_fold_again_from_the_record(
    batch: list[Group], guessed: tuple[int, int, bool], actual: tuple[int, int, bool]
) -> None:
    """The outcomes fold again from it, rejections included (docs/protocol.md, Tokens)."""
    operations = [operation for part in batch for operation in part.operations]
    guard = fold(*guessed, operations, AT)
    if not (
        guard.lo <= actual[0] <= guard.hi and guard.revision in (None, actual[1]) and guard.alive in (None, actual[2])
    ):
        actual = guessed
    expected = [replace(outcome, replayed=True) for outcome in fold(*actual, operations, AT).outcomes]
    for part, record in zip(batch, records(batch, guessed, actual), strict=True):
        assert tokens.recall(record, part) == expected[: len(part.operations)]
        del expected[: len(part.operations)]


def test_a_rejection_is_remembered() -> None:
    """Remembered: applied, and rejections by bound, revision or existence."""
    rejected = group((Operation.add(1, ceiling=5, token="t"),), "t")
    (record,) = records([rejected], (5, 9, True), (5, 9, True))
    (outcome,) = tokens.recall(record, rejected)
    assert (outcome.applied, outcome.value, outcome.revision, outcome.reason) == (False, 5, 9, "ceiling")
    assert outcome.replayed
    assert outcome.at == AT


def test_another_operation_under_the_token_is_refused() -> None:
    """A difference is `TokenReused`."""
    (record,) = records([group((Operation.add(1),), "t")], (0, 0, False), (0, 0, False))
    with pytest.raises(TokenReused) as raised:
        tokens.recall(record, group((Operation.add(2),), "t"))
    assert raised.value.field == "token"


def test_the_fingerprint_covers_everything_but_the_token() -> None:
    """Fingerprint: kind, by or value, floor, ceiling, ttl, if_revision, if_absent."""
    one = Operation.add(7, floor=1, ceiling=9, ttl=3, if_revision=2)
    others = [
        replace(one, kind="set", floor=None, ceiling=None),
        replace(one, amount=8),
        replace(one, floor=2),
        replace(one, ceiling=10),
        replace(one, ttl_ms=3_001),
        replace(one, if_revision=3),
        replace(one, if_revision=None),
        replace(one, if_revision=None, if_absent=True),
    ]
    prints = {tokens.fingerprint([operation]) for operation in (one, *others)}
    assert len(prints) == 9
    assert tokens.fingerprint([one, one]) not in prints
    assert tokens.fingerprint([replace(one, token="t")]) == tokens.fingerprint([one])


def test_the_fingerprint_stays_the_same_from_release_to_release() -> None:
    """Records outlive the process that wrote them."""
    assert tokens.fingerprint([Operation.add(1)]) == "9392acd1a313802dbc8f2cdef4f4f0fe"


def test_notes_are_short_printable_ascii() -> None:
    """As the store protocol promises: less than 300 characters, at the far ends too."""
    widest = group((Operation.add(MAX, floor=MIN, ceiling=MAX, token="t" * 255),), "t" * 255)
    first = fold(MIN, MAX - 1, True, widest.operations, AT).outcomes[0]
    for behind_set in (False, True):
        data = tokens.notes(widest, first, MAX, 0, behind_set)
        assert data.isascii()
        assert data.isprintable()
        assert len(data) < 300
