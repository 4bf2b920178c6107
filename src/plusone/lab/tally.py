"""What a run counts while it goes on: for its progress, its timeline, and the sums at its end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

from plusone.lab.results import FaultMark, Moment

_SECONDS_PER_MOMENT: Final = 1.0


class Tally:
    """The numbers of one run, over all of its phases."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self.operations = 0
        """Answered or in doubt, reads included."""
        self.acknowledged = 0
        """Increments that were answered as applied, each token once."""
        self.unknown = 0
        self.errors: Counter[str] = Counter()
        """By the error's class: what callers saw and answered by asking again, and what left them in doubt."""
        self.last_error = ""
        self.faults: Counter[str] = Counter()
        self.marks: list[FaultMark] = []
        self._moments: dict[int, list[int]] = {}
        self._tokens: set[tuple[str, str]] = set()
        self.acknowledged_on: Counter[str] = Counter()
        self.unknown_on: Counter[str] = Counter()
        self.final: dict[str, int] = {}
        """What each counter was at the end of its phase."""

    @property
    def seconds(self) -> float:
        """Since the run's beginning."""
        return time.monotonic() - self._begin

    def answered(self, name: str, *, applied: bool, token: str | None) -> None:
        self._count(0)
        if not applied:
            return
        if token is not None:
            if (name, token) in self._tokens:
                return
            self._tokens.add((name, token))
        self.acknowledged += 1
        self.acknowledged_on[name] += 1

    def other(self) -> None:
        """An answer that adds nothing to the sum: a read, or a change of a counter that has none."""
        self._count(0)

    def doubtful(self, name: str, doubt: Literal["unknown", "refused"]) -> None:
        self.operations += 1
        if doubt == "unknown":
            self.unknown += 1
            self.unknown_on[name] += 1

    def left_open(self) -> None:
        """One that has no part in the sum was not answered."""
        self.operations += 1

    def error(self, error: BaseException) -> None:
        self.errors[type(error).__name__] += 1
        self.last_error = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        self._moment()[1] += 1

    def read_finally(self, name: str, value: int) -> None:
        self.final[name] = value

    def mark(self, fault: str, begin: float) -> None:
        """The fault was in force from this second on until now."""
        self.marks.append(FaultMark(fault=fault, begin=round(begin, 3), end=round(self.seconds, 3)))

    @property
    def timeline(self) -> Sequence[Moment]:
        """Second by second, those without any answer included."""
        last = max(self._moments, default=-1)
        moments = ((second, self._moments.get(second, (0, 0))) for second in range(last + 1))
        return [Moment(second=second, answered=answered, errors=errors) for second, (answered, errors) in moments]

    def _count(self, column: int) -> None:
        self.operations += 1
        self._moment()[column] += 1

    def _moment(self) -> list[int]:
        return self._moments.setdefault(int(self.seconds / _SECONDS_PER_MOMENT), [0, 0])
