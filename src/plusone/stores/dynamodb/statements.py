"""Statements made of the parts in `step.partiql`, with their parameters in the order in which they stand there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from plusone.stores import resources

Parameter: TypeAlias = Mapping[str, object]
"""A value in DynamoDB's JSON, as in {"N": "5"}."""
Parts: TypeAlias = Mapping[str, Sequence[Parameter]]
"""The parts that a statement is made of, each with its parameters."""

_LINES: Final = tuple(
    (part.strip(), clause)
    for line in resources.text(__package__, "step.partiql").splitlines()
    if line and not line.startswith("--")
    for part, _, clause in [line.partition("| ")]
)
_PER_PRUNED: Final = ("prune", "pruned")
_REMEMBERED_MAX: Final = 1_000


class Statement(msgspec.Struct, gc=False, omit_defaults=True):
    """One statement of a call, as it stands in the request."""

    text: str = msgspec.field(name="Statement")
    parameters: list[Parameter] = msgspec.field(name="Parameters")
    on_failure: str = msgspec.field(name="ReturnValuesOnConditionCheckFailure", default="")


class Statements:
    """Composes statements on one table, and remembers those composed before."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._remembered: dict[tuple[object, ...], tuple[str, list[tuple[str, int, int]]]] = {}

    def compose(self, parts: Parts, writer: str = "", pruned: Sequence[str] = ()) -> Statement:
        """The statement of these parts, `pruned` being the sessions that go."""
        shape = (*parts, writer, *pruned)
        found = self._remembered.get(shape)
        if found is None:
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            found = self._remembered[shape] = self._compose(parts, writer, pruned)
        text, order = found
        parameters: list[Parameter] = []
        for part, start, stop in order:
            parameters += parts[part][start:stop]
        return Statement(text, parameters)

    def _compose(self, parts: Parts, writer: str, pruned: Sequence[str]) -> tuple[str, list[tuple[str, int, int]]]:
        clauses: list[str] = []
        order: list[tuple[str, int, int]] = []
        taken = dict.fromkeys(parts, 0)
        for part, clause in _LINES:
            if part not in taken:
                continue
            for session in pruned if part in _PER_PRUNED else ("",):
                text = clause.replace("{table}", self._table).replace("{writer}", writer).replace("{pruned}", session)
                clauses.append(text)
                count = clause.count("?")
                if count:
                    order.append((part, taken[part], taken[part] + count))
                    taken[part] += count
        assert all(taken[part] == len(parts[part]) for part in parts), "a part's parameters are those of its clauses"
        return " ".join(clauses), order


def number(value: int) -> Parameter:
    return {"N": str(value)}


def text(value: str) -> Parameter:
    return {"S": value}


def numbers(entries: Mapping[str, int]) -> Parameter:
    return {"M": {name: number(value) for name, value in entries.items()}}
