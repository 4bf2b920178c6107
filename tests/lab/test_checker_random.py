"""Random histories of a simulated counter: no false alarm, and every planted bug that shows is found."""

from __future__ import annotations

import random
from collections import Counter
from typing import Final

import msgspec
import pytest

pytest.importorskip("numpy")

from plusone.lab.checker import check
from plusone.lab.history import history_of
from plusone.lab.results import Violation
from tests.lab.brute import is_legal
from tests.lab.simulator import BUGS, SHAPES, Bug, Shape, simulate

CLEAN: Final = 10_000
PLANTED: Final = 1_000
"""Of each bug."""
LARGE: Final = Shape(operations=1_500, callers=8, unknown=0.0, refused=0.02, reads=0.05, final_read=True)
EXPECTED: Final[dict[Bug, set[Violation]]] = {
    "drop": {"lost update"},
    "duplicate": {"phantom increment"},
    "reorder": {"order reversed"},
    "stale": {"stale read", "lost after acknowledgement"},
    "off by one": {"wrong value", "duplicate value"},
    "lost on failover": {"lost after acknowledgement"},
}
"""What the bug is called in a long history, where what follows shows what became of it."""


def test_no_false_alarm_in_10_000_clean_ones() -> None:
    verdicts: Counter[str] = Counter()
    for seed in range(CLEAN):
        source = random.Random(seed)
        verdict = check(history_of(simulate(seed, source.choice(SHAPES))))
        assert verdict.verdict == "ok", f"seed {seed}: {verdict}"
        verdicts[verdict.verdict] += 1

    assert verdicts == {"ok": CLEAN}


@pytest.mark.parametrize("bug", BUGS)
def test_every_planted_bug_that_shows_is_found(bug: Bug) -> None:
    """Whether it shows, and so whether the history is illegal, the oracle says by trying all orders."""
    shown = 0
    for seed in range(PLANTED):
        source = random.Random(seed)
        events = simulate(seed, source.choice(SHAPES), bug)
        legal = is_legal(events)
        verdict = check(history_of(events))
        assert verdict.verdict == ("ok" if legal else "illegal"), f"seed {seed}: {verdict}"
        assert bool(verdict.contradictions) != legal, f"seed {seed}"
        shown += not legal

    assert shown >= PLANTED / 10


@pytest.mark.parametrize("tells", ["all", "value"])
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_a_long_history_has_its_name(bug: Bug, tells: str) -> None:
    """Of ten long histories, those in which it shows are illegal, for this reason among them."""
    found: Counter[Violation] = Counter()
    for seed in range(10):
        shape = LARGE if tells == "all" else msgspec.structs.replace(LARGE, tells="value")
        verdict = check(history_of(simulate(seed, shape, bug)))
        assert verdict.verdict != "unknown", f"seed {seed}: {verdict.undecided}"
        found.update(verdict.found.keys())

    assert sum(found[kind] for kind in EXPECTED[bug]) >= 5, found
