"""How an entry is measured: ours and its peer in turns, several rounds, and the median of the rounds' ratios.

Two figures taken at different times on a shared machine say little; two taken within the same few seconds, again and
again, say by how much one is faster. So only ratios are judged, and their spread is shown beside them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, TypeAlias

import msgspec

Side: TypeAlias = Callable[[float], float]
"""Works for about so many seconds, and says the figure that it measured, in the entry's unit."""


class Pair(msgspec.Struct, frozen=True):
    """What an entry compares. Without a peer the figure itself is judged."""

    ours: Side
    peer: Side | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table, as data."""

    name: str
    what: str
    peer: str
    unit: str
    target: float
    sense: Literal["at least", "at most"]
    prepare: Callable[[], AbstractContextManager[Pair]]
    """Starts what the entry needs, hands over the pair, and ends it all."""
    rounds_max: int | None = None
    """For what hardly varies, and takes long."""
    scale: float = 1.0
    """By how much longer than the others a side works in a round."""

    def met(self, ratio: float) -> bool:
        return ratio >= self.target if self.sense == "at least" else ratio <= self.target


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry measured; all figures are medians over the rounds."""

    name: str
    what: str
    peer: str
    unit: str
    ours: float
    theirs: float | None
    ratio: float
    ratio_lowest: float
    ratio_highest: float
    rounds: int
    target: float
    sense: str
    met: bool


def measure(entry: Entry, *, seconds: float, rounds: int, step: Callable[[], None]) -> Result:
    """Measure one entry; `step` is called after the warm-up and after each round."""
    rounds = min(rounds, entry.rounds_max or rounds)
    seconds *= entry.scale
    ours: list[float] = []
    theirs: list[float] = []
    with entry.prepare() as pair:
        if pair.peer is not None:
            pair.ours(seconds / 2)
            pair.peer(seconds / 2)
        step()
        for _ in range(rounds):
            ours.append(pair.ours(seconds))
            if pair.peer is not None:
                theirs.append(pair.peer(seconds))
            step()
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)] if theirs else ours
    ratio = statistics.median(ratios)
    return Result(
        name=entry.name,
        what=entry.what,
        peer=entry.peer,
        unit=entry.unit,
        ours=statistics.median(ours),
        theirs=statistics.median(theirs) if theirs else None,
        ratio=ratio,
        ratio_lowest=min(ratios),
        ratio_highest=max(ratios),
        rounds=rounds,
        target=entry.target,
        sense=entry.sense,
        met=entry.met(ratio),
    )
