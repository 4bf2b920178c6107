"""A contradiction as a space-time diagram: a lane per process, a bar from each call to its answer.

Time runs to the right, in order but not to scale: operations that contradict one another last microseconds and may lie
minutes apart. Between two events lies a stretch that grows with the logarithm of the time between them, and at least
what the words under the bars take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from plusone.lab.report.wording import answered, asked, moment, printable
from plusone.lab.results import Contradiction, Witness

OPERATIONS_MAX: Final = 40
"""What a diagram shows; the table beside it has all."""
_CHARACTER: Final = 6.7
"""Pixels; the widest that the usual fonts have on average at the diagram's size."""
_LANE: Final = 74
_LEFT: Final = 96
_WIDTH_MIN: Final = 320
_TOP: Final = 30


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """An operation."""

    number: int
    left: float
    right: float
    top: float
    asked: str
    answered: str
    open: bool
    """Nobody knows when it ended."""
    highlighted: bool


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A process."""

    process: int
    top: float
    height: float


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """A point in time."""

    at: float
    label: str


class Diagram(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything lies, in pixels."""

    width: float
    height: float
    left: float
    lanes: list[Lane]
    bars: list[Bar]
    ticks: list[Tick]
    omitted: int
    """Operations that are not drawn."""


def laid_out(contradiction: Contradiction) -> Diagram:
    drawn = sorted(contradiction.operations, key=lambda each: (each.called_ns, each.number))[:OPERATIONS_MAX]
    rows = _rows(drawn)
    places = _places(drawn, rows)
    end = max(places.values(), default=_LEFT)
    ticks = _ticks(places)
    labels = [tick.at + len(tick.label) * _CHARACTER for tick in ticks]
    width = max([_WIDTH_MIN, end, *labels, *(places[each.called_ns] + _words(each) for each in drawn)]) + 24
    culprits = _culprits(contradiction, drawn)
    bars = [
        Bar(
            number=each.number,
            left=places[each.called_ns],
            right=width - 12 if each.answered_ns is None else places[each.answered_ns],
            top=_TOP + _LANE * rows[each.number, each.process],
            asked=f"#{each.number} {printable(asked(each))}",
            answered=f"→ {printable(answered(each))}",
            open=each.answered_ns is None,
            highlighted=(each.number, each.process) in culprits,
        )
        for each in drawn
    ]
    return Diagram(
        width=width,
        height=_TOP + _LANE * (max(rows.values(), default=0) + 1) + 34,
        left=_LEFT,
        lanes=_lanes(drawn, rows),
        bars=bars,
        ticks=ticks,
        omitted=len(contradiction.operations) - len(drawn),
    )


def _rows(drawn: Sequence[Witness]) -> dict[tuple[int, int], int]:
    """The row of each operation: a process has more than one where its operations overlap."""
    rows: dict[tuple[int, int], int] = {}
    first = 0
    for process in sorted({each.process for each in drawn}):
        ends: list[float] = []
        for each in (each for each in drawn if each.process == process):
            free = next((row for row, end in enumerate(ends) if end < each.called_ns), len(ends))
            ends[free : free + 1] = [math.inf if each.answered_ns is None else each.answered_ns]
            rows[each.number, process] = first + free
        first += len(ends)
    return rows


def _places(drawn: Sequence[Witness], rows: dict[tuple[int, int], int]) -> dict[int, float]:
    """Where each point in time lies: one pass, for each depends on earlier ones only."""
    times = sorted({each.called_ns for each in drawn} | {each.answered_ns for each in drawn if each.answered_ns})
    places: dict[int, float] = {}
    free: dict[int, float] = {}
    before: int | None = None
    for time in times:
        place = _LEFT + 16.0 if before is None else places[before] + 24 + 12 * math.log10(1 + (time - before) / 1000)
        beginning = [each for each in drawn if each.called_ns == time]
        place = max([place, *(free.get(rows[each.number, each.process], 0.0) for each in beginning)])
        places[time] = place
        free |= {rows[each.number, each.process]: place + _words(each) for each in beginning}
        before = time
    return places


def _words(operation: Witness) -> float:
    """The width of what stands above and under the bar."""
    longest = max(len(asked(operation)) + len(str(operation.number)) + 2, len(answered(operation)) + 2)
    return longest * _CHARACTER + 18


def _lanes(drawn: Sequence[Witness], rows: dict[tuple[int, int], int]) -> list[Lane]:
    lanes = []
    for process in sorted({each.process for each in drawn}):
        taken = [row for (_, owner), row in rows.items() if owner == process]
        height = _LANE * (max(taken) - min(taken) + 1)
        lanes.append(Lane(process=process, top=_TOP + _LANE * min(taken), height=height))
    return lanes


def _ticks(places: dict[int, float]) -> list[Tick]:
    """The times that have room for their label, the first and the last among them."""
    ticks: list[Tick] = []
    for time, place in sorted(places.items()):
        if not ticks or place - ticks[-1].at >= len(moment(time)) * _CHARACTER + 10:
            ticks.append(Tick(at=place, label=moment(time)))
    return ticks


def _culprits(contradiction: Contradiction, drawn: Sequence[Witness]) -> set[tuple[int, int]]:
    """The operations to look at first: those that were told the same, else the one that was answered last."""
    if contradiction.kind == "duplicate value":
        told = [each.value for each in drawn if each.value is not None]
        return {(each.number, each.process) for each in drawn if each.value is not None and told.count(each.value) > 1}
    answered_ones = [each for each in drawn if each.answered_ns is not None]
    last = max(answered_ones, key=lambda each: each.answered_ns or 0, default=None)
    return {(last.number, last.process)} if last else set()
