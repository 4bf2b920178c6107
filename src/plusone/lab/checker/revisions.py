"""Histories whose order is told: by revisions, or by values that only rise.

Each applied operation takes the counter from one key to another: from its revision less one to its revision, or, where
all operations are adds of positive amounts that tell their values, from the value before to the value after. So they
form a chain. Each must begin where the one before it ended, in key and in value; what is missing in the chain must be
what unknown operations did (`filling`); and the order must not contradict the times (`timeline`). O(n log n).
"""

from __future__ import annotations

from bisect import bisect_left

import msgspec
import numpy as np

from plusone.lab.checker.filling import Asked, Gap, explain
from plusone.lab.checker.model import LEGAL, Columns, Decision, Finding, Flags, Integers, rejects
from plusone.lab.checker.timeline import Items, contradicts_time, due_at, released_at
from plusone.lab.history.operations import ADD, READ, TELLS_PREVIOUS, TELLS_REVISION, TELLS_VALUE
from plusone.lab.results import Violation


class Chain(msgspec.Struct, frozen=True, eq=False):
    """Applied operations in the order that they were told, and observations that were told where they belong."""

    columns: Columns
    by_revision: bool
    """Whether the keys are revisions; else they are values."""
    links: Integers
    """Positions of the applied operations, by the key that they lead to."""
    begin: Integers
    """For each link the key that it starts from."""
    end: Integers
    """For each link the key that it leads to."""
    seen: Integers
    """Positions of the observations with a key, by key."""
    seen_at: Integers
    """Their keys."""
    loose: Integers
    """Positions of the observations without a key."""

    def items(self) -> tuple[Items, Integers]:
        positions = np.concatenate((self.links, self.seen))
        observes = np.zeros(len(positions), dtype=np.bool_)
        observes[len(self.links) :] = True
        keys = np.concatenate((self.end, self.seen_at))
        columns = self.columns
        return Items(keys, observes, columns.called_ns[positions], columns.answered_ns[positions]), positions


def is_by_revision(columns: Columns) -> bool:
    """Whether revisions were told, and every applied operation told its own, and its value."""
    if not columns.tells_revisions:
        return False
    told = columns.told[columns.applied] & (TELLS_REVISION | TELLS_VALUE)
    return bool((told == TELLS_REVISION | TELLS_VALUE).all())


def is_by_value(columns: Columns) -> bool:
    """Whether all changes are adds of positive amounts that told their values, and nobody told a revision."""
    if columns.tells_revisions:
        return False
    changes = columns.kind != READ
    if not bool((columns.kind[changes] == ADD).all() and (columns.amount[changes] > 0).all()):
        return False
    applied = columns.applied
    return bool(applied.any() and (columns.told[applied] & TELLS_VALUE).all())


def chain_of(columns: Columns, *, by_revision: bool) -> Chain:
    applied = np.flatnonzero(columns.applied)
    end = (columns.revision if by_revision else columns.value)[applied]
    order = np.argsort(end, kind="stable")
    links, end = applied[order], end[order]
    begin = end - 1 if by_revision else columns.previous[links]
    observed = columns.observed
    keyed = observed & columns.tells(TELLS_REVISION if by_revision else TELLS_VALUE)
    seen = np.flatnonzero(keyed)
    seen_at = (columns.revision if by_revision else columns.value)[seen]
    order = np.argsort(seen_at, kind="stable")
    loose = np.flatnonzero(observed & ~keyed)
    return Chain(columns, by_revision, links, begin, end, seen[order], seen_at[order], loose)


def decide(columns: Columns, budget: int, *, by_revision: bool) -> Decision:
    chain = chain_of(columns, by_revision=by_revision)
    if broken := _first_broken(chain) or _first_false_observation(chain):
        return broken
    missing = gaps(chain)
    unknown = columns.unknown
    if missing:
        word = explain(missing, asked_of(columns), budget)
        if word == "undecided":
            return Decision(None, "which unknown operations filled the gaps was not found within the budget")
        if word == "illegal":
            return _illegal("phantom increment", "is behind a gap that no unknown operation explains")
    if not len(chain.loose):
        return LEGAL
    if not missing and _all_loose_fit(chain):
        return LEGAL
    if missing or unknown.any():
        return Decision(None, "observations without a place depend on which unknown operations filled the gaps")
    return _illegal("stale read", "saw no state of its time", int(chain.loose[0]))


def asked_of(columns: Columns) -> list[Asked]:
    which = columns.unknown
    lists = columns.kind, columns.amount, columns.ceiling, columns.floor, columns.called_ns
    return list(map(Asked, np.flatnonzero(which).tolist(), *(column[which].tolist() for column in lists)))


def _first_broken(chain: Chain) -> Decision | None:
    """What contradicts the order by itself; None if nothing does."""
    begin, end = chain.begin, chain.end
    if (begin < 0).any():
        return _illegal("wrong value", "begins before the counter did", int(chain.links[0]))
    if (chain.seen_at < 0).any():
        return _illegal("wrong value", "saw what was before the counter", int(chain.seen[0]))
    overlapping = np.flatnonzero(begin[1:] < end[:-1])
    if len(overlapping):
        return _illegal("duplicate value", "were told the same place", *_two(chain, int(overlapping[0])))
    items, positions = chain.items()
    late = contradicts_time(items)
    if late.any():
        return _illegal("order reversed", "was called after a later one was answered", int(positions[late][0]))
    differing = differing_links(chain)
    if len(differing):
        first = int(differing[0])
        return _illegal("wrong value", "do not follow one another", *(_two(chain, first - 1) if first else (first,)))
    return None


def differing_links(chain: Chain) -> Integers:
    """Which links begin with another value than the one before them ended with."""
    before, after, tells = values_around(chain)
    ended = np.concatenate((np.zeros(1, dtype=np.int64), after[:-1]))
    adjoins = chain.begin == np.concatenate((np.zeros(1, dtype=np.int64), chain.end[:-1]))[: len(chain.begin)]
    return np.flatnonzero(adjoins & tells & (before != ended[: len(before)]))


def values_around(chain: Chain) -> tuple[Integers, Integers, Flags]:
    """For each link the value before it, the value after it, and whether the former was told: a set may not."""
    columns, links = chain.columns, chain.links
    return columns.previous[links], columns.value[links], columns.tells(TELLS_PREVIOUS)[links]


def states_seen(chain: Chain) -> tuple[Integers, Flags, Flags]:
    """For each observation the value at its key, whether links tell it, and whether it is inside of a link."""
    before, after, tells = values_around(chain)
    keys = chain.seen_at
    state = np.zeros(len(keys), dtype=np.int64)
    known = keys == 0
    if not len(chain.end):
        return state, known, np.zeros(len(keys), dtype=np.bool_)
    at = np.minimum(np.searchsorted(chain.end, keys, side="left"), len(chain.end) - 1)
    starts = (chain.begin[at] == keys) & tells[at] & ~known
    ends = chain.end[at] == keys
    inside = (chain.begin[at] < keys) & (keys < chain.end[at])
    state = np.where(ends, after[at], np.where(starts, before[at], state))
    return state, known | starts | ends, inside


def _first_false_observation(chain: Chain) -> Decision | None:
    """An observation that does not fit the state at its key."""
    if not len(chain.seen):
        return None
    columns = chain.columns
    state, known, inside = states_seen(chain)
    tells = columns.tells(TELLS_VALUE)[chain.seen]
    false = inside | (known & tells & (columns.value[chain.seen] != state))
    # Of two that saw the same missing state, both cannot be right.
    same = np.concatenate((np.zeros(1, dtype=np.bool_), chain.seen_at[1:] == chain.seen_at[:-1]))
    value = columns.value[chain.seen]
    false |= same & tells & np.concatenate((tells[:1], tells[:-1])) & (value != np.concatenate((value[:1], value[:-1])))
    if false.any():
        return _illegal("wrong value", "saw a value that was not there", int(chain.seen[np.flatnonzero(false)[0]]))
    for number in np.flatnonzero(~tells).tolist():
        position = int(chain.seen[number])
        if not known[number]:
            return Decision(None, "a rejection without a value belongs to a state that nobody told")
        if not _rejected_at(columns, position, int(state[number])):
            return _illegal("false rejection", "was rejected at a value that admitted it", position)
    return None


def gaps(chain: Chain) -> list[Gap]:
    """What is missing, in order, divided where an observation tells the value in between."""
    before, after, tells = values_around(chain)
    ended = np.concatenate((np.zeros(1, dtype=np.int64), chain.end))
    _, known, inside = states_seen(chain)
    between = ~known & ~inside & chain.columns.tells(TELLS_VALUE)[chain.seen]
    points = [
        (key, value, True)
        for key, value in zip(
            chain.seen_at[between].tolist(), chain.columns.value[chain.seen[between]].tolist(), strict=True
        )
    ]
    holes = np.flatnonzero(chain.begin > ended[:-1])
    behind = zip(chain.begin[holes].tolist(), before[holes].tolist(), tells[holes].tolist(), strict=True)
    points = sorted({*points, *behind})
    if not points:
        return []
    starts = np.searchsorted(chain.end, np.array([key for key, _, _ in points]), side="left")
    values = np.concatenate((np.zeros(1, dtype=np.int64), after))
    items, _ = chain.items()
    order = np.argsort(items.key, kind="stable")
    keys = items.key[order]
    earliest = np.append(np.minimum.accumulate(items.answered_ns[order][::-1])[::-1], np.iinfo(np.int64).max)
    found: list[Gap] = []
    reached: tuple[int, int | None] = (-1, None)
    for (key, value, told), link in zip(points, starts.tolist(), strict=True):
        start, start_value = int(ended[link]), int(values[link])
        if reached[0] > start and reached[1] is not None:
            start, start_value = reached[0], reached[1]
        if key <= start:
            continue
        deadline = int(earliest[np.searchsorted(keys, start, side="right")])
        count = key - start if chain.by_revision else None
        found.append(Gap(start, count, start_value, value if told else None, deadline))
        reached = key, value if told else None
    return found


def _all_loose_fit(chain: Chain) -> bool:
    """Whether every observation without a key finds a state of its time; there are no gaps.

    Those that were answered first go first, each to the first state that fits, no earlier than those before it. What
    is left to the others is then as much as can be.
    """
    columns, loose = chain.columns, chain.loose
    items, _ = chain.items()
    loose = loose[np.argsort(columns.answered_ns[loose], kind="stable")]
    earliest = np.searchsorted(chain.end, released_at(items, columns.called_ns[loose]) - 1, side="right").tolist()
    latest = np.searchsorted(chain.end, due_at(items, columns.answered_ns[loose]), side="right").tolist()
    states = [0, *columns.value[chain.links].tolist()]
    answered: list[int] = []
    reached: list[int] = []
    for position, first, last in zip(loose.tolist(), earliest, latest, strict=True):
        before = bisect_left(answered, int(columns.called_ns[position]))
        first = max(first, reached[before - 1] if before else 0)
        found = next((at for at in range(first, last + 1) if _fits(columns, position, states[at])), None)
        if found is None:
            return False
        answered.append(int(columns.answered_ns[position]))
        reached.append(max(found, reached[-1] if reached else 0))
    return True


def _fits(columns: Columns, position: int, state: int) -> bool:
    if columns.told[position] & TELLS_VALUE and columns.value[position] != state:
        return False
    return columns.kind[position] == READ or _rejected_at(columns, position, state)


def _rejected_at(columns: Columns, position: int, state: int) -> bool:
    return rejects(state, int(columns.amount[position]), int(columns.ceiling[position]), int(columns.floor[position]))


def _two(chain: Chain, number: int) -> tuple[int, int]:
    return int(chain.links[number]), int(chain.links[number + 1])


def _illegal(kind: Violation, sentence: str, *positions: int) -> Decision:
    return Decision(False, finding=Finding(kind, sentence, positions))
