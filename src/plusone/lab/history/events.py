"""What a history consists of: its header, calls, answers and marks."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from plusone.errors import InvalidRequest
from plusone.types import MAX, MIN

FORMAT: Final = 1

OperationKind: TypeAlias = Literal["add", "set", "delete", "read"]
AnswerResult: TypeAlias = Literal["applied", "rejected", "read", "unknown", "refused"]
Phase: TypeAlias = Literal["begin", "end", "hit"]
Setting: TypeAlias = str | int | float | bool | None

KINDS: Final[tuple[OperationKind, ...]] = ("add", "set", "delete", "read")
RESULTS: Final[tuple[AnswerResult, ...]] = ("applied", "rejected", "read", "unknown", "refused")
_ALLOWED: Final = {
    "add": {"applied", "rejected", "unknown", "refused"},
    "set": {"applied", "unknown", "refused"},
    "delete": {"applied", "unknown", "refused"},
    "read": {"read", "unknown", "refused"},
}


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="history"):
    """How the history came to be: what it takes to repeat it."""

    format: int = FORMAT
    subject: str
    store: str
    """The store URL, redacted."""
    seed: int
    settings: dict[str, Setting] = {}
    versions: dict[str, str] = {}
    started: str
    """UTC, ISO 8601."""


class Call(msgspec.Struct, frozen=True, kw_only=True, tag="call", omit_defaults=True, gc=False):
    """A caller asks for one operation."""

    number: int
    at_ns: int
    """Nanoseconds since the history's beginning, by a monotonic clock."""
    process: int
    """Which caller; one that was told `unknown` may go on under the same number."""
    counter: str
    kind: OperationKind
    amount: int = 0
    """What an add adds, or the value that a set writes."""
    ceiling: int | None = None
    floor: int | None = None
    token: str | None = None
    """Calls on one counter with one token are one operation, asked for several times."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag="answer", omit_defaults=True, gc=False):
    """What the caller was told; at most one for each call."""

    number: int
    """Of the call."""
    at_ns: int
    result: AnswerResult
    """`unknown`: it may have happened, now or later. `refused`: it definitely did not happen, and will not."""
    value: int | None = None
    """After the operation; of a rejected one the value that rejected it."""
    previous: int | None = None
    revision: int | None = None


class Mark(msgspec.Struct, frozen=True, kw_only=True, tag="mark"):
    """A fault began, ended, or hit something."""

    at_ns: int
    fault: str
    phase: Phase
    detail: str = ""


Event: TypeAlias = Call | Answer | Mark


def problem(kind: OperationKind, answer: Answer) -> str:
    """What is wrong with this answer to a call of this kind; empty if nothing is."""
    if answer.result not in _ALLOWED[kind]:
        return f"to a call of kind {kind} cannot be {answer.result!r}"
    if answer.result == "read" and answer.value is None:
        return "to a read tells no value"
    for field in ("value", "previous", "revision"):
        number = getattr(answer, field)
        if number is not None and not (0 if field == "revision" else MIN) <= number <= MAX:
            return f"tells a {field} of {number}, which is beyond 64 bits"
    return ""


def check_integer(field: str, number: int | None) -> None:
    if number is not None and not MIN <= number <= MAX:
        raise InvalidRequest(field, "is beyond 64 bits: it must lie in -2^63 to 2^63 - 1")
