"""What is wrong with a history whose order is told."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np

from plusone.lab.checker import revisions
from plusone.lab.checker.explaining import Explanation
from plusone.lab.checker.filling import Gap, shortage
from plusone.lab.checker.filling import explain as fill
from plusone.lab.checker.model import Columns, Finding, rejects
from plusone.lab.checker.order import Spot
from plusone.lab.checker.revisions import Chain
from plusone.lab.history.operations import ADD, READ, TELLS_VALUE
from plusone.lab.results import Violation

_BUDGET: Final = 50_000


def explain(
    columns: Columns, numbers: Sequence[int], failures_ns: Sequence[int], *, by_revision: bool
) -> list[Finding]:
    return _Revisions(columns, numbers, failures_ns, by_revision=by_revision).run()


def faces(columns: Columns, numbers: Sequence[int]) -> list[Finding]:
    """Only what contradicts itself."""
    return Explanation(columns, numbers, ()).findings


class _Revisions(Explanation):
    def __init__(
        self, columns: Columns, numbers: Sequence[int], failures_ns: Sequence[int], *, by_revision: bool
    ) -> None:
        super().__init__(columns, numbers, failures_ns)
        self.by_revision = by_revision

    def run(self) -> list[Finding]:
        chain = self._chain()
        spots = self.spots(chain.links, chain.begin, chain.end)
        spots += self.spots(chain.seen, chain.seen_at, chain.seen_at)
        order = self.follow(spots, self._say, self._admitted, one_each=self.by_revision)
        for finding in order.losses.findings():
            self.note(finding.kind, finding.sentence, *finding.indices)
        used = sorted(order.used)
        # Of those that had one place only one is left; and what told a state of another time tells none of its own.
        gone = sorted(order.gone | {spot.index for spot in order.seers if spot.index in order.excused})
        self.without[:] = False
        self.without[gone] = True
        self._leave_out()
        self._observed()
        self._leave_out()
        if not self._differing():
            self._gaps(used)
        return self.findings

    def _chain(self) -> Chain:
        return revisions.chain_of(self.columns, by_revision=self.by_revision)

    def _leave_out(self) -> None:
        self.columns = self.columns.take(~self.without)
        self.without = np.zeros(len(self.columns), dtype=np.bool_)

    def _say(self, key: int) -> str:
        return f"revision {key}" if self.by_revision else str(key)

    def _admitted(self, rejection: Spot, peak: Spot) -> bool:
        """Whether the value at the peak would have admitted it."""
        return not self._rejects(rejection.index, int(self.columns.value[peak.index]))

    def _rejects(self, position: int, value: int) -> bool:
        columns = self.columns
        amount, ceiling, floor = (int(column[position]) for column in (columns.amount, columns.ceiling, columns.floor))
        return rejects(value, amount, ceiling, floor)

    # Observations.

    def _observed(self) -> None:
        """Those that do not fit the state at their key, or any state that there can have been by then."""
        chain, columns = self._chain(), self.columns
        state, known, inside = revisions.states_seen(chain)
        for number, position in enumerate(chain.seen.tolist()):
            tells, value = bool(columns.told[position] & TELLS_VALUE), int(columns.value[position])
            key, there = int(chain.seen_at[number]), int(state[number])
            if inside[number] or key < 0:
                self.blame("wrong value", f"{self.name(position)} saw {value}, which the counter never was", position)
            elif known[number] and tells and value != there:
                sentence = f"{self.name(position)} saw {value} at {self._say(key)}, where the counter was {there}"
                self.blame("wrong value", sentence, *self._at(chain, key), position)
            elif known[number] and columns.kind[position] != READ and not self._rejects(position, there):
                sentence = f"{self.name(position)} was rejected at {self._say(key)}, where the counter was {there}"
                self.blame("false rejection", sentence, *self._at(chain, key), position)
        for position in chain.loose[columns.kind[chain.loose] != READ].tolist():
            self._rejected_too_early(position)

    def _at(self, chain: Chain, key: int) -> list[int]:
        """The operation that led to this key, if it is known."""
        return [int(link) for link in chain.links[chain.end == key][:1]]

    def _rejected_too_early(self, position: int) -> None:
        """Even if all rises that had been asked for by then had been applied, it would have been admitted."""
        columns = self.columns
        if (columns.kind[columns.applied | columns.unknown] != ADD).any() or columns.amount[position] <= 0:
            return
        asked = (columns.applied | columns.unknown) & (columns.called_ns <= columns.answered_ns[position])
        most = sum(amount for amount in columns.amount[asked].tolist() if amount > 0)
        if not self._rejects(position, most):
            ceiling, amount = columns.ceiling[position], columns.amount[position]
            sentence = (
                f"{self.name(position)} was rejected at the ceiling {ceiling} when it added {amount}, but when it was"
                f" answered, the counter can have been {most} at most"
            )
            self.blame("false rejection", sentence, position)

    # Values along the chain.

    def _differing(self) -> bool:
        """Operations that went on from another value than the one before them led to."""
        chain = self._chain()
        before, after, tells = revisions.values_around(chain)
        blamed = -1
        differing = revisions.differing_links(chain).tolist()
        for link in differing:
            # One that told something wrong differs from the one behind it as well, which is not to blame.
            if link - 1 == blamed:
                continue
            if self._differs(chain, link, before.tolist(), after.tolist(), tells.tolist()):
                blamed = link
        return bool(differing)

    def _differs(self, chain: Chain, link: int, before: list[int], after: list[int], tells: list[bool]) -> bool:
        """Note it; whether the answer of this link alone is wrong."""
        columns, position = self.columns, int(chain.links[link])
        pair = (int(chain.links[link - 1]), position) if link else (position,)
        led, began, amount = (after[link - 1] if link else 0), before[link], int(columns.amount[position])
        sentence = (
            f"{self.name(position)} went from {began} to {after[link]} at {self._say(int(chain.end[link]))}, but the"
            f" counter was {led} before it"
        )
        if link:
            sentence += f", where {self.name(pair[0])} had left it"
        adds = columns.kind[position] == ADD and (not link or columns.kind[pair[0]] == ADD)
        following = link + 1 < len(before) and chain.begin[link + 1] == chain.end[link] and tells[link + 1]
        if adds and following and before[link + 1] == led + amount:
            self.note("duplicate value" if link and after[link] == led else "wrong value", sentence, *pair)
            return True
        last = int(columns.amount[pair[0]]) if link else 0
        if adds and link and began == led - last:
            self.note("lost update", sentence, *pair)
        elif adds and last * (began - led) > 0:
            self.note("phantom increment", sentence, *pair)
        else:
            self.note("wrong value", sentence, *pair)
        return False

    # What is missing.

    def _gaps(self, used: Sequence[int]) -> None:
        chain = self._chain()
        missing = revisions.gaps(chain)
        asked = revisions.asked_of(self.columns)
        lacking = shortage(missing, asked)
        if lacking is None:
            illegal = next(
                (n for n in range(len(missing)) if fill(missing[: n + 1], asked, _BUDGET) == "illegal"), None
            )
            lacking = [int(number == illegal) for number in range(len(missing))]
        for gap, lacks in zip(missing, lacking, strict=True):
            until = gap.after + (gap.count or 1)
            for _ in range(lacks - bisect_right(used, until) + bisect_right(used, gap.after)):
                self._note_gap(chain, gap)

    def _note_gap(self, chain: Chain, gap: Gap) -> None:
        items, positions = chain.items()
        behind = positions[items.key > gap.after]
        first = int(behind[self.columns.answered_ns[behind].argmin()])
        target = "another value" if gap.target is None else str(gap.target)
        missing = f"{gap.count} operations" if gap.count != 1 and gap.count else "an operation"
        sentence = (
            f"{missing} brought the counter from {gap.start} at {self._say(gap.after)} to {target} before"
            f" {self.name(first)} was answered, and nobody asked for that in time"
        )
        kind: Violation = "wrong value" if gap.target == gap.start else "phantom increment"
        self.note(kind, sentence, *self._at(chain, gap.after), first)
