"""The checker and Porcupine, which know nothing of each other, say the same of 40,000 small histories."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import pytest

pytest.importorskip("numpy")

from plusone.lab.checker import is_legal
from plusone.lab.history import Event, history_of
from tests.lab.porcupine import porcupine, verdicts
from tests.lab.simulator import BUGS, SHAPES, simulate

HISTORIES: Final = 40_000


def test_40_000_small_histories() -> None:
    program = porcupine()
    histories = []
    for seed in range(HISTORIES):
        source = random.Random(seed)
        bug = source.choice(BUGS) if source.random() < 0.7 else None
        histories.append(simulate(seed, source.choice(SHAPES), bug))
    theirs = verdicts(program, histories)
    ours = [_verdict(events) for events in histories]

    differing = [seed for seed in range(HISTORIES) if ours[seed] != theirs[seed]]
    assert differing == [], f"seeds {differing[:10]}: {[(ours[seed], theirs[seed]) for seed in differing[:10]]}"
    # The histories are worth comparing: many of either kind.
    assert theirs.count("illegal") > 10_000
    assert theirs.count("ok") > 10_000


def _verdict(events: Sequence[Event]) -> str:
    operations = history_of(events).counters["c"]
    return {True: "ok", False: "illegal", None: "unknown"}[is_legal(operations)]
