"""Illegal histories in words: what the explanations of all forms of histories have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from plusone.lab.checker.model import Columns, Finding, Integers, false_on_their_face
from plusone.lab.checker.order import Order, Spot
from plusone.lab.history.operations import READ, TELLS_VALUE
from plusone.lab.results import Violation

SHOWN_MAX: Final = 12
"""More operations than this are counted in the sentence, but not drawn."""


class Explanation:
    """Findings about one counter, and who has been blamed already. Positions are those of `columns`.

    What contradicts itself is noted first. One that was applied beyond its bound took its place all the same; the
    others tell nothing that can be relied on, and are left out of `columns`.
    """

    def __init__(self, columns: Columns, numbers: Sequence[int], failures_ns: Sequence[int]) -> None:
        self.columns = columns
        self.numbers = numbers
        """What the history calls its operations, by their index there."""
        self.failures_ns = failures_ns
        self.findings: list[Finding] = []
        false = false_on_their_face(columns)
        keep = np.ones(len(columns), dtype=np.bool_)
        for kind, position in false:
            self._note_false(kind, position)
            keep[position] &= kind == "bound crossed"
        self.columns = columns.take(keep)
        self.without = np.zeros(len(self.columns), dtype=np.bool_)

    def name(self, position: int) -> str:
        return f"#{self.numbers[int(self.columns.index[position])]}"

    def note(self, kind: Violation, sentence: str, *positions: int) -> None:
        indices = tuple(int(self.columns.index[position]) for position in positions)
        self.findings.append(Finding(kind, sentence, indices))

    def blame(self, kind: Violation, sentence: str, *positions: int) -> None:
        """Note it, and leave the last one out of everything that follows."""
        self.note(kind, sentence, *positions)
        self.without[positions[-1]] = True

    def follow(
        self,
        spots: Sequence[Spot],
        say: Callable[[int], str],
        admitted: Callable[[Spot, Spot], bool],
        *,
        one_each: bool,
    ) -> Order:
        """Note what is wrong with this order."""
        order = Order(spots, self.failures_ns, say, admitted, one_each=one_each)
        order.explain()
        for finding in order.findings:
            self.note(finding.kind, finding.sentence, *finding.indices)
        self.without[sorted(order.excused)] = True
        return order

    def spots(self, positions: Integers, begin: Integers, end: Integers) -> list[Spot]:
        columns = self.columns
        index = columns.index[positions]
        lists = (
            positions,
            begin,
            end,
            columns.observed[positions],
            columns.kind[positions] == READ,
            columns.called_ns[positions],
            columns.answered_ns[positions],
        )
        numbers = [self.numbers[at] for at in index.tolist()]
        return [
            Spot(position, number, *rest)
            for number, position, *rest in zip(numbers, *(column.tolist() for column in lists), strict=True)
        ]

    def _note_false(self, kind: Violation, position: int) -> None:
        columns = self.columns
        value, amount = int(columns.value[position]), int(columns.amount[position])
        told = f", and was told {value}" if columns.told[position] & TELLS_VALUE else ""
        bound = f"ceiling {columns.ceiling[position]}" if amount > 0 else f"floor {columns.floor[position]}"
        what = f"{self.name(position)} added {amount} with the {bound}{told}"
        if kind == "bound crossed":
            sentence = f"{what}: it was applied beyond the bound"
        elif kind == "false rejection":
            sentence = f"{what}: it was rejected where the bound admits it"
        else:
            sentence = f"{self.name(position)} contradicts itself: {self._told(position)}"
        self.note(kind, sentence, position)

    def _told(self, position: int) -> str:
        columns = self.columns
        kind = ("add", "set", "delete", "read")[int(columns.kind[position])]
        words = [f"{kind} {columns.amount[position]}" if kind != "delete" else kind]
        words += [f"{name} {getattr(columns, name)[position]}" for name in ("previous", "value", "revision")]
        return ", ".join(words)


class Bounds(msgspec.Struct, frozen=True, eq=False):
    """How many increments a counter may have, and must have, at the time of each operation; by position."""

    least: Integers
    """Acknowledged before it was called."""
    most: Integers
    """Asked for before it was answered, unknown ones included."""


def bounds_of(columns: Columns) -> Bounds:
    """For histories of increments of one size."""
    changes = columns.applied | columns.unknown
    answered = np.sort(columns.answered_ns[columns.applied])
    called = np.sort(columns.called_ns[changes])
    least = np.searchsorted(answered, columns.called_ns, side="left").astype(np.int64)
    most = np.searchsorted(called, columns.answered_ns, side="right").astype(np.int64)
    return Bounds(least, most)
