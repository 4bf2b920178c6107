"""Places in the order that nobody was told, and the operations that may have taken them.

All increments here are of one size, so that any of them can stand at any place that its time and its ceiling admit:
the places open to it are an interval. Going through the places in order and giving each to the operation whose interval
ends first finds an assignment if there is one (Glover, "Maximum matching in a convex bipartite graph", 1967), and where
there is none it says which place stays empty, and which operation finds none.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import msgspec


class Filler(msgspec.Struct, frozen=True, gc=False):
    """An increment that has no place yet. `index` is its position in the columns."""

    index: int
    first: int
    """The first place that its call came in time for."""
    due: int
    """The last place that its answer came in time for."""
    ceiling: int
    """The last place that its ceiling admits."""
    required: bool
    """Whether it was applied for certain; else it may be left out."""


class Matching(msgspec.Struct):
    """Who took which place, and what did not work out."""

    taken: list[tuple[int, int]]
    """Place and index, in order."""
    empty: list[tuple[int, int]]
    """First and last of places that nobody can have taken."""
    crossed: list[tuple[int, int]]
    """Place and index, where only somebody whose ceiling forbids it can have taken it."""
    missed: list[tuple[int, int]]
    """Index of one that was applied and found no place, and the place where it was looked for in vain."""

    @property
    def complete(self) -> bool:
        return not (self.empty or self.crossed or self.missed)


class _Pool:
    """Those whose first place has come."""

    def __init__(self) -> None:
        self.open: list[tuple[int, bool, int, Filler]] = []
        """By the place at which they end; of those that end together the required one first."""
        self.above: list[tuple[int, int, Filler]] = []
        """Those whose ceiling has been passed, by when they are due."""

    def add(self, filler: Filler) -> None:
        entry = (min(filler.due, filler.ceiling), not filler.required, filler.index, filler)
        heapq.heappush(self.open, entry)

    def take(self, place: int, matching: Matching) -> Filler | None:
        """Whoever takes this place."""
        self._drop(place, matching)
        return heapq.heappop(self.open)[3] if self.open else None

    def take_above(self, place: int) -> Filler | None:
        """Whoever could, if its ceiling were not."""
        while self.above:
            _, _, filler = heapq.heappop(self.above)
            if filler.due >= place:
                return filler
        return None

    def _drop(self, place: int, matching: Matching) -> None:
        while self.open and self.open[0][0] < place:
            _, _, _, filler = heapq.heappop(self.open)
            if filler.due >= place:
                heapq.heappush(self.above, (filler.due, filler.index, filler))
            elif filler.required:
                matching.missed.append((filler.index, filler.due))

    def finish(self, place: int, matching: Matching) -> None:
        """Give places from `place` on, which need nobody, to all that are required."""
        required = sorted(entry for entry in self.open if entry[3].required)
        for _, _, _, filler in required:
            if place > filler.due:
                matching.missed.append((filler.index, filler.due))
            elif place > filler.ceiling:
                matching.crossed.append((place, filler.index))
            else:
                matching.taken.append((place, filler.index))
                place += 1
        for _, _, filler in self.above:
            if filler.required:
                matching.crossed.append((place, filler.index))


def match(holes: Sequence[tuple[int, int]], top: int, fillers: Sequence[Filler]) -> Matching:
    """Fill the holes (first and last place each, in order, all up to `top`), and find places for all that are required.

    Places above `top` are free and need not be filled, but there is no gap between them.
    """
    matching = Matching([], [], [], [])
    waiting = sorted(fillers, key=lambda filler: filler.first, reverse=True)
    pool = _Pool()
    for first, last in holes:
        place = first
        while place <= last:
            while waiting and waiting[-1].first <= place:
                pool.add(waiting.pop())
            filler = pool.take(place, matching)
            if filler is not None:
                matching.taken.append((place, filler.index))
            elif (filler := pool.take_above(place)) is not None:
                matching.crossed.append((place, filler.index))
            else:
                # Nobody before the next one's first place either: that may be far away.
                until = min(last, waiting[-1].first - 1) if waiting else last
                _extend(matching.empty, place, until)
                place = until
            place += 1
    _above(matching, pool, waiting, top + 1)
    return matching


def _above(matching: Matching, pool: _Pool, waiting: list[Filler], place: int) -> None:
    """What is required and has no place yet follows above the top: it is called in time for any place there."""
    pool._drop(place, matching)
    while waiting:
        pool.add(waiting.pop())
    pool._drop(place, matching)
    pool.finish(place, matching)


def _extend(ranges: list[tuple[int, int]], first: int, last: int) -> None:
    if ranges and ranges[-1][1] == first - 1:
        ranges[-1] = (ranges[-1][0], last)
    else:
        ranges.append((first, last))
