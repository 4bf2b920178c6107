"""The lab's checker on a million operations with revisions, against the same checks in plain Python.

Both are given the same history in memory: increments of one counter by concurrent callers, one operation in fifty a
read, and one in a thousand without an answer. Both decide the same: that revisions, values and times agree, and that
what is missing is what is unknown.
"""

from __future__ import annotations

import contextlib
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from bench.measure import Pair, Side
from plusone.lab.checker import check
from plusone.lab.history import NEVER, Header, History, Operations
from plusone.lab.history.operations import ADD, APPLIED, READ, UNKNOWN, WAS_READ
from plusone.types import MAX, MIN

OPERATIONS: Final = 1_000_000
_APART_NS: Final = 10_000
"""Between one operation's effect and the next one's."""
_LONGEST_NS: Final = 600_000
"""From a call to its effect, and from there to the answer: 64 callers are under way at a time, more or less."""


@contextlib.contextmanager
def against_plain_python() -> Iterator[Pair]:
    history = million()
    yield Pair(_cpu_seconds(lambda: check(history).verdict == "ok"), _cpu_seconds(lambda: plainly_ok(history)))


def _cpu_seconds(decides: Callable[[], bool]) -> Side:
    """Once in a round, however long that takes."""

    def side(_: float) -> float:
        begin = time.process_time()
        assert decides()
        return time.process_time() - begin

    return side


def million(seed: int = 1) -> History:
    """The history, made as columns; nothing is wrong with it."""
    source = np.random.default_rng(seed)
    effect = np.arange(OPERATIONS, dtype=np.int64) * _APART_NS + _LONGEST_NS
    called = effect - source.integers(0, _LONGEST_NS, OPERATIONS)
    answered = effect + source.integers(1, _LONGEST_NS, OPERATIONS)
    reads = source.random(OPERATIONS) < 1 / 50
    unknown = ~reads & (source.random(OPERATIONS) < 1 / 1000)
    value = np.cumsum(~reads)
    kind = np.where(reads, READ, ADD)
    result = np.where(reads, WAS_READ, np.where(unknown, UNKNOWN, APPLIED))
    told = np.where(unknown, 0, np.where(reads, 5, 7))
    order = np.argsort(called, kind="stable")
    operations = Operations()
    whole = {
        "process": np.arange(OPERATIONS) % 64,
        "amount": (~reads).astype(np.int64),
        "ceiling": np.full(OPERATIONS, MAX),
        "floor": np.full(OPERATIONS, MIN),
        "called_ns": called,
        "answered_ns": np.where(unknown, NEVER, answered),
        "value": value,
        "previous": value - 1,
        "revision": value,
    }
    for name, column in whole.items():
        setattr(operations, name, array("q", column[order].astype(np.int64).tobytes()))
    operations.number = array("q", range(1, OPERATIONS + 1))
    for name, column in {"kind": kind, "result": result, "told": told}.items():
        setattr(operations, name, array("b", column[order].astype(np.int8).tobytes()))
    header = Header(subject="plusone", store="memory:", seed=seed, started="2026-11-21T00:00:00Z")
    return History(header=header, counters={"votes": operations})


def plainly_ok(history: History) -> bool:
    """The same without numpy: for increments and reads, all of which told their revisions."""
    return all(map(_counter_is_ok, history.counters.values()))


def _counter_is_ok(operations: Operations) -> bool:
    known: list[tuple[int, bool, int, int, int]] = []
    unknown: list[int] = []
    columns = zip(
        operations.kind,
        operations.result,
        operations.amount,
        operations.value,
        operations.previous,
        operations.revision,
        operations.called_ns,
        operations.answered_ns,
        strict=True,
    )
    for kind, result, amount, value, previous, revision, called, answered in columns:
        if result == UNKNOWN:
            unknown.append(called)
        elif kind == ADD and value != previous + amount:
            return False
        else:
            known.append((revision, kind == READ, value, called, answered))
    known.sort()
    unknown.sort()
    return _in_time(known) and _follow(known, unknown)


def _in_time(known: list[tuple[int, bool, int, int, int]]) -> bool:
    """Nothing was called after something that has its place behind it was answered."""
    earliest = group = NEVER
    place: tuple[int, bool] | None = None
    for revision, reads, _, called, answered in reversed(known):
        if (revision, reads) != place:
            place, earliest = (revision, reads), min(earliest, group)
            group = NEVER
        if called > earliest:
            return False
        group = min(group, answered)
    return True


def _follow(known: list[tuple[int, bool, int, int, int]], unknown: list[int]) -> bool:
    """Values follow one another by ones, and so many unknown ones were called in time for what is missing."""
    deadlines: list[int] = []
    earliest = NEVER
    for entry in reversed(known):
        earliest = min(earliest, entry[4])
        deadlines.append(earliest)
    deadlines.reverse()
    reached = used = 0
    for (revision, reads, value, _, _), deadline in zip(known, deadlines, strict=True):
        if value != revision or (not reads and revision == reached):
            return False
        missing = revision - reached - (not reads)
        if missing > 0:
            used += missing
            if bisect_right(unknown, deadline) < used:
                return False
        reached = revision
    return True
