"""Numbers and operations in words, the same on the page, in the plots and in Markdown."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from plusone.lab.results import Violation, Witness

VIOLATIONS: Final[dict[Violation, str]] = {
    "lost update": "Two increments were acknowledged, and the counter rose by less.",
    "duplicate value": "Two increments were told the same value.",
    "phantom increment": "The counter rose by more than anybody asked for.",
    "bound crossed": "An increment was applied beyond its ceiling or floor.",
    "false rejection": "An increment was rejected at a value that admitted it.",
    "stale read": "A read told a value from before an operation that had been acknowledged.",
    "order reversed": "The values contradict the order in which the operations followed one another.",
    "lost after acknowledgement": "What had been acknowledged was gone later.",
    "wrong value": "An answer that no order of the operations explains.",
}


def count(number: int) -> str:
    return f"{number:,}"


def counters(keys: int) -> str:
    """How many counters a load was on, as the head of a column says it."""
    return "one counter" if keys == 1 else f"{keys:,} counters"


def signed(number: int) -> str:
    """A difference: `+57` or `exact`."""
    return f"{number:+,}".replace("-", "−") if number else "exact"  # noqa: RUF001 - a minus sign


def figure(number: float) -> str:
    """Three significant digits, and thousands in groups: 0.0123, 9.81, 1,230."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    rounded = float(f"{number:.3g}")
    digits = max(0, 2 - math.floor(math.log10(abs(rounded))))
    shown = f"{rounded:,.{digits}f}"
    return shown.rstrip("0") if abs(rounded) < 0.1 else shown


def duration(microseconds: float) -> str:
    """In the unit that makes it short: 850 µs, 1.24 ms, 2.10 s."""
    for scale, unit in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= scale:
            return f"{figure(microseconds / scale)} {unit}"
    return f"{figure(microseconds)} µs"


def moment(nanoseconds: int) -> str:
    """A point of a history's time, to the microsecond."""
    return f"{nanoseconds / 1e9:,.6f} s"


def dollars(amount: float) -> str:
    return f"${figure(amount)}" if amount else "$0"


def many(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def named(fault: str) -> str:
    """A fault as people say it: `cut after request`."""
    return printable(fault).replace("_", " ")


def plain(text: str) -> str:
    """A title without the marks of code, and without what cannot be shown in XML."""
    return printable(text).replace("`", "")


def printable(text: str) -> str:
    """Control characters, which XML forbids, and those that turn the direction of writing, made visible."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )


def code_parts(text: str) -> list[tuple[str, bool]]:
    """A title in pieces, each with whether it stands between backticks."""
    return [(part, index % 2 == 1) for index, part in enumerate(re.split(r"`([^`]*)`", text)) if part]


def asked(operation: Witness) -> str:
    """What an operation asked for: `add 1, at most 10`."""
    bounds = [
        f"{word} {bound}"
        for word, bound in (("at most", operation.ceiling), ("at least", operation.floor))
        if bound is not None
    ]
    takes_amount = operation.kind in ("add", "set")
    return ", ".join([f"{operation.kind} {operation.amount}" if takes_amount else operation.kind, *bounds])


def answered(operation: Witness) -> str:
    """What was answered: `5, before it 4, revision 5`."""
    if operation.answered_ns is None or operation.result == "unknown":
        return "no answer" if operation.answered_ns is None else "an error: it may have happened"
    if operation.result == "refused":
        return "refused: it did not happen"
    parts = [] if operation.value is None else [str(operation.value)]
    if operation.result == "rejected":
        parts = ["rejected" if operation.value is None else f"rejected at {operation.value}"]
    parts += [] if operation.previous is None else [f"before it {operation.previous}"]
    parts += [] if operation.revision is None else [f"revision {operation.revision}"]
    return ", ".join(parts) or "done"
