"""Histories of increments of one size: there the values themselves are the order.

The counter goes through 1, 2, 3, … times the size, and whoever was told a value took that place. Those who were told
nothing, and those whose outcome is unknown, have to fill the places that are left (`matching`), and reads and
rejections have to find their value at their time (`timeline`). Together that is exact, in O(n log n).
"""

from __future__ import annotations

import msgspec
import numpy as np

from plusone.lab.checker.matching import Filler, Matching, match
from plusone.lab.checker.model import LEGAL, Columns, Decision, Finding, Flags, Integers
from plusone.lab.checker.timeline import Items, contradicts_time, due_at, released_at
from plusone.lab.history.operations import ADD, READ, REJECTED, TELLS_VALUE
from plusone.types import MAX


class Places(msgspec.Struct, frozen=True, eq=False):
    """A history of increments of one size, in units of it. Everything is by position in `columns`."""

    columns: Columns
    size: int
    place: Integers
    """The value that was told, in units; what an increment took, and what an observation saw."""
    ceiling: Integers
    """The last place that an add's ceiling admits."""
    needs: Integers
    """The lowest place at which a rejection is true."""
    took: Flags
    """Applied, and told a value."""
    saw: Flags
    """Reads, and rejections that were told a value."""
    refused: Flags
    """Rejections that were told no value."""
    untold: Flags
    """Applied, and told nothing."""

    def items(self, without: Flags | None = None) -> tuple[Items, Integers]:
        """What has a place in the order, and the position of each in the columns."""
        which = self.took | self.saw
        if without is not None:
            which &= ~without
        columns = self.columns
        items = Items(self.place[which], self.saw[which], columns.called_ns[which], columns.answered_ns[which])
        return items, np.flatnonzero(which)


def is_counting(columns: Columns) -> int | None:
    """The one size of all increments; None if the history is of another form, or tells revisions as well."""
    if columns.tells_revisions:
        return None
    changes = columns.kind != READ
    if not bool((columns.kind[changes] == ADD).all()):
        return None
    amounts = np.unique(columns.amount[changes & ~(columns.result == REJECTED)])
    rises = bool((columns.amount[changes] > 0).all())
    if len(amounts) > 1 or not rises:
        return None
    return int(amounts[0]) if len(amounts) else 1


def places_of(columns: Columns, size: int) -> Places:
    tells = columns.tells(TELLS_VALUE)
    applied = columns.applied
    rejected = columns.result == REJECTED
    # A ceiling below the amount is a negative number of units; their difference must not wrap around.
    room = np.maximum(columns.ceiling, -MAX + columns.amount) - columns.amount
    return Places(
        columns=columns,
        size=size,
        place=columns.value // size,
        ceiling=columns.ceiling // size,
        needs=np.maximum(room // size + 1, 0),
        took=applied & tells,
        saw=columns.observed & tells,
        refused=rejected & ~tells,
        untold=applied & ~tells,
    )


def no_value_of_this_counter(places: Places) -> Flags:
    """Which told a value that a counter of this size never has."""
    told = places.took | places.saw
    value = places.columns.value
    never: Flags = told & ((value % places.size != 0) | (value < 0) | (places.took & (value < places.size)))
    return never


def decide(columns: Columns, size: int) -> Decision:
    places = places_of(columns, size)
    if no_value_of_this_counter(places).any():
        position = int(np.flatnonzero(no_value_of_this_counter(places))[0])
        return _illegal(columns, "wrong value", "told a value that the counter cannot have", position)
    items = timed_items(places)
    late = contradicts_time(items)
    if late.any():
        position = int(places.items()[1][np.flatnonzero(late)[0]])
        return _illegal(
            columns, "order reversed", "was called after something of a higher value was answered", position
        )
    taken = np.sort(places.place[places.took])
    if (taken[1:] == taken[:-1]).any():
        value = int(taken[1:][taken[1:] == taken[:-1]][0])
        several = np.flatnonzero(places.took & (places.place == value)).tolist()
        return _illegal(columns, "duplicate value", f"were told {value * size}", *several)
    matching = fill(places, taken, items)
    if matching is None:
        return LEGAL
    if not matching.complete:
        return _illegal(columns, "wrong value", "cannot be explained", *_blamed(matching))
    if _inverted(places, matching):
        return Decision(None, "adds of several ceilings were told nothing, and may stand in for one another")
    return LEGAL


def timed_items(places: Places, without: Flags | None = None) -> Items:
    """All items, and the rejections that tell no value: each wants a state that rejects, by the time of its answer."""
    items, _ = places.items(without)
    refused = places.refused if without is None else places.refused & ~without
    if not refused.any():
        return items
    count = int(refused.sum())
    # That it was called late says nothing about the places above: it may have been rejected at any later state.
    return Items(
        np.concatenate((items.key, places.needs[refused])),
        np.concatenate((items.observes, np.ones(count, dtype=np.bool_))),
        np.concatenate((items.called_ns, np.full(count, np.iinfo(np.int64).min))),
        np.concatenate((items.answered_ns, places.columns.answered_ns[refused])),
    )


def fill(places: Places, taken: Integers, items: Items, without: Flags | None = None) -> Matching | None:
    """Fill the places that nobody was told; None where there is nothing to fill and nobody who has to."""
    columns = places.columns
    top = int(items.key.max()) if len(items.key) else 0
    loose = places.untold | columns.unknown
    if without is not None:
        loose &= ~without
    holes = holes_of(taken, top)
    if not holes and not (places.untold & loose).any():
        return None
    positions = np.flatnonzero(loose)
    fillers = map(
        Filler,
        positions.tolist(),
        released_at(items, columns.called_ns[loose]).tolist(),
        due_at(items, columns.answered_ns[loose]).tolist(),
        places.ceiling[loose].tolist(),
        places.untold[loose].tolist(),
    )
    return match(holes, top, list(fillers))


def holes_of(taken: Integers, top: int) -> list[tuple[int, int]]:
    """First and last of each stretch of places, up to `top`, that nobody was told; `taken` is sorted."""
    edges = np.concatenate(([0], taken, [top + 1]))
    gaps = np.flatnonzero(edges[1:] - edges[:-1] > 1)
    return list(zip((edges[gaps] + 1).tolist(), (edges[gaps + 1] - 1).tolist(), strict=True))


def _inverted(places: Places, matching: Matching) -> bool:
    """Whether fillers of different ceilings came to stand against the order of their times.

    Those of one ceiling can always change places; that is why they are not looked at here.
    """
    indices = np.array([index for _, index in sorted(matching.taken)], dtype=np.int64)
    if len(np.unique(places.ceiling[indices])) < 2:
        return False
    answered = places.columns.answered_ns[indices]
    behind = np.minimum.accumulate(answered[::-1])[::-1]
    return bool((behind[1:] < places.columns.called_ns[indices][:-1]).any())


def _blamed(matching: Matching) -> list[int]:
    return [index for index, _ in matching.missed[:1]] + [index for _, index in matching.crossed[:1]]


def _illegal(columns: Columns, kind: str, sentence: str, *positions: int) -> Decision:
    finding = msgspec.convert({"kind": kind, "sentence": sentence, "indices": positions}, Finding)
    return Decision(False, finding=finding)
