"""The short way of folding one bare add again and again, at the ends of 64 bits: where chance does not come by."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from plusone.counters import Counters
from plusone.folding import fold_repeated
from plusone.stores.memory import MemoryStore
from plusone.types import MAX, MIN, Operation
from tests.model.virtual import Loop
from tests.unit.scripted import counters_on, in_virtual_time

AT = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "by", "times", "end"),
    [
        (MAX - 6, 2, 3, MAX),
        (MAX - 5, 2, 3, None),
        (MAX, 1, 2, None),
        (MAX, -1, 2, MAX - 2),
        (MIN + 6, -2, 3, MIN),
        (MIN + 5, -2, 3, None),
        (MIN, -1, 2, None),
        (0, 0, 2, None),
    ],
)
def test_it_is_taken_where_every_add_fits(start: int, by: int, times: int, end: int | None) -> None:
    folded = fold_repeated(start, 7, True, Operation.add(by), times, AT)
    assert (None if folded is None else folded.end) == (None if end is None else (end, 7 + times, True))


@in_virtual_time
async def test_of_three_at_once_two_fit_below_2_to_the_63(loop: Loop) -> None:
    counters: Counters = counters_on(MemoryStore(clock=loop.clock(1), token_retention_ms=1_000), loop)
    await counters.set("top", MAX - 2)
    tasks = [loop.create_task(counters.increment("top")) for _ in range(3)]
    outcomes = [await task for task in tasks]
    assert [(outcome.applied, outcome.value, outcome.revision, outcome.reason) for outcome in outcomes] == [
        (True, MAX - 1, 2, None),
        (True, MAX, 3, None),
        (False, MAX, 3, "overflow"),
    ]
