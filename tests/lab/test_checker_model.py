"""The checker's counter is the one that `plusone.folding` specifies."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numpy")

from plusone.folding import fold
from plusone.lab.checker.model import step
from plusone.lab.history.events import KINDS
from plusone.types import MAX, MIN, Operation

NEAR = st.one_of(st.integers(MIN, MAX), st.integers(-5, 5), st.integers(MAX - 5, MAX), st.integers(MIN, MIN + 5))
BOUND = st.one_of(st.none(), NEAR)
AT = datetime(2026, 11, 21, tzinfo=UTC)


@given(value=NEAR, amount=NEAR, bounds=st.tuples(BOUND, BOUND))
def test_add(value: int, amount: int, bounds: tuple[int | None, int | None]) -> None:
    floor, ceiling = bounds if None in bounds else sorted(bound for bound in bounds if bound is not None)
    [outcome] = fold(value, 0, True, [Operation.add(amount, ceiling=ceiling, floor=floor)], AT).outcomes
    after = step(
        value, KINDS.index("add"), amount, MAX if ceiling is None else ceiling, MIN if floor is None else floor
    )

    assert after == (outcome.value if outcome.applied else None)


@given(value=NEAR, amount=NEAR)
def test_set_and_delete(value: int, amount: int) -> None:
    [outcome] = fold(value, 0, True, [Operation.set(amount)], AT).outcomes
    assert step(value, KINDS.index("set"), amount, MAX, MIN) == outcome.value
    [outcome] = fold(value, 0, True, [Operation.delete()], AT).outcomes
    assert step(value, KINDS.index("delete"), 0, MAX, MIN) == outcome.value
