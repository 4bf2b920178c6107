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
_FAILURES: Final = ("kill", "failover", "partition", "pause", "crash", "restart", "disk_full")
"""What marks may say of the servers that can make them lose what they acknowledged."""


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
    failures_ns = sorted(mark.at_ns for mark in history.marks if mark.fault.startswith(_FAILURES))
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


def _judge(operations: Operations, failures_ns: Sequence[int], budget: int) -> _Case:
    columns, findings = merged(operations, columns_of(operations))
    numbers = operations.number
    size = counting.is_counting(columns)
    by_revision = revisions.is_by_revision(columns)
    false = bool(false_on_their_face(columns))
    decision = Decision(False) if false else _decide(columns, size, by_revision, budget)
    if decision.legal and not findings:
        return _Case(True)
    if decision.legal is None and not findings:
        return _Case(None, (), decision.why)
    if decision.legal is False:
        if by_revision or (size is None and revisions.is_by_value(columns)):
            findings += explaining_revisions.explain(columns, numbers, failures_ns, by_revision=by_revision)
        elif size is not None:
            findings += explaining_counting.explain(columns, size, numbers, failures_ns)
        elif false:
            findings += explaining_revisions.faces(columns, numbers)
        if not findings:
            findings.append(_searched(columns, numbers, decision))
    return _Case(False, findings)


def _decide(columns: Columns, size: int | None, by_revision: bool, budget: int) -> Decision:
    if by_revision:
        decision = revisions.decide(columns, budget, by_revision=True)
    elif size is not None:
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
