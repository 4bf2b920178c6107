"""No schedule breaks exactly-once or linearizability.

`PLUSONE_TEST_MODEL_SCHEDULES` says how many, `PLUSONE_TEST_MODEL_SEED` which one.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from plusone.errors import PlusoneError
from plusone.stores.protocol import Answer
from tests.model.profiles import PROFILES, Profile
from tests.model.simulation import Simulation, run

SOAK = bool(os.environ.get("PLUSONE_TEST_SOAK"))
SCHEDULES = int(os.environ.get("PLUSONE_TEST_MODEL_SCHEDULES") or (100_000 if SOAK else 3_000))
SEED = os.environ.get("PLUSONE_TEST_MODEL_SEED")
COMMAND = "PLUSONE_TEST_MODEL_SEED={} .venv/bin/python -m pytest tests/model/test_schedules.py"


def seeds_of(profile: Profile) -> list[int]:
    """This profile's share of the seeds: a seed alone tells the schedule."""
    first = PROFILES.index(profile)
    if SEED is not None:
        return [int(SEED)] if int(SEED) % len(PROFILES) == first else []
    return list(range(first, SCHEDULES, len(PROFILES)))


@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: str(profile.name))
def test_every_answer_is_true_of_one_plain_counter(profile: Profile) -> None:
    """All of docs/protocol.md, against a plain sequential counter."""
    for seed in seeds_of(profile):
        violations = run(seed, profile)
        assert not violations, f"seed {seed}: {violations[0]}\n(of {len(violations)}) repeat it: {COMMAND.format(seed)}"


def test_a_seed_repeats_its_schedule() -> None:
    for profile in PROFILES:
        first, second = Simulation(7, profile), Simulation(7, profile)
        assert first.run() == second.run()
        assert repr(first.history) == repr(second.history)


def test_the_schedules_meet_what_they_are_for() -> None:
    """Each answer, each error and each kind of outcome that the rules are about occurs in the first schedules."""
    met: Counter[str] = Counter()
    for profile in PROFILES:
        for seed in range(100 if profile.name == "failovers" else 20):
            simulation = Simulation(seed, profile)
            assert simulation.run() == []
            _count(simulation, met)
    expected = {"applied", "duplicate", "missed", "gap", "known token", "closing", "acked", "lost", "expired", "read"}
    expected |= {"None", "ceiling", "floor", "overflow", "revision", "exists", "replayed"}
    expected |= {"outcome-unknown", "not-sent", "store-unavailable", "contended", "token-reused"}
    expected |= {"acknowledged-data-lost"}
    assert expected <= {name for name, times in met.items() if times}, met


def _count(simulation: Simulation, met: Counter[str]) -> None:
    history = simulation.history
    for told in history.told:
        met[told.answer.status if isinstance(told.answer, Answer) else told.answer.code] += 1
        met["known token"] += isinstance(told.answer, Answer) and bool(told.answer.tokens)
        met["closing"] += told.request.closing
        met["acked"] += told.request.acked > 0
    for call in history.calls:
        if isinstance(call.result, PlusoneError):
            met[call.result.code] += 1
        for outcome in call.result if isinstance(call.result, list) else ():
            met[str(outcome.reason)] += 1
            met["replayed"] += outcome.replayed
    met["lost"] += sum(step.lost for step in history.steps)
    met["expired"] += sum(phase.expires is not None for phases in history.phases.values() for phase in phases)
    met["read"] += len(history.reads)
