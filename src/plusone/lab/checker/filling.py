"""What is missing in a chain of operations, and which unknown operations may have done it.

An unknown operation can have been in a gap if it was called before anything behind the gap was answered; what can have
been in one gap can have been in every later one. So, as long as all unknown operations ask for the same, counting
decides. Otherwise a search does: its state is the gap, the value, and how many of each group have been used, of which
the earliest called go first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from plusone.lab.checker.model import step
from plusone.lab.history.operations import ADD

Word: TypeAlias = Literal["legal", "illegal", "undecided"]


class Gap(msgspec.Struct, frozen=True, gc=False):
    """A stretch of the chain that nobody was told of."""

    after: int
    """The key that it begins behind."""
    count: int | None
    """How many operations are missing; None where only the values are known."""
    start: int
    """The value before it."""
    target: int | None
    """The value behind it; None if nobody told."""
    deadline_ns: int
    """When the first answer came of anything behind it."""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """An unknown operation; `index` is its position in the columns."""

    index: int
    kind: int
    amount: int
    ceiling: int
    floor: int
    called_ns: int


def explain(gaps: Sequence[Gap], asked: Sequence[Asked], budget: int) -> Word:
    """Whether unknown operations explain all gaps, which come in order."""
    short = shortage(gaps, asked)
    if short is not None:
        return "illegal" if any(short) else "legal"
    return _search(gaps, asked, budget)


def shortage(gaps: Sequence[Gap], asked: Sequence[Asked]) -> list[int] | None:
    """For each gap how many operations it lacks; None where counting does not decide."""
    if len({(one.kind, one.amount) for one in asked}) > 1 or (asked and asked[0].kind != ADD):
        return None
    amount = asked[0].amount if asked else 1
    ceiling = min((one.ceiling for one in asked), default=0)
    floor = max((one.floor for one in asked), default=0)
    calls = sorted(one.called_ns for one in asked)
    used = 0
    lacking: list[int] = []
    for gap in gaps:
        needed = _needed(gap, amount) if asked else (gap.count or 1)
        if needed is None:
            return None
        reached = gap.start + needed * amount
        if asked and needed and not (reached <= ceiling if amount > 0 else reached >= floor):
            return None
        taken = max(0, min(needed, bisect_right(calls, gap.deadline_ns) - used))
        used += taken
        lacking.append(needed - taken)
    return lacking


def _needed(gap: Gap, amount: int) -> int | None:
    """How many adds of this amount fill the gap; None if no number of them does."""
    if gap.target is None:
        return gap.count
    if amount == 0:
        return gap.count if gap.target == gap.start else None
    needed, rest = divmod(gap.target - gap.start, amount)
    if rest or needed < 1 or gap.count not in (None, needed):
        return None
    return needed


_State: TypeAlias = tuple[int, int, int, tuple[int, ...]]
"""The gap, how many operations are in it so far, the value, and how many of each group have been used."""


def _search(gaps: Sequence[Gap], asked: Sequence[Asked], budget: int) -> Word:
    groups: dict[tuple[int, int, int, int], list[int]] = {}
    for one in asked:
        groups.setdefault((one.kind, one.amount, one.ceiling, one.floor), []).append(one.called_ns)
    ordered = [(*what, sorted(calls)) for what, calls in sorted(groups.items())]
    start: _State = (0, 0, gaps[0].start, (0,) * len(ordered))
    stack, seen = [start], {start}
    while stack:
        budget -= 1
        if budget < 0:
            return "undecided"
        number, done, value, used = stack.pop()
        gap = gaps[number]
        if gap.count in (None, done) and gap.target in (None, value) and done:
            if number + 1 == len(gaps):
                return "legal"
            following: Iterator[_State] = iter([(number + 1, 0, gaps[number + 1].start, used)])
        elif gap.count is not None and done == gap.count:
            continue
        else:
            following = _one_more(gap, (number, done, value, used), ordered)
        for state in following:
            if state not in seen:
                seen.add(state)
                stack.append(state)
    return "illegal"


def _one_more(gap: Gap, state: _State, groups: Sequence[tuple[int, int, int, int, list[int]]]) -> Iterator[_State]:
    number, done, value, used = state
    for group, (kind, amount, ceiling, floor, calls) in enumerate(groups):
        count = used[group]
        if count == len(calls) or calls[count] > gap.deadline_ns:
            continue
        after = step(value, kind, amount, ceiling, floor)
        if after is None or (gap.count is None and gap.target is not None and after > gap.target):
            continue
        yield number, done + 1, after, (*used[:group], count + 1, *used[group + 1 :])
