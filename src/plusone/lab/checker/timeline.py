"""An order of operations against the times at which they were called and answered.

Whatever was answered before something else was called happened before it. An order contradicts that if and only if
some operation comes later in it than another one that was called only after its answer: a maximum over all that comes
before, or a minimum over all that comes behind, finds every such pair without looking at pairs.
"""

from __future__ import annotations

import msgspec
import numpy as np

from plusone.lab.checker.model import Flags, Integers


class Items(msgspec.Struct, frozen=True, eq=False):
    """Operations that have a place in the order, in no particular sequence.

    An applied operation at `key` takes the counter from the state before to the state `key`; an observation at `key`
    saw that state.
    """

    key: Integers
    observes: Flags
    called_ns: Integers
    answered_ns: Integers


def contradicts_time(items: Items) -> Flags:
    """For each item, whether something that has its place behind it was answered before it was called."""
    order, group = _groups(items)
    answered, called = items.answered_ns[order], items.called_ns[order]
    behind = np.minimum.accumulate(answered[::-1])[::-1]
    # Observations of one state have no order among themselves: what counts begins with the next group.
    following = np.append(np.flatnonzero(np.diff(group)) + 1, len(order))[group]
    earliest = np.append(behind, np.iinfo(np.int64).max)[following]
    result = np.zeros(len(order), dtype=np.bool_)
    result[order] = earliest < called
    return result


def _groups(items: Items) -> tuple[Integers, Integers]:
    """The items in order, and for each of them in that order the number of its state."""
    # 2 key + 1 does not fit in a signed integer at the end of 64 bits; keys are not negative.
    place = items.key.astype(np.uint64) * np.uint64(2) + items.observes
    order = np.argsort(place, kind="stable")
    place = place[order]
    group = np.zeros(len(order), dtype=np.int64)
    np.cumsum(place[1:] != place[:-1], out=group[1:])
    return order, group


def released_at(items: Items, called_ns: Integers) -> Integers:
    """For operations that have no place yet: the first key that one called at this time may take."""
    order = np.argsort(items.answered_ns, kind="stable")
    highest = np.maximum.accumulate(items.key[order])
    before = np.searchsorted(items.answered_ns[order], called_ns, side="left")
    return np.concatenate(([0], highest))[before] + 1


def due_at(items: Items, answered_ns: Integers) -> Integers:
    """The last key that one answered at this time may take."""
    order = np.argsort(items.called_ns, kind="stable")
    # In front of an applied operation, or in front of the observation of that very state.
    last = np.where(items.observes, items.key, items.key - 1)[order]
    lowest = np.minimum.accumulate(last[::-1])[::-1]
    behind = np.searchsorted(items.called_ns[order], answered_ns, side="right")
    return np.append(lowest, np.iinfo(np.int64).max)[behind]
