"""Calls that go by one token are one operation, asked for again and again."""

from __future__ import annotations

import numpy as np

from plusone.lab.checker.model import Columns, Finding
from plusone.lab.history import Operations
from plusone.lab.history.operations import UNKNOWN


def merged(operations: Operations, columns: Columns) -> tuple[Columns, list[Finding]]:
    """The columns with one operation for each token, from its first call to its first answer that is known.

    Answers that differ from the first are contradictions: two that were applied are one increment too many.
    """
    if not operations.tokens:
        return columns, []
    positions: dict[str, list[int]] = {}
    for position, index in enumerate(columns.index.tolist()):
        if (token := operations.tokens.get(index)) is not None:
            positions.setdefault(token, []).append(position)
    findings: list[Finding] = []
    keep = np.ones(len(columns), dtype=np.bool_)
    called_ns = columns.called_ns.copy()
    for token, calls in positions.items():
        known = sorted((at for at in calls if columns.result[at] != UNKNOWN), key=lambda at: columns.answered_ns[at])
        chosen = known[0] if known else calls[0]
        called_ns[chosen] = min(columns.called_ns[at] for at in calls)
        keep[[at for at in calls if at != chosen]] = False
        for other in known[1:]:
            findings += _differing(operations, columns, token, chosen, other)
    merged_columns = Columns({**columns.columns, "called_ns": called_ns}, columns.index)
    return merged_columns.take(keep), findings


def _differing(operations: Operations, columns: Columns, token: str, first: int, other: int) -> list[Finding]:
    names = ("kind", "amount", "ceiling", "floor", "result", "told", "value", "previous", "revision")
    if all(columns.columns[name][first] == columns.columns[name][other] for name in names):
        return []
    indices = int(columns.index[first]), int(columns.index[other])
    one, two = (f"#{operations.number[index]}" for index in indices)
    both = bool(columns.applied[first] and columns.applied[other])
    sentence = f"{one} and {two} asked with the token {token!r} and were given different answers"
    return [Finding("phantom increment" if both else "wrong value", sentence, indices)]
