"""What is wrong with an order that was told: which answers contradict it, and what each contradiction is called.

Here the operations are known to have places, and the places to contradict one another. What is looked for is the
mildest defect that explains it. Two increments that were told one value are a duplicate; if no place below is missing
that one of them can have taken in truth, an update was lost as well. If later operations count from below what had been
acknowledged, and go on from there, the counter fell back: everything above was lost. A read below, after which the
counter goes on from above, was stale.

A store that loses updates all the time needs no failover to explain those that it lost next to one, and one that lost
most of them in a failover is not said to lose updates: what losses are called is decided from all of them (`Losses`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import msgspec

from plusone.lab.checker.matching import Filler, match
from plusone.lab.checker.model import Finding
from plusone.lab.results import Violation


class Spot(msgspec.Struct, frozen=True, gc=False):
    """An operation with a place. `index` is its position in the columns."""

    index: int
    number: int
    """What the history calls it."""
    begin: int
    """The key before it; of an observation the key that it saw."""
    end: int
    observes: bool
    reads: bool
    called_ns: int
    answered_ns: int

    @property
    def name(self) -> str:
        return f"#{self.number}"


class Loss(msgspec.Struct, frozen=True, gc=False):
    """Something acknowledged that was gone when something else was told."""

    sentence: str
    indices: tuple[int, ...]
    begin_ns: int
    end_ns: int
    overlapping: bool
    """Whether the two were under way at the same time."""
    alone: bool
    """Whether nothing else counts from below."""


class Losses:
    """All losses of one counter, and what they are called."""

    def __init__(self, failures_ns: Sequence[int]) -> None:
        self.failures_ns = failures_ns
        """When something befell the servers that may lose what they acknowledged; sorted."""
        self.all: list[Loss] = []

    def findings(self) -> list[Finding]:
        failed = sum(map(self._in_a_failure, self.all))
        everyday = (
            any(loss.overlapping or loss.alone for loss in self.all) if not failed else 2 * failed < len(self.all)
        )
        kind: Violation = "lost update" if everyday else "lost after acknowledgement"
        return [Finding(kind, loss.sentence, loss.indices) for loss in self.all]

    def _in_a_failure(self, loss: Loss) -> bool:
        return self.failed_between(loss.begin_ns, loss.end_ns)

    def failed_between(self, begin_ns: int, end_ns: int) -> bool:
        first = bisect_left(self.failures_ns, begin_ns)
        return first < len(self.failures_ns) and self.failures_ns[first] <= end_ns


class _Highest:
    """The highest item among those that were answered before some time."""

    def __init__(self, spots: Iterable[Spot]) -> None:
        self.answered: list[int] = []
        self.spots: list[Spot] = []
        for spot in sorted(spots, key=lambda spot: spot.answered_ns):
            self.answered.append(spot.answered_ns)
            highest = self.spots[-1] if self.spots and self.spots[-1].end >= spot.end else spot
            self.spots.append(highest)

    def before(self, time_ns: int) -> Spot | None:
        count = bisect_left(self.answered, time_ns)
        return self.spots[count - 1] if count else None


class _Later:
    """The item with the least, or the greatest, of something among those that were called after some time."""

    def __init__(self, spots: Iterable[Spot], worth: Callable[[Spot], int]) -> None:
        self.called: list[int] = []
        self.least: list[Spot] = []
        ordered = sorted(spots, key=lambda spot: spot.called_ns, reverse=True)
        for spot in ordered:
            self.called.append(spot.called_ns)
            self.least.append(self.least[-1] if self.least and worth(self.least[-1]) <= worth(spot) else spot)
        self.called.reverse()
        self.least.reverse()

    def after(self, time_ns: int) -> Spot | None:
        first = bisect_right(self.called, time_ns)
        return self.least[first] if first < len(self.least) else None


def _fillers(takers: Iterable[Spot], highest: _Highest) -> list[Filler]:
    """Each may have a place above what was told before it was called, up to what it was told itself."""
    fillers: list[Filler] = []
    for spot in takers:
        peak = highest.before(spot.called_ns)
        fillers.append(Filler(spot.index, (peak.end if peak else 0) + 1, spot.end, spot.end, True))
    return fillers


class Order:
    """The places of one counter, and what contradicts them. `say` puts a key into words."""

    def __init__(
        self,
        spots: Sequence[Spot],
        failures_ns: Sequence[int],
        say: Callable[[int], str],
        admitted: Callable[[Spot, Spot], bool],
        *,
        one_each: bool,
    ) -> None:
        self.takers = [spot for spot in spots if not spot.observes]
        self.seers = [spot for spot in spots if spot.observes]
        self.say = say
        self.one_each = one_each
        """Whether each operation takes one place; else sizes differ."""
        self.admitted = admitted
        """Whether the first, a rejection, would have been applied in the state that the second one left or saw."""
        self.findings: list[Finding] = []
        self.losses = Losses(failures_ns)
        self.excused: set[int] = set()
        """Positions of those whose times say nothing about the others any more."""
        self.gone: set[int] = set()
        """Positions of those of them whose place somebody else has, or nobody any more."""
        self.used: list[int] = []
        """If places were told twice: those that somebody can have had."""

    def explain(self) -> None:
        """Fill `findings`, `losses`, `excused`, `gone` and `used`."""
        groups: dict[int, list[Spot]] = {}
        for spot in sorted(self.takers, key=lambda spot: spot.answered_ns):
            groups.setdefault(spot.end, []).append(spot)
        repeated = {end: group for end, group in groups.items() if len(group) > 1}
        self._fallen(repeated)
        remaining = [[spot for spot in group if spot.index not in self.gone] for group in repeated.values()]
        remaining = [group for group in remaining if len(group) > 1]
        for group in remaining:
            self._duplicates(group)
        if remaining:
            self._share_places() if self.one_each else self._lose_repeated(remaining)
        self._overlapping()
        self.excused |= self.gone
        self._low()

    # What was told twice.

    def _fallen(self, repeated: dict[int, list[Spot]]) -> None:
        """Excuse those that were acknowledged before the counter fell back below them and went on from there."""
        highest = _Highest((*self.takers, *self.seers))
        repeats = [spot for group in repeated.values() for spot in group[1:]]
        falling = _Later(repeats, lambda spot: spot.end)
        others = _Later(self.takers, lambda spot: spot.begin)
        lasting = [spot for spot in repeats if not self._is_alone(spot, highest, falling, others)]
        lowest = _Later(lasting, lambda spot: spot.end)
        for spot in self.takers:
            after = lowest.after(spot.answered_ns)
            if after is not None and after.end <= spot.end:
                self.gone.add(spot.index)
                self._lose(
                    f"{spot.name} was acknowledged with {self.say(spot.end)}; {after.name}, which was called after"
                    f" that, was told {self.say(after.end)}, and later operations counted on from there",
                    spot,
                    after,
                )

    def _is_alone(self, spot: Spot, highest: _Highest, falling: _Later, others: _Later) -> bool:
        """Whether this is the only one below what had been acknowledged, and all after it count from above."""
        peak = highest.before(spot.called_ns)
        if peak is None or peak.end < spot.end:
            return True
        companion = falling.after(peak.answered_ns)
        if companion is not None and companion is not spot and companion.end <= peak.end:
            return False
        following = others.after(spot.answered_ns)
        return following is not None and following.begin >= peak.end

    def _duplicates(self, group: Sequence[Spot]) -> None:
        """Increments that were told one value, none of them before the counter fell back."""
        for earlier, spot in pairwise(group):
            if spot.called_ns <= earlier.answered_ns:
                sentence = f"{earlier.name} and {spot.name} were both told {self.say(spot.end)}"
                self.findings.append(Finding("duplicate value", sentence, (earlier.index, spot.index)))

    def _share_places(self) -> None:
        """Give each a place of its own, up to that which it was told: those that find none were lost.

        Whoever reads after its increment is told its own place or a higher one. So one that shares its value with
        another may have had a lower place, if that was free when it was called.
        """
        takers = [spot for spot in self.takers if spot.index not in self.gone]
        highest = _Highest(takers)
        told = {spot.index: spot for spot in takers}
        matching = match([(1, max(told.values(), key=lambda spot: spot.end).end)], 0, _fillers(takers, highest))
        # Those that fell may have had places from before the fall.
        fallen = [spot for spot in self.takers if spot.index in self.gone]
        rest = match(matching.empty, 0, _fillers(fallen, _Highest(fallen)))
        self.used = [place for place, _ in (*matching.taken, *rest.taken)]
        has = {place: told[index] for place, index in matching.taken}
        for index, _ in matching.missed:
            spot = told[index]
            if (other := has.get(spot.end)) is not None:
                self._lose_one(other, spot)
        self.gone |= {index for index, _ in matching.missed}

    def _lose_repeated(self, groups: Iterable[Sequence[Spot]]) -> None:
        """Of increments of different sizes, those that led to the same value."""
        for first, *others in groups:
            for spot in others:
                self._lose_one(first, spot)
                self.gone.add(spot.index)

    def _lose_one(self, first: Spot, spot: Spot) -> None:
        first, spot = sorted((first, spot), key=lambda one: one.answered_ns)
        sentence = (
            f"{first.name} and {spot.name} were acknowledged with {self.say(first.end)} and {self.say(spot.end)}, and"
            " no lower place is free that one of them can have had: two increments, and the counter rose by one"
        )
        self._lose(sentence, first, spot, alone=True)

    def _overlapping(self) -> None:
        """Increments of different sizes of which one began before the other had ended."""
        last: Spot | None = None
        for spot in sorted(self.takers, key=lambda spot: spot.end):
            if last is not None and last.end != spot.end and spot.begin < last.end and spot.index not in self.gone:
                self._lose(
                    f"{last.name} led to {self.say(last.end)}, and {spot.name} from {self.say(spot.begin)} to"
                    f" {self.say(spot.end)}: both were acknowledged, and the counter rose by less",
                    last,
                    spot,
                    alone=True,
                )
            last = spot

    # What was told too low.

    def _low(self) -> None:
        """Reads and increments that were told less than what had been acknowledged before they were called."""
        takers = [spot for spot in self.takers if spot.index not in self.excused]
        highest = _Highest((*takers, *self.seers))
        later = _Later((*takers, *self.seers), lambda spot: -spot.end)
        for spot in self.seers:
            peak = highest.before(spot.called_ns)
            if peak is None or peak.end <= spot.end:
                continue
            self.excused.add(spot.index)
            after = later.after(spot.answered_ns)
            if after is None or after.end < peak.end or self.losses.failed_between(peak.called_ns, spot.answered_ns):
                self._lose(
                    f"{peak.name} was acknowledged with {self.say(peak.end)}; {spot.name}, which was called after that,"
                    f" saw {self.say(spot.end)}, and nothing shows that it was still there",
                    peak,
                    spot,
                )
            elif not self.losses.all:
                self._note_stale(peak, spot)
        if not self.losses.all:
            self._reversed(takers, highest)

    def _note_stale(self, peak: Spot, spot: Spot) -> None:
        did = "read" if spot.reads else "was rejected at"
        kind: Violation = "false rejection" if not spot.reads and self.admitted(spot, peak) else "stale read"
        sentence = (
            f"{spot.name} {did} {self.say(spot.end)}, but was called after {peak.name} had been told"
            f" {self.say(peak.end)}"
        )
        self.findings.append(Finding(kind, sentence, (peak.index, spot.index)))

    def _reversed(self, takers: Sequence[Spot], highest: _Highest) -> None:
        told = _Highest(takers)
        for spot in takers:
            peak = highest.before(spot.called_ns)
            if peak is None or peak.end < spot.end or peak.index in self.excused:
                continue
            by_taker = told.before(spot.called_ns)
            if by_taker is not None and by_taker.end >= spot.end:
                self.excused.add(spot.index)
                sentence = (
                    f"{spot.name} was told {self.say(spot.end)}, but was called after {by_taker.name} had been told"
                    f" {self.say(by_taker.end)}"
                )
                self.findings.append(Finding("order reversed", sentence, (by_taker.index, spot.index)))
            else:
                self.excused.add(peak.index)
                sentence = (
                    f"{peak.name} saw {self.say(peak.end)} before {spot.name} was called, which was told"
                    f" {self.say(spot.end)}"
                )
                self.findings.append(Finding("wrong value", sentence, (peak.index, spot.index)))

    # Words.

    def _lose(self, sentence: str, first: Spot, second: Spot, *, alone: bool = False) -> None:
        self.losses.all.append(
            Loss(
                sentence,
                (first.index, second.index),
                first.called_ns,
                second.answered_ns,
                second.called_ns <= first.answered_ns,
                alone,
            )
        )
