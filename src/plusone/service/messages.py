"""The bodies of requests and answers. What a request may contain is stated here once, for the decoder and OpenAPI."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from plusone.types import MAX, MIN, TTL_SECONDS_MAX, Counter, Outcome

Integer: TypeAlias = Annotated[int, Meta(ge=MIN, le=MAX)]
Number: TypeAlias = int | str
"""An integer, or its decimal digits where the caller asked with `?numbers=string`."""
Seconds: TypeAlias = Annotated[float, Meta(ge=0.001, le=TTL_SECONDS_MAX)]


class AddRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an increment adds, or a decrement subtracts. Every member may be left out, and so may the body."""

    by: Integer = 1
    ceiling: Integer | None = None
    """A rise that would pass it is rejected."""
    floor: Integer | None = None
    """A fall that would pass it is rejected."""
    ttl: Seconds | None = None
    """Seconds to live, from when the counter comes to life."""


class SetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a counter is set to."""

    value: Integer
    ttl: Seconds | None = None


class BulkItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of many increments. `by` may be negative."""

    name: str
    by: Integer = 1
    ceiling: Integer | None = None
    floor: Integer | None = None
    ttl: Seconds | None = None
    token: str | None = None
    """An idempotency key of the item's own, instead of the request's."""


class OutcomeAnswer(msgspec.Struct, frozen=True):
    """What became of an operation that was applied."""

    name: str
    value: Number
    previous: Number
    revision: Number
    applied: Literal[True]
    at: str


class ClassicAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A classic route's answer to an increment that was applied."""

    counter: Number
    use_conditional_writes: bool
    """Whether there is a maximum."""


class ClassicRefusal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A classic route's answer at the maximum."""

    error: str
    use_conditional_writes: bool


class CounterAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A counter as it was read."""

    name: str
    value: Number
    revision: Number
    exists: bool
    updated: str | None
    """When it was last changed; null where it never was."""


class PageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Some counters of a listing. `next_page_token` asks for those after them; null at the end."""

    counters: list[CounterAnswer]
    next_page_token: str | None


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document (RFC 9457). `type` is a path at which this service explains it."""

    type: str
    title: str
    status: int
    detail: str
    applied: Literal["no", "maybe"]
    """Whether the operation may have happened."""
    field: str | None = None
    """The member, parameter or header that is not acceptable."""
    reason: Literal["ceiling", "floor", "overflow", "revision", "exists"] | None = None
    value: Number | None = None
    """The counter's present value."""
    revision: Number | None = None
    requested: Number | None = None
    """What was to be added, or set."""
    ceiling: Number | None = None
    floor: Number | None = None
    replayed: bool = False
    """In a bulk, as for `BulkOutcome`."""


class BulkOutcome(OutcomeAnswer, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to an item that was applied."""

    status: Literal[200]
    applied: Literal[True]
    replayed: bool = False
    """Whether this is the remembered outcome of an earlier request with the same key; left out when it is not."""


_last_at: tuple[datetime | None, str] = (None, "")


def rfc3339(at: datetime) -> str:
    """A UTC time as RFC 3339 with milliseconds and Z."""
    # The outcomes of a batch share one datetime, so the last text is often the next one too.
    global _last_at
    known, text = _last_at
    if at is not known:
        text = at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
        _last_at = (at, text)
    return text


def rfc3339_ms(at_ms: int) -> str:
    """Milliseconds since 1970, in the same form."""
    return rfc3339(datetime.fromtimestamp(at_ms / 1000, UTC))


def outcome_answer(name: str, outcome: Outcome, *, as_text: bool = False) -> OutcomeAnswer:
    """The answer to an operation that was applied."""
    value, previous, revision = outcome.value, outcome.previous, outcome.revision
    if as_text:
        return OutcomeAnswer(name, str(value), str(previous), str(revision), True, rfc3339(outcome.at))
    return OutcomeAnswer(name, value, previous, revision, True, rfc3339(outcome.at))


def counter_answer(counter: Counter, *, as_text: bool = False) -> CounterAnswer:
    """The answer to a read."""
    number = str if as_text else _itself
    return CounterAnswer(
        name=counter.name,
        value=number(counter.value),
        revision=number(counter.revision),
        exists=counter.exists,
        updated=None if counter.updated is None else rfc3339(counter.updated),
    )


def _itself(number: int) -> Number:
    return number
