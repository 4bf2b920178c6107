"""The search for an order that explains all answers, for what does not give its order away.

Wing and Gong, "Testing and verifying concurrent objects" (1993), with Lowe's memory of what was tried, "Testing for
linearizability" (2017): from a state, whatever was called before anything that is left was answered may come next; a
set of operations that led to a value before need not be tried again. Three things keep it small:

- A read or a rejection that fits comes next at once. It changes nothing, so whatever follows can follow it too.
- Unknown operations that ask for the same are interchangeable, but for the time of their call: the earliest comes
  first, and what is remembered of them is how many came.
  Whatever was tried with fewer of them need not be tried with more, which can still come.
- What is left is remembered from the first operation on that is still left: usually a handful.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import le
from typing import Final, Literal, TypeAlias

import msgspec

from plusone.lab.checker.model import Columns, step
from plusone.lab.history.operations import ADD, APPLIED, READ, TELLS_PREVIOUS, TELLS_REVISION, TELLS_VALUE, UNKNOWN

Word: TypeAlias = Literal["legal", "illegal", "undecided"]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One operation; `index` is its position in the columns."""

    index: int
    kind: int
    amount: int
    ceiling: int
    floor: int
    result: int
    value: int | None
    previous: int | None
    revision: int | None
    called_ns: int
    answered_ns: int


def entries_of(columns: Columns) -> list[Entry]:
    lists = (
        columns.kind, columns.amount, columns.ceiling, columns.floor, columns.result, columns.value, columns.previous,
        columns.revision, columns.called_ns, columns.answered_ns, columns.told,
    )  # fmt: skip
    return [
        Entry(
            index,
            kind,
            amount,
            ceiling,
            floor,
            result,
            value if told & TELLS_VALUE else None,
            previous if told & TELLS_PREVIOUS else None,
            revision if told & TELLS_REVISION else None,
            called,
            answered,
        )
        for index, (
            kind,
            amount,
            ceiling,
            floor,
            result,
            value,
            previous,
            revision,
            called,
            answered,
            told,
        ) in enumerate(zip(*(column.tolist() for column in lists), strict=True))
    ]


_State: TypeAlias = tuple[int, int, tuple[int, ...], int]
"""The first required operation that is left, which of those behind it came already (as bits), how many of each group of
unknown ones came, and the value."""


class Search:
    """A search among the orders of these operations; afterwards, how many states it took."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        required = [entry for entry in entries if entry.result != UNKNOWN]
        self.required: Final = sorted(required, key=lambda entry: entry.called_ns)
        groups: dict[tuple[int, int, int, int], list[int]] = {}
        for entry in entries:
            if entry.result == UNKNOWN and entry.kind != READ:
                asked = (entry.kind, entry.amount, entry.ceiling, entry.floor)
                groups.setdefault(asked, []).append(entry.called_ns)
        self.groups: Final = [(*asked, sorted(calls)) for asked, calls in sorted(groups.items())]
        applied = [0]
        for entry in self.required:
            applied.append(applied[-1] + (entry.result == APPLIED))
        self.applied_before: Final = applied
        """How many of the first so many required operations were applied."""
        self.spent = 0
        self.tells_revisions: Final = any(entry.revision is not None for entry in self.required)
        self.tried: Final[dict[tuple[int, int, int, int], list[tuple[int, ...]]]] = {}

    def run(self, budget: int, *, fewest_first: bool = False) -> Word:
        """Whether some order explains the answers, after at most `budget` states.

        An order that exists is mostly found soonest by letting come what may. That none exists shows soonest by trying
        orders with few unknown operations first, which rule out those with more.
        """
        start: _State = (0, 0, (0,) * len(self.groups), 0)
        # With `fewest_first` a stack for each number of unknown operations that have come; else one for all.
        stacks: list[list[_State]] = [[start]]
        while stacks:
            if not stacks[0]:
                stacks.pop(0)
                continue
            if self.spent >= budget:
                return "undecided"
            self.spent += 1
            before = stacks[0].pop()
            state = self._absorb(before)
            if state[0] == len(self.required):
                return "legal"
            for following in self._following(state):
                if self._is_new(following):
                    costs = fewest_first and following[2] != before[2]
                    if costs and len(stacks) == 1:
                        stacks.append([])
                    stacks[costs].append(following)
        return "illegal"

    def _is_new(self, state: _State) -> bool:
        """Whether it was not tried before, not even with fewer of the unknown operations: those can still come."""
        base, mask, used, value = state
        tried = self.tried.setdefault((base, mask, value, sum(used) if self.tells_revisions else 0), [])
        if any(all(map(le, fewer, used)) for fewer in tried):
            return False
        tried.append(used)
        return True

    def _window(self, base: int, mask: int) -> tuple[list[int], int]:
        """Which required operations may come next, and by when one that may has to be called."""
        numbers: list[int] = []
        earliest = self.required[base].answered_ns
        for number in range(base, len(self.required)):
            entry = self.required[number]
            if entry.called_ns > earliest:
                break
            if not mask >> (number - base) & 1:
                numbers.append(number)
                earliest = min(earliest, entry.answered_ns)
        return [number for number in numbers if self.required[number].called_ns <= earliest], earliest

    def _absorb(self, state: _State) -> _State:
        """The state after all reads and rejections that fit now."""
        base, mask, used, value = state
        again = True
        while again and base < len(self.required):
            again = False
            revision = self._revision(state)
            for number in self._window(base, mask)[0]:
                entry = self.required[number]
                if entry.result != APPLIED and self._fits(entry, value, revision):
                    mask |= 1 << (number - base)
                    again = True
            base, mask = self._advanced(base, mask)
            state = (base, mask, used, value)
        return state

    def _fits(self, entry: Entry, value: int, revision: int) -> bool:
        if entry.value not in (None, value) or entry.revision not in (None, revision):
            return False
        return entry.kind == READ or step(value, ADD, entry.amount, entry.ceiling, entry.floor) is None

    def _following(self, state: _State) -> Iterator[_State]:
        """The states after one more operation; the likeliest last, since that is taken up first."""
        base, mask, used, value = state
        numbers, earliest = self._window(base, mask)
        revision = self._revision(state) + 1
        for number, (kind, amount, ceiling, floor, calls) in enumerate(self.groups):
            count = used[number]
            if count < len(calls) and calls[count] <= earliest:
                after = step(value, kind, amount, ceiling, floor)
                if after is not None:
                    yield base, mask, (*used[:number], count + 1, *used[number + 1 :]), after
        numbers.sort(key=lambda number: self.required[number].answered_ns, reverse=True)
        for number in numbers:
            entry = self.required[number]
            if entry.result != APPLIED or entry.revision not in (None, revision):
                continue
            after = step(value, entry.kind, entry.amount, entry.ceiling, entry.floor)
            if after is None or entry.value not in (None, after) or entry.previous not in (None, value):
                continue
            yield *self._advanced(base, mask | 1 << (number - base)), used, after

    def _advanced(self, base: int, mask: int) -> tuple[int, int]:
        """The same with the base at the first that is left."""
        while mask & 1:
            base += 1
            mask >>= 1
        return base, mask

    def _revision(self, state: _State) -> int:
        """How many operations were applied on the way to this state."""
        if not self.tells_revisions:
            return 0
        base, mask, used, _ = state
        count = self.applied_before[base] + sum(used)
        number = base
        while mask:
            count += mask & 1 and self.required[number].result == APPLIED
            mask >>= 1
            number += 1
        return count


def search(entries: Sequence[Entry], budget: int) -> Word:
    """Whether some order explains these answers, after at most `budget` states."""
    return Search(entries).run(budget)
