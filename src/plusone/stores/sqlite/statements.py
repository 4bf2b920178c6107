"""The SQL of the files beside this one, and how one statement takes many rows."""

from __future__ import annotations

import re
import sqlite3
from typing import Any, Final

from plusone.stores import resources

ROWS_MAX: Final = 256
_PLACEHOLDERS: Final = re.compile(r"\(\?(?:, \?)*\)")


def sql(name: str) -> str:
    """The text of a file of this folder."""
    return resources.text(__package__, name)


class ManyRows:
    """A statement over `VALUES (?, …)`, run for many rows in one step.

    `executemany` gives up the interpreter's lock and waits for it again at each row; beside a busy event loop that is
    up to 5 ms (`sys.getswitchinterval`) per row. One step for many rows waits once.
    """

    def __init__(self, name: str) -> None:
        text = sql(name)
        [row] = _PLACEHOLDERS.findall(text)
        self.width = row.count("?")
        # A few sizes, so that SQLite's prepared statements serve again; what a size has too much is rows of NULL.
        self._texts = {size: text.replace(row, ", ".join([row] * size)) for size in (1, 4, 16, 64, ROWS_MAX)}

    def run(self, connection: sqlite3.Connection, values: list[Any]) -> None:
        """Run it for `values`, the rows one behind the other. Rows whose first value is NULL have no effect."""
        step = ROWS_MAX * self.width
        for start in range(0, len(values), step):
            part = values[start : start + step]
            rows = len(part) // self.width
            size = next(size for size in self._texts if size >= rows)
            connection.execute(self._texts[size], part + [None] * ((size - rows) * self.width))
