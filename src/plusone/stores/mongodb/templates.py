"""The statements that lie beside this module as JSON, and how values get into them.

A string that begins with a colon stands for a value of that name. Values are put in as they are: what is in them is
never read as a part of a statement.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from plusone.stores import resources

Values: TypeAlias = Mapping[str, Any]


class Statement:
    """A statement of a file, to be filled."""

    def __init__(self, name: str) -> None:
        self._make: Final = _maker(json.loads(resources.text(__package__, name)))

    def fill(self, values: Values) -> dict[str, Any]:
        filled: dict[str, Any] = self._make(values)
        return filled


def indexes() -> list[dict[str, Any]]:
    """The indexes that a collection of counters has, as the command `createIndexes` takes them."""
    found: list[dict[str, Any]] = json.loads(resources.text(__package__, "indexes.json"))
    return found


def _maker(part: Any) -> Callable[[Values], Any]:
    if isinstance(part, dict):
        makers = [(name, _maker(inner)) for name, inner in part.items()]
        return lambda values: {name: make(values) for name, make in makers}
    if isinstance(part, list):
        inner = [_maker(item) for item in part]
        return lambda values: [make(values) for make in inner]
    if isinstance(part, str) and part.startswith(":"):
        name = part[1:]
        return lambda values: values[name]
    return lambda values: part
