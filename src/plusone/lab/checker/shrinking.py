"""Illegal histories whose order is not told: the answers that contradict one another, and what that is called.

First comes the shortest beginning of the history that is illegal: what was answered later has nothing to do with it.
Then one answer after the other is forgotten, as if it were unknown; those without which the rest is legal are the
smallest set. It is called after the mildest repair that makes it legal: what the store would have had to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from plusone.lab.checker.explaining import SHOWN_MAX
from plusone.lab.checker.model import Columns, Finding
from plusone.lab.checker.search import Entry, Search, Word, entries_of
from plusone.lab.history import NEVER
from plusone.lab.history.operations import ADD, APPLIED, READ, REJECTED, SET, UNKNOWN, WAS_READ
from plusone.lab.results import Violation
from plusone.types import MAX, MIN

_DIAGNOSIS_BUDGET: Final = 20_000
_WORDS: Final[dict[Violation, str]] = {
    "bound crossed": "only if {} was applied beyond its bound is there an order that explains {}",
    "false rejection": "{} was rejected, but in no order that explains {} was it at its bound at the time",
    "duplicate value": "{} was told a value that was another's: no order explains {}",
    "order reversed": "{} was told what contradicts when it was called: no order of that time explains {}",
    "stale read": "{} saw the counter as it had been before: no order of that time explains {}",
    "lost update": "{} was acknowledged, but it left no trace: no order explains {}",
    "phantom increment": "{} must have happened more than once: no order explains {}",
    "lost after acknowledgement": "after {} the counter was what it had been before: no order explains {}",
    "wrong value": "{} was told a value that no order explains, together with {}",
}


def shrink(columns: Columns, numbers: Sequence[int], budget: int) -> Finding | None:
    """The smallest set of answers that contradict one another; None if it is not found within the budget."""
    shrinking = _Shrinking(budget)
    entries = shrinking.shortest_beginning(entries_of(columns))
    if entries is None:
        return None
    told = sorted((entry for entry in entries if entry.result != UNKNOWN), key=lambda entry: entry.answered_ns)
    core, others = shrinking.forget(told, [], [entry for entry in entries if entry.result == UNKNOWN])
    kind, blamed = shrinking.diagnose(core, others)
    names = {entry.index: f"#{numbers[int(columns.index[entry.index])]}" for entry in core}
    core.sort(key=lambda entry: (entry is not blamed, entry.called_ns))
    indices = tuple(int(columns.index[entry.index]) for entry in core[:SHOWN_MAX])
    return Finding(kind, _WORDS[kind].format(names[blamed.index], _listed(list(names.values()))), indices)


def _listed(names: list[str]) -> str:
    if len(names) > SHOWN_MAX:
        names = [*names[:3], f"{len(names) - 3} others"]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


class _Shrinking:
    """Searches that share a budget. When it is used up, nothing more is found to be illegal, and so no smaller set."""

    def __init__(self, budget: int) -> None:
        self.left = budget

    def search(self, entries: Sequence[Entry]) -> Word:
        search = Search(entries)
        word = search.run(max(self.left, 0), fewest_first=True)
        self.left -= search.spent
        return word

    def shortest_beginning(self, entries: Sequence[Entry]) -> list[Entry] | None:
        """What had been called and answered when it became illegal. Every beginning of a legal history is legal."""
        times = sorted(entry.answered_ns for entry in entries if entry.answered_ns != NEVER)
        low, high = 0, len(times) - 1
        while low < high:
            middle = (low + high) // 2
            word = self.search(_until(entries, times[middle]))
            if word == "undecided":
                return None
            low, high = (low, middle) if word == "illegal" else (middle + 1, high)
        return _until(entries, times[low])

    def forget(
        self, some: list[Entry], kept: list[Entry], others: list[Entry], rest: Sequence[Entry] = ()
    ) -> tuple[list[Entry], list[Entry]]:
        """Forget as many of `some` as can be: all at once, or half of them after half of them.

        `kept` are needed, `others` are unknown already, and what becomes of `rest` is not decided yet.
        """
        if not some:
            return kept, others
        forgotten = [left for entry in some for left in _forgotten(entry)]
        if self.search([*kept, *rest, *others, *forgotten]) == "illegal":
            return kept, [*others, *forgotten]
        if len(some) == 1:
            return [*kept, *some], others
        first, second = some[: len(some) // 2], some[len(some) // 2 :]
        kept, others = self.forget(first, kept, others, [*second, *rest])
        return self.forget(second, kept, others, rest)

    def diagnose(self, core: Sequence[Entry], others: Sequence[Entry]) -> tuple[Violation, Entry]:
        """The first repair that makes it legal, and of whom; the last answer is to blame if none does."""
        last = max(core, key=lambda entry: entry.answered_ns)
        self.left = max(self.left, _DIAGNOSIS_BUDGET)
        for kind, entry, repaired in _repairs(core):
            kept = [other for other in core if other is not entry]
            if self.search([*kept, *others, *repaired]) == "legal":
                return kind, entry
        return "wrong value", last


def _until(entries: Sequence[Entry], time_ns: int) -> list[Entry]:
    """The history as it was then: what was not answered yet is unknown, what was not called yet is not there."""
    found: list[Entry] = []
    for entry in entries:
        if entry.called_ns <= time_ns:
            found += [entry] if entry.answered_ns <= time_ns else _forgotten(entry)
    return found


def _forgotten(entry: Entry) -> list[Entry]:
    """The same without its answer: it may have happened or not; of a read nothing is left, nor of a rejection."""
    if entry.result in (WAS_READ, REJECTED):
        return []
    told = {"result": UNKNOWN, "value": None, "previous": None, "revision": None, "answered_ns": NEVER}
    return [msgspec.structs.replace(entry, **told)]


def _repairs(core: Sequence[Entry]) -> Iterator[tuple[Violation, Entry, list[Entry]]]:
    """What would have to be so instead, the mildest first: of whom, and what takes its place."""
    replace = msgspec.structs.replace
    adds = [entry for entry in core if entry.kind == ADD and entry.result == APPLIED]
    for entry in adds:
        yield "bound crossed", entry, [replace(entry, ceiling=MAX, floor=MIN)]
    for entry in core:
        if entry.result == REJECTED:
            yield "false rejection", entry, []
    # A read after which nothing was called has the last word: what it does not see is not there.
    for entry in core:
        if entry.result == WAS_READ and any(other.called_ns > entry.answered_ns for other in core):
            yield "stale read", entry, [replace(entry, called_ns=-1)]
    values = [entry.value for entry in adds]
    for entry in adds:
        if entry.value is not None and values.count(entry.value) > 1:
            yield "duplicate value", entry, [replace(entry, value=None, previous=None, revision=None)]
    # One that was told nothing and may have happened at any time is one that may be missing: that is another defect.
    for entry in adds:
        if entry.value is not None or entry.revision is not None:
            yield "order reversed", entry, [replace(entry, called_ns=-1, answered_ns=NEVER - 1)]
    for entry in adds:
        yield "lost update", entry, _without_effect(entry)
    for entry in adds:
        again = _forgotten(replace(entry, index=-1))
        yield "phantom increment", entry, [entry, *again]
    for entry in core:
        if entry.result == WAS_READ:
            yield "stale read", entry, [replace(entry, called_ns=-1)]
    for entry in core:
        if entry.kind != READ and entry.value is not None and entry.result == APPLIED:
            back = entry.value - entry.amount if entry.kind == ADD else 0
            fall = replace(entry, index=-1, kind=SET, amount=back, result=UNKNOWN, answered_ns=NEVER, revision=None)
            yield "lost after acknowledgement", entry, [entry, fall]


def _without_effect(entry: Entry) -> list[Entry]:
    """It was told what it would have been told, and the counter stayed as it was."""
    if entry.value is None:
        return []
    before = entry.value - entry.amount
    return [msgspec.structs.replace(entry, kind=READ, result=WAS_READ, value=before, previous=None, revision=None)]
