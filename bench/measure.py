"""How an entry is measured: ours and its peer in turns, several rounds, and the median of the rounds' ratios.

Two figures taken at different times on a shared machine say little; two taken within the same few seconds, again and
again, say by how much one is faster. So only ratios are judged, and their spread is shown beside them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

_PROBE_SECONDS: Final = 0.1
_QUIET: Final = 0.85

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
    slow: bool = False
    """Whether it is left out of a quick run."""

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
    disturbed: int
    """In how many rounds other programs used the cores too when they began."""
    target: float
    sense: str
    met: bool


def measure(entry: Entry, *, seconds: float, rounds: int, patience: float, step: Callable[[], None]) -> Result:
    """Measure one entry; `step` is called after the warm-up and after each round."""
    rounds = min(rounds, entry.rounds_max or rounds)
    seconds *= entry.scale
    ours: list[float] = []
    theirs: list[float] = []
    disturbed = 0
    with entry.prepare() as pair:
        if pair.peer is not None:
            pair.ours(seconds)
            pair.peer(seconds)
        step()
        for _ in range(rounds):
            disturbed += not _quiet_within(patience)
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
        disturbed=disturbed,
        target=entry.target,
        sense=entry.sense,
        met=entry.met(ratio),
    )


def _quiet_within(patience: float) -> bool:
    """Wait for other programs to leave the cores, which our own servers between two rounds do not use."""
    deadline = time.monotonic() + patience
    while True:
        idle_before, all_before = _core_time()
        time.sleep(_PROBE_SECONDS)
        idle, everything = _core_time()
        if idle - idle_before >= _QUIET * (everything - all_before):
            return True
        if time.monotonic() > deadline:
            return False


def _core_time() -> tuple[int, int]:
    """Of all cores since the start, in ticks: idle (waiting for a disk included), and altogether."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)
