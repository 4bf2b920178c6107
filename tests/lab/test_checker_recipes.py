"""Long histories of recipes that go wrong: each has its own defects, all of them, and no other; and none takes long."""

from __future__ import annotations

import time
from typing import Final

import pytest

pytest.importorskip("numpy")

from plusone.lab.checker import check
from plusone.lab.history import history_of
from plusone.lab.results import Violation
from tests.lab import recipes
from tests.lab.recipes import Recipe, run

CPU_SECONDS_MAX: Final = 10.0
"""Of 5,000 operations, on a machine that does much besides; it takes a tenth of a second."""

CASES: Final[dict[str, tuple[Recipe, dict[str, object], set[Violation]]]] = {
    "INCR": (recipes.increment, {}, set()),
    "INCR, replies lost": (recipes.increment, {"lost": 0.01}, {"phantom increment"}),
    "INCR, a failover": (recipes.increment, {"failovers": (400.0,)}, {"lost after acknowledgement"}),
    "untold": (recipes.increment_untold, {}, set()),
    "untold, replies lost": (recipes.increment_untold, {"lost": 0.01}, {"phantom increment"}),
    "untold, a failover": (recipes.increment_untold, {"failovers": (400.0,)}, {"lost after acknowledgement"}),
    "increment, then read": (recipes.increment_then_read, {}, {"duplicate value"}),
    "increment, then read, replies lost": (
        recipes.increment_then_read,
        {"lost": 0.01},
        {"duplicate value", "phantom increment"},
    ),
    "get, then set": (recipes.get_then_set, {}, {"duplicate value", "lost update"}),
    "get, then set, a failover": (
        recipes.get_then_set,
        {"failovers": (400.0,)},
        {"duplicate value", "lost update"},
    ),
    "get, check, increment": (recipes.get_check_increment, {"ceiling": 3_000}, {"bound crossed"}),
    "upsert with a filter": (recipes.upsert_with_filter, {"ceiling": 4_000}, {"false rejection"}),
    "buffered": (recipes.buffered, {}, {"stale read"}),
    "claimed key": (recipes.claimed_key, {"lost": 0.01}, {"lost update"}),
}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_its_defects_and_no_others(name: str, seed: int) -> None:
    recipe, settings, kinds = CASES[name]
    history = history_of(run(recipe, seed=seed, **settings))  # type: ignore[arg-type]
    begin = time.process_time()
    verdict = check(history)

    assert time.process_time() - begin < CPU_SECONDS_MAX
    assert verdict.verdict == ("illegal" if kinds else "ok")
    assert set(verdict.found) == kinds, verdict.contradictions
