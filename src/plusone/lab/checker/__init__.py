"""The checker: is there one bounded counter of which everything that anyone was told is true?

It knows a history's calls and answers, and nothing of how they came about. Each counter is judged on its own, because
linearizability is local (Herlihy and Wing, 1990). A history is linearizable if the operations can be put in an order
that a counter explains, in which whatever was answered before something else was called comes before it. What has no
answer may have happened at any time after its call, or never.

Where the answers tell the order, by revisions or by values that only rise, it is followed (`revisions`, `counting`), in
O(n log n). Otherwise an order is looked for (`search`), within a budget; the verdict is unknown when that ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from plusone.lab.checker import counting, explaining_counting, explaining_revisions, revisions
from plusone.lab.checker.model import Columns, Decision, Finding, columns_of, false_on_their_face
from plusone.lab.checker.search import entries_of, search
from plusone.lab.checker.shrinking import shrink
from plusone.lab.checker.tokens import merged
from plusone.lab.history import History, Operations
from plusone.lab.results import Contradiction, Violation

BUDGET: Final = 300_000
"""States that a search visits before it gives up, on each counter: a few seconds."""
_SHRINKING_BUDGET: Final = 50_000
_FAILURES: Final = {"kill", "failover", "partition", "pause", "disk_full"}
"""Faults of servers, by which they may lose what they acknowledged. What befalls a connection loses nothing."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a history."""

    verdict: Literal["ok", "illegal", "unknown"]
    operations: int
    counters: int
    contradictions: tuple[Contradiction, ...] = ()
    """The first of each kind, over all counters."""
    found: Mapping[Violation, int] = {}
    """How many of each kind there are."""
    undecided: str = ""
    """Why the verdict is unknown, or what was not judged besides."""


class _Case(msgspec.Struct, frozen=True):
    """The judgement on one counter."""

    legal: bool | None
    findings: Sequence[Finding] = ()
    why: str = ""


def check(history: History, *, budget: int = BUDGET) -> Verdict:
    """Judge a history. `budget` bounds the search on each counter whose order is not told."""
    failures_ns = sorted(mark.at_ns for mark in history.marks if mark.fault in _FAILURES)
    found: dict[Violation, int] = {}
    first: dict[Violation, tuple[int, Contradiction]] = {}
    undecided: list[str] = []
    legal = True
    for name, operations in history.counters.items():
        case = _judge(operations, failures_ns, budget)
        legal &= case.legal is not False
        if case.legal is None:
            undecided.append(f"{name}: {case.why}")
        for finding in case.findings:
            found[finding.kind] = found.get(finding.kind, 0) + 1
            rank = _moment(operations, finding)
            if finding.kind not in first or rank < first[finding.kind][0]:
                first[finding.kind] = rank, _contradiction(name, operations, finding)
    return Verdict(
        verdict="illegal" if not legal else "unknown" if undecided else "ok",
        operations=history.operations,
        counters=len(history.counters),
        contradictions=tuple(contradiction for _, contradiction in sorted(first.values(), key=lambda pair: pair[0])),
        found=found,
        undecided="; ".join(undecided[:3]),
    )


def is_legal(operations: Operations, *, budget: int = BUDGET) -> bool | None:
    """Whether some order explains the operations on one counter, and nothing more: `check` says why not as well.

    None if that was not found within the budget.
    """
    columns, findings = merged(operations, columns_of(operations))
    return False if findings else _decide(columns, budget).legal


def _judge(operations: Operations, failures_ns: Sequence[int], budget: int) -> _Case:
    columns, findings = merged(operations, columns_of(operations))
    decision = _decide(columns, budget)
    if decision.legal is False:
        findings += _explain(columns, operations.number, failures_ns, decision)
    if findings:
        return _Case(False, findings)
    return _Case(decision.legal, (), decision.why)


def _decide(columns: Columns, budget: int) -> Decision:
    if false_on_their_face(columns):
        return Decision(False)
    if revisions.is_by_revision(columns):
        decision = revisions.decide(columns, budget, by_revision=True)
    elif (size := counting.is_counting(columns)) is not None:
        decision = counting.decide(columns, size)
    elif revisions.is_by_value(columns):
        decision = revisions.decide(columns, budget, by_revision=False)
    else:
        decision = Decision(None)
    if decision.legal is not None:
        return decision
    word = search(entries_of(columns), budget)
    if word == "undecided":
        return Decision(None, decision.why or f"no order was found among {budget} states, and not all were tried")
    return Decision(word == "legal")


def _explain(
    columns: Columns, numbers: Sequence[int], failures_ns: Sequence[int], decision: Decision
) -> Sequence[Finding]:
    if revisions.is_by_revision(columns):
        findings = explaining_revisions.explain(columns, numbers, failures_ns, by_revision=True)
    elif (size := counting.is_counting(columns)) is not None:
        findings = explaining_counting.explain(columns, size, numbers, failures_ns)
    elif revisions.is_by_value(columns):
        findings = explaining_revisions.explain(columns, numbers, failures_ns, by_revision=False)
    else:
        findings = explaining_revisions.faces(columns, numbers)
    return findings or [_searched(columns, numbers, decision)]


def _searched(columns: Columns, numbers: Sequence[int], decision: Decision) -> Finding:
    """The finding of a search, or what the decision rests on, or at the very least all of it."""
    finding = shrink(columns, numbers, _SHRINKING_BUDGET)
    if finding is not None:
        return finding
    if decision.finding is not None:
        indices = tuple(int(columns.index[position]) for position in decision.finding.indices)
        names = " and ".join(f"#{numbers[index]}" for index in indices)
        return Finding(decision.finding.kind, f"{names} {decision.finding.sentence}", indices)
    return Finding(
        "wrong value", f"no order explains these {len(columns)} operations", tuple(columns.index[:12].tolist())
    )


def _moment(operations: Operations, finding: Finding) -> int:
    """When the contradiction was complete: at the last of its answers."""
    return max((operations.answered_ns[index] for index in finding.indices), default=0)


def _contradiction(name: str, operations: Operations, finding: Finding) -> Contradiction:
    witnesses = tuple(operations.witness(index) for index in finding.indices)
    return Contradiction(kind=finding.kind, counter=name, sentence=finding.sentence, operations=witnesses)
