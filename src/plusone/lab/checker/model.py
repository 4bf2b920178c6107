"""What the checker takes a counter for, and how it holds a history's operations on one: as columns of numpy.

A counter begins absent: value 0, revision 0. An add is rejected where it would cross its ceiling (a rise) or its floor
(a fall); sets and deletes are always applied; each applied operation is one revision. `step` says so in a line each,
and a test holds it against `plusone.folding`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from plusone.lab.history import NEVER, Operations
from plusone.lab.history.operations import (
    ADD,
    APPLIED,
    DELETE,
    READ,
    REFUSED,
    REJECTED,
    SET,
    TELLS_PREVIOUS,
    TELLS_REVISION,
    TELLS_VALUE,
    UNKNOWN,
)
from plusone.lab.results import Violation
from plusone.types import MAX, MIN

Integers: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

_INTEGERS: Final = ("amount", "ceiling", "floor", "called_ns", "answered_ns", "value", "previous", "revision")
_SMALL: Final = ("kind", "result", "told")


class Finding(msgspec.Struct, frozen=True):
    """A contradiction, by the indices of the operations that take part in it."""

    kind: Violation
    sentence: str
    indices: tuple[int, ...]


class Decision(msgspec.Struct, frozen=True):
    """Whether some order explains all answers. None: not decided, and `why` says why."""

    legal: bool | None
    why: str = ""
    finding: Finding | None = None
    """What the decision rests on, if it is illegal; `explaining` says it better where it can."""


LEGAL: Final = Decision(True)


class Columns:
    """The operations on one counter that can have had an effect or tell a state: neither refused, nor unanswered reads.

    The value of an applied add that told only what was before is worked out, and of one that told only what came after
    the value before, so that `told` says more than the answers did.
    """

    def __init__(self, columns: dict[str, npt.NDArray[np.int64]], index: Integers) -> None:
        self.index = index
        """Where in the history's `Operations` each one is."""
        self.columns = columns
        self.kind = columns["kind"]
        self.result = columns["result"]
        self.told = columns["told"]
        self.amount: Integers = columns["amount"]
        self.ceiling: Integers = columns["ceiling"]
        self.floor: Integers = columns["floor"]
        self.called_ns: Integers = columns["called_ns"]
        self.answered_ns: Integers = columns["answered_ns"]
        """`NEVER` for an unknown one, whenever its caller was told so: it may happen later."""
        self.value: Integers = columns["value"]
        self.previous: Integers = columns["previous"]
        self.revision: Integers = columns["revision"]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, which: Flags | Integers) -> Columns:
        """Some of them, by a mask or by positions."""
        return Columns({name: column[which] for name, column in self.columns.items()}, self.index[which])

    def tells(self, bit: int) -> Flags:
        tells: Flags = (self.told & bit) != 0
        return tells

    @property
    def tells_revisions(self) -> bool:
        """Whether anybody was told a revision."""
        return bool((self.told & TELLS_REVISION).any())

    @property
    def applied(self) -> Flags:
        applied: Flags = self.result == APPLIED
        return applied

    @property
    def unknown(self) -> Flags:
        unknown: Flags = self.result == UNKNOWN
        return unknown

    @property
    def observed(self) -> Flags:
        """Those that change nothing, and tell a state: reads and rejections."""
        observed: Flags = (self.kind == READ) | (self.result == REJECTED)
        return observed


def columns_of(operations: Operations) -> Columns:
    """The columns of a counter, as views of the history where they need no change."""
    columns = {name: np.frombuffer(getattr(operations, name), dtype=np.int64) for name in _INTEGERS}
    columns |= {name: np.frombuffer(getattr(operations, name), dtype=np.int8) for name in _SMALL}
    index = np.arange(len(operations), dtype=np.int64)
    kind, result = columns["kind"], columns["result"]
    unknown = result == UNKNOWN
    without = (result == REFUSED) | (unknown & (kind == READ))
    if unknown.any():
        columns["answered_ns"] = np.where(unknown, NEVER, columns["answered_ns"])
    if without.any():
        columns = {name: column[~without] for name, column in columns.items()}
        index = index[~without]
    return Columns(_completed(columns), index)


def _completed(columns: dict[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.int64]]:
    """Of an applied operation the value before and the value after, where one of them follows from the other."""
    told, kind, amount = columns["told"], columns["kind"], columns["amount"]
    applied = columns["result"] == APPLIED
    added = applied & (kind == ADD)
    value, previous = (told & TELLS_VALUE) != 0, (told & TELLS_PREVIOUS) != 0
    if (before := added & value & ~previous).any():
        columns["previous"] = np.where(before, columns["value"] - amount, columns["previous"])
        told = np.where(before, told | TELLS_PREVIOUS, told)
    if (after := added & previous & ~value).any():
        columns["value"] = np.where(after, columns["previous"] + amount, columns["value"])
        told = np.where(after, told | TELLS_VALUE, told)
    if (written := applied & ~value & ((kind == SET) | (kind == DELETE))).any():
        columns["value"] = np.where(written, amount, columns["value"])
        told = np.where(written, told | TELLS_VALUE, told)
    rejected = columns["result"] == REJECTED
    if (stayed := rejected & previous & ~value).any():
        columns["value"] = np.where(stayed, columns["previous"], columns["value"])
        told = np.where(stayed, told | TELLS_VALUE, told)
    columns["told"] = told
    return columns


def step(value: int, kind: int, amount: int, ceiling: int, floor: int) -> int | None:
    """The value that an operation makes of `value`; None where it is rejected."""
    if kind != ADD:
        return amount
    after = value + amount
    if (amount > 0 and after > ceiling) or (amount < 0 and after < floor):
        return None
    return after


def false_on_their_face(columns: Columns) -> list[tuple[Violation, int]]:
    """Answers that contradict themselves, by position: no order of anything makes them true."""
    found: list[tuple[Violation, int]] = []

    def note(kind: Violation, which: Flags) -> None:
        found.extend((kind, position) for position in np.flatnonzero(which).tolist())

    told_value, told_previous = columns.tells(TELLS_VALUE), columns.tells(TELLS_PREVIOUS)
    applied, amount, value = columns.applied, columns.amount, columns.value
    added = applied & (columns.kind == ADD) & told_value
    # In the arithmetic of 64 bits, where a sum that is too large wraps around to the other side.
    wrapped = ((amount > 0) & (value <= columns.previous)) | ((amount < 0) & (value >= columns.previous))
    above, below = (amount > 0) & (value > columns.ceiling), (amount < 0) & (value < columns.floor)
    differs = value - columns.previous != amount
    note("wrong value", added & differs)
    note("bound crossed", added & ~differs & (above | below | wrapped))
    note("wrong value", applied & (columns.kind != ADD) & told_value & (value != amount))
    note("wrong value", applied & columns.tells(TELLS_REVISION) & (columns.revision < 1))
    rejected = columns.result == REJECTED
    if not rejected.any():
        return found
    note("false rejection", rejected & (amount == 0))
    # No sum here: the room that is left below the ceiling is compared with the amount.
    fits_above = (amount > 0) & (columns.ceiling >= MIN + np.maximum(amount, 0))
    fits_above &= value <= columns.ceiling - np.maximum(amount, 0)
    fits_below = (amount < 0) & (columns.floor <= MAX + np.minimum(amount, 0))
    fits_below &= value >= columns.floor - np.minimum(amount, 0)
    note("false rejection", rejected & told_value & (fits_above | fits_below))
    note("wrong value", rejected & told_value & told_previous & (value != columns.previous))
    return found


def rejects(value: int, amount: int, ceiling: int, floor: int) -> bool:
    """Whether a counter at `value` rejects this add."""
    return step(value, ADD, amount, ceiling, floor) is None
