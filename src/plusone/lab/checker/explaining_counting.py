"""What is wrong with a history of increments of one size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plusone.lab.checker import counting
from plusone.lab.checker.explaining import SHOWN_MAX, Explanation, bounds_of
from plusone.lab.checker.matching import Matching
from plusone.lab.checker.model import Columns, Finding, Integers
from plusone.lab.checker.order import Loss
from plusone.lab.history.operations import REJECTED


def explain(columns: Columns, size: int, numbers: Sequence[int], failures_ns: Sequence[int]) -> list[Finding]:
    return _Counting(columns, size, numbers, failures_ns).run()


class _Counting(Explanation):
    def __init__(self, columns: Columns, size: int, numbers: Sequence[int], failures_ns: Sequence[int]) -> None:
        super().__init__(columns, numbers, failures_ns)
        self.size = size
        self.places = counting.places_of(self.columns, size)
        self.bounds = bounds_of(self.columns)

    def run(self) -> list[Finding]:
        for position in np.flatnonzero(counting.no_value_of_this_counter(self.places)).tolist():
            value = int(self.columns.value[position])
            self.blame("wrong value", f"{self.name(position)} was told {value}, which no order leads to", position)
        self._rejected_too_early()
        self._seen_too_much()
        if self.places.untold.any():
            self._stale_by_count()
        taken = np.sort(self.places.place[self.places.took & ~self.without])
        items, positions = self.places.items(self.without)
        begin = np.where(items.observes, items.key, items.key - 1)
        spots = self.spots(positions, begin, items.key)
        order = self.follow(spots, self._say, lambda spot, peak: False, one_each=True)
        if not order.losses.all:
            self._rejected_below()
        # The places of those that were told them stay theirs, whatever the times say, unless several were told one.
        occupied = np.unique(np.array(order.used, dtype=np.int64) if order.used else taken)
        timed = counting.timed_items(self.places, self.without)
        matching = counting.fill(self.places, occupied, timed, self.without)
        if matching is not None:
            self._unfilled(matching, order.losses.all)
        for finding in order.losses.findings():
            self.note(finding.kind, finding.sentence, *finding.indices)
        return self.findings

    def _say(self, place: int) -> str:
        return str(place * self.size)

    # Rejections.

    def _rejected_too_early(self) -> None:
        """Even if all that had been asked for by then had been applied, the counter was too low to reject it."""
        short = self.places.refused & (self.bounds.most < self.places.needs)
        for position in np.flatnonzero(short).tolist():
            most = int(self.bounds.most[position])
            self._reject(position, f"when it was answered, only {most} increments had been asked for")

    def _rejected_below(self) -> None:
        """Something that was called later was told less than what would have rejected it."""
        items, positions = self.places.items(self.without)
        order = np.argsort(items.called_ns, kind="stable")
        below = np.where(items.observes, items.key, items.key - 1)[order]
        for position in np.flatnonzero(self.places.refused & ~self.without).tolist():
            first = int(np.searchsorted(items.called_ns[order], self.columns.answered_ns[position], side="right"))
            if first < len(below) and below[first:].min() < self.places.needs[position]:
                witness = int(positions[order][first + int(below[first:].argmin())])
                told = self._say(int(self.places.place[witness]))
                self._reject(position, f"{self.name(witness)}, which was called later, was told {told}", witness)

    def _reject(self, position: int, why: str, *witnesses: int) -> None:
        ceiling, amount = int(self.columns.ceiling[position]), int(self.columns.amount[position])
        sentence = f"{self.name(position)} was rejected at the ceiling {ceiling} when it added {amount}, but {why}"
        self.blame("false rejection", sentence, *witnesses, position)

    # Reads.

    def _seen_too_much(self) -> None:
        """Saw more than had been asked for, and somebody later saw less: so it was never there."""
        places = self.places
        saw = np.flatnonzero(places.saw & ~self.without)
        if not len(saw) or not (places.place[saw] > self.bounds.most[saw]).any():
            return
        later = _least_later(self.columns.called_ns[saw], places.place[saw], self.columns.answered_ns[saw])
        for position, lowest in zip(saw.tolist(), later.tolist(), strict=True):
            place, most = int(places.place[position]), int(self.bounds.most[position])
            if place > most and lowest < place:
                sentence = f"{self.name(position)} saw {self._say(place)}, when {self._say(most)} had been asked for"
                self.blame("wrong value", sentence, position)

    def _stale_by_count(self) -> None:
        """Saw less than had been acknowledged, and more of it is there later than could be if that had been lost.

        What is lost stays lost: a later read that misses less than this one, of all that was asked for by then, shows
        that this one did not see what was there.
        """
        places, bounds = self.places, self.bounds
        told = np.flatnonzero((places.saw | places.took) & ~self.without)
        missing = bounds.least[told] - places.place[told] + places.took[told]
        allowed = bounds.most[told] - places.place[told]
        later = _least_later(self.columns.called_ns[told], allowed, self.columns.answered_ns[told])
        stale = (missing > 0) & places.saw[told] & (missing > later)
        for position in told[stale].tolist():
            least = self._say(int(bounds.least[position]))
            sentence = (
                f"{self.name(position)} saw {self._say(int(places.place[position]))}, but was called when"
                f" {least} had been acknowledged, which later operations saw"
            )
            self.blame("stale read", sentence, *self._acknowledged_before(position), position)

    def _acknowledged_before(self, position: int) -> list[int]:
        """The last of those that were acknowledged before this one was called, one more than it saw if that is few."""
        before = np.flatnonzero(self.columns.applied & (self.columns.answered_ns < self.columns.called_ns[position]))
        wanted = min(SHOWN_MAX - 1, int(self.places.place[position]) + 1)
        last = before[np.argsort(self.columns.answered_ns[before], kind="stable")][-wanted:]
        return [int(position) for position in last]

    # Places that nobody was told.

    def _unfilled(self, matching: Matching, losses: list[Loss]) -> None:
        for first, last in matching.empty:
            for place in range(first, min(last, first + SHOWN_MAX) + 1):
                self._note_empty(place)
        for place, position in matching.crossed:
            sentence = (
                f"{self.name(position)} was applied with the ceiling {self.columns.ceiling[position]}, and only the"
                f" place from {self._say(place - 1)} to {self._say(place)} is left for it"
            )
            self.note("bound crossed", sentence, position)
        for position, _ in matching.missed:
            losses.append(self._missed(position))

    def _note_empty(self, place: int) -> None:
        """Nobody can have taken this place by the time that somebody was told it, or a higher one."""
        columns, places = self.columns, self.places
        reached = ((places.took | places.saw) & (places.place >= place)) & ~self.without
        refused = places.refused & (places.needs >= place) & ~self.without
        positions = np.flatnonzero(reached | refused)
        if not len(positions):
            return
        first = int(positions[columns.answered_ns[positions].argmin()])
        if columns.result[first] == REJECTED and refused[first]:
            self._reject(first, f"nobody can have brought it to {self._say(place)} by then")
            return
        below = np.flatnonzero((places.took | places.saw) & (places.place < place) & ~self.without)
        witness = [int(below[places.place[below].argmax()])] if len(below) else []
        told = self._say(int(places.place[first]))
        sentence = (
            f"{self.name(first)} was told {told}, but nobody can have brought the counter from"
            f" {self._say(place - 1)} to {self._say(place)} by then: it rose by more than was asked for"
        )
        self.note("phantom increment", sentence, *witness, first)

    def _missed(self, position: int) -> Loss:
        """An increment was acknowledged, and what was told later leaves no place for it."""
        columns, places = self.columns, self.places
        later = (places.took | places.saw) & ~self.without & (columns.called_ns > columns.answered_ns[position])
        told = np.flatnonzero(later)
        limit = np.where(places.saw, places.place, places.place - 1)[told]
        witness = int(told[limit.argmin()])
        before = self._acknowledged_before(witness)
        count = int((columns.applied & (columns.answered_ns < columns.called_ns[witness])).sum())
        sentence = (
            f"{self.name(witness)} was told {self._say(int(places.place[witness]))}, although {count} increments of"
            f" {self.size} had been acknowledged before it was called"
        )
        # Which one it was, and so when, nobody can say.
        end_ns = int(columns.answered_ns[witness])
        return Loss(sentence, (*before, witness), 0, end_ns, overlapping=False, alone=True)


def _least_later(called_ns: Integers, worth: Integers, after_ns: Integers) -> Integers:
    """For each time the least worth among those that were called after it; 2^63 - 1 if none was."""
    order = np.argsort(called_ns, kind="stable")
    least = np.minimum.accumulate(worth[order][::-1])[::-1]
    return np.append(least, np.iinfo(np.int64).max)[np.searchsorted(called_ns[order], after_ns, side="right")]
