"""The rule about skips: a rule of the suite is left out for a registered reason, or the run fails."""

from __future__ import annotations

import pytest

from plusone.stores.memory import MemoryStore
from tests.conformance.reasons import REASONS, requires

pytest_plugins = ["pytester"]

THE_HOOK = "from tests.conformance.conftest import pytest_runtest_makereport"


def test_a_need_that_is_not_registered_is_an_error() -> None:
    with pytest.raises(KeyError):
        requires(MemoryStore.CAPABILITIES, "something else")


def test_what_a_store_has_is_not_skipped() -> None:
    requires(MemoryStore.CAPABILITIES, "listing")
    with pytest.raises(pytest.skip.Exception, match="its counters live in one process"):
        requires(MemoryStore.CAPABILITIES, "several processes")


@pytest.mark.parametrize("place", ["def test_it():", "@pytest.fixture(autouse=True)\ndef it():"])
def test_a_skip_without_a_registered_reason_fails(pytester: pytest.Pytester, place: str) -> None:
    pytester.makeconftest(THE_HOOK)
    pytester.makepyfile(f"import pytest\n{place}\n    pytest.skip('because')\ndef test_other(): pass")
    outcomes = pytester.runpytest().parseoutcomes()
    assert outcomes.get("skipped", 0) == 0
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) >= 1


def test_a_skip_with_a_registered_reason_is_a_skip(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(THE_HOOK)
    pytester.makepyfile(f"import pytest\ndef test_it():\n    pytest.skip({REASONS['listing'].text!r})")
    pytester.runpytest().assert_outcomes(skipped=1)
