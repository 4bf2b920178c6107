"""Why a rule of the suite may be left out for a store: each reason is registered here, or the test fails.

A reason is data. It names what the suite needs, and says of a store's capabilities whether the store lacks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import pytest

from plusone.stores.protocol import Capabilities


class Reason(msgspec.Struct, frozen=True):
    """What is missing, for the report, and where it is."""

    text: str
    holds: Callable[[Capabilities], bool]


REASONS: Final[Mapping[str, Reason]] = {
    "several processes": Reason(
        "its counters live in one process, so no other can reach them",
        lambda capabilities: capabilities.schemes == ("memory",),
    ),
    "a clock to move": Reason(
        "time is the datastore's own, which no test can move",
        lambda capabilities: capabilities.ttl_clock == "datastore",
    ),
    "bounded tokens": Reason(
        "it keeps as many tokens as it is given",
        lambda capabilities: capabilities.tokens_per_counter is None,
    ),
    "listing": Reason("it cannot list", lambda capabilities: not capabilities.lists),
}


def requires(capabilities: Capabilities, need: str) -> None:
    """Skip the test where the store lacks `need`, which has to be registered: else this is a KeyError."""
    reason = REASONS[need]
    if reason.holds(capabilities):
        pytest.skip(reason.text)


def is_registered(skipped: str) -> bool:
    """Whether this text, with which pytest reports a skip, is that of a reason above."""
    return any(skipped.removeprefix("Skipped: ") == reason.text for reason in REASONS.values())
