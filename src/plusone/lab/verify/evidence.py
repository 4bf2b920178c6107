"""How much a history tests each promise: what of it could have shown that the promise does not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from plusone.lab.history import Operations
from plusone.lab.history.operations import APPLIED, REJECTED, TELLS_VALUE, WAS_READ
from plusone.lab.workload import CHANGED
from plusone.types import MAX, MIN


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What there was in one history, or in several."""

    values: int = 0
    """Values that increments were told."""
    rejected: int = 0
    bounded: int = 0
    """Counters that something was asked for with a ceiling or a floor."""
    reads: int = 0
    repeated: int = 0
    """Idempotency keys that were sent more than once."""

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


def evidence_of(counters: Mapping[str, Operations]) -> Evidence:
    found = Evidence()
    for name, operations in counters.items():
        answers = zip(operations.result, operations.told, strict=True)
        sent = Counter(operations.tokens.values())
        found += Evidence(
            # Where values are set, two of them are rightly the same.
            values=0
            if CHANGED in name
            else sum(result == APPLIED and bool(told & TELLS_VALUE) for result, told in answers),
            rejected=operations.result.count(REJECTED),
            bounded=int(min(operations.ceiling, default=MAX) < MAX or max(operations.floor, default=MIN) > MIN),
            reads=operations.result.count(WAS_READ),
            repeated=sum(times > 1 for times in sent.values()),
        )
    return found
