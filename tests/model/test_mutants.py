"""Each rule of the protocol, switched off, is caught: what shows that the model test can see."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.mutants import MUTANTS
from tests.model.profiles import BY_NAME
from tests.model.simulation import run

PROTOCOL = " ".join((Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("name", MUTANTS)
def test_the_rule_stands_in_the_protocol(name: str) -> None:
    assert MUTANTS[name].rule in PROTOCOL


@pytest.mark.parametrize("name", MUTANTS)
def test_a_rule_switched_off_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    for constant, value in mutant.constants.items():
        monkeypatch.setattr(constant, value)
    profile = BY_NAME[mutant.profile]
    for seed in range(mutant.schedules):
        if run(seed, profile, mutant.made):
            return
    pytest.fail(f"{mutant.schedules} schedules do not miss the rule: {mutant.rule}")


@pytest.mark.parametrize("profile", sorted({mutant.profile for mutant in MUTANTS.values()}))
def test_the_same_schedules_are_clean_with_every_rule(profile: str) -> None:
    for seed in range(20):
        assert run(seed, BY_NAME[profile]) == []
