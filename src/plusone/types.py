"""The values that travel through every layer: operations going in, outcomes and counters coming out.

All of them are frozen. An `Operation` is valid by construction, so that no layer behind it checks again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

import msgspec

from plusone.errors import BoundReached, InvalidRequest, PreconditionFailed

MIN: Final = -(2**63)
MAX: Final = 2**63 - 1
"""A counter is a signed 64-bit integer; both ends are bounds of every add."""

NAME_BYTES_MAX: Final = 255
TOKEN_CHARACTERS_MAX: Final = 255
ACCOUNT_CHARACTERS_MAX: Final = 63
TTL_SECONDS_MAX: Final = 3_155_760_000  # a hundred years
_TTL_MS_MAX: Final = TTL_SECONDS_MAX * 1000
PAGE_LIMIT_MAX: Final = 1_000
_CONTROL_CHARACTER: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
"""C0, DEL and C1: what a terminal, a log or a header line would act upon."""
_ACCOUNT_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")

Kind: TypeAlias = Literal["add", "set", "delete"]
Reason: TypeAlias = Literal["ceiling", "floor", "overflow", "revision", "exists"]
Consistency: TypeAlias = Literal["strong", "eventual"]


class Operation(msgspec.Struct, frozen=True, gc=False):
    """One requested add, set or delete. Make it with `Operation.add`, `Operation.set` or `Operation.delete`.

    Raises `InvalidRequest`, which names the field, for anything that no counter could take.
    """

    kind: Kind
    amount: int = 0
    """What an add adds (it may be negative), or the value that a set writes."""
    floor: int | None = None
    ceiling: int | None = None
    token: str | None = None
    """The caller's idempotency key for this operation."""
    if_revision: int | None = None
    if_absent: bool = False
    ttl_ms: int | None = None

    @classmethod
    def add(
        cls,
        by: int = 1,
        *,
        ceiling: int | None = None,
        floor: int | None = None,
        token: str | None = None,
        if_revision: int | None = None,
        if_absent: bool = False,
        ttl: float | None = None,
    ) -> Operation:
        """Add `by`, which may be negative; a rise stops at `ceiling`, a fall at `floor`; `ttl` is in seconds."""
        return cls("add", by, floor, ceiling, token, if_revision, if_absent, ttl_milliseconds(ttl))

    @classmethod
    def set(
        cls,
        value: int,
        *,
        token: str | None = None,
        if_revision: int | None = None,
        if_absent: bool = False,
        ttl: float | None = None,
    ) -> Operation:
        """Make the counter `value`, whatever it was; `ttl` is in seconds and counts if the counter was dead."""
        return cls("set", value, None, None, token, if_revision, if_absent, ttl_milliseconds(ttl))

    @classmethod
    def delete(cls, *, token: str | None = None, if_revision: int | None = None) -> Operation:
        """Delete the counter; it reads as 0 from then on, and its revision goes on."""
        return cls("delete", 0, None, None, token, if_revision)

    def __post_init__(self) -> None:
        if self.kind not in ("add", "set", "delete"):
            raise InvalidRequest("kind", "must be add, set or delete")
        if self.kind != "add":
            _check_fields_of_another_kind(self)
        if self.ttl_ms is not None and (type(self.ttl_ms) is not int or not 1 <= self.ttl_ms <= _TTL_MS_MAX):
            raise InvalidRequest("ttl", f"must be whole milliseconds, from 1 to {_TTL_MS_MAX}")
        _check_integer("value" if self.kind == "set" else "by", self.amount)
        if self.floor is not None:
            _check_integer("floor", self.floor)
        if self.ceiling is not None:
            _check_integer("ceiling", self.ceiling)
            if self.floor is not None and self.floor > self.ceiling:
                raise InvalidRequest("floor", f"is {self.floor}, above the ceiling {self.ceiling}")
        if self.token is not None:
            check_token(self.token)
        if self.if_revision is not None:
            if type(self.if_revision) is not int or not 0 <= self.if_revision <= MAX:
                raise InvalidRequest("if_revision", "must be a revision: an integer from 0 to 2^63 - 1")
            if self.if_absent:
                raise InvalidRequest("if_absent", "contradicts if_revision: an absent counter has no revision to match")


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one operation. True in a condition exactly when it was applied."""

    applied: bool
    value: int
    """The value after the operation; when it was rejected, the value that rejected it."""
    previous: int
    """The value before the operation."""
    revision: int
    """How many operations the counter has taken, this one included when it was applied."""
    at: datetime
    """The writer's clock (UTC) when the operation was first sent. It orders nothing: the revision does."""
    replayed: bool = False
    """Whether this is the remembered outcome of an earlier call with the same token."""
    reason: Reason | None = None
    """Why it was rejected; None when it was applied."""

    def __bool__(self) -> bool:
        return self.applied

    def raise_for_rejection(self) -> Outcome:
        """Itself when applied; else raises `BoundReached` or `PreconditionFailed`, which carry this outcome."""
        if self.reason is None:
            return self
        if self.reason in ("revision", "exists"):
            raise PreconditionFailed(self)
        raise BoundReached(self)


class Counter(msgspec.Struct, frozen=True, gc=False):
    """A counter as it was read. An absent, deleted or expired one has value 0 and `exists` false."""

    name: str
    value: int
    revision: int
    exists: bool
    updated: datetime | None
    """When it was last changed, by the clock that the store goes by (UTC); None for one never written."""


class Page(msgspec.Struct, frozen=True):
    """Some counters of a listing, and the token that asks for the next ones (None at the end)."""

    counters: Sequence[Counter]
    next_page_token: str | None


def check_name(name: str) -> None:
    """Raise `InvalidRequest` unless `name` is 1 to 255 bytes of UTF-8 without control characters."""
    if not isinstance(name, str):
        raise InvalidRequest("name", f"must be a string, not {type(name).__name__}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidRequest("name", "is not valid Unicode: it has a lone surrogate") from None
    if not 1 <= size <= NAME_BYTES_MAX:
        raise InvalidRequest("name", f"must be 1 to {NAME_BYTES_MAX} bytes of UTF-8; this one has {size}")
    _check_no_control_characters("name", name)


def check_account(account: str) -> None:
    """Raise `InvalidRequest` unless `account` is 1 to 63 of `a-z 0-9 -`."""
    if not 1 <= len(account) <= ACCOUNT_CHARACTERS_MAX or not _ACCOUNT_CHARACTERS.issuperset(account):
        raise InvalidRequest("account", f"must be 1 to {ACCOUNT_CHARACTERS_MAX} characters of a-z, 0-9 and -")


def check_token(token: str) -> None:
    """Raise `InvalidRequest` unless `token` is 1 to 255 characters without control characters."""
    if not isinstance(token, str):
        raise InvalidRequest("token", f"must be a string, not {type(token).__name__}")
    if not 1 <= len(token) <= TOKEN_CHARACTERS_MAX:
        raise InvalidRequest("token", f"must be 1 to {TOKEN_CHARACTERS_MAX} characters; this one has {len(token)}")
    if not token.isascii():
        try:
            token.encode()
        except UnicodeEncodeError:
            raise InvalidRequest("token", "is not valid Unicode: it has a lone surrogate") from None
    _check_no_control_characters("token", token)


def utc(ms: int) -> datetime:
    """Milliseconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def milliseconds(moment: datetime) -> int:
    """A time as whole milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def ttl_milliseconds(ttl: float | None) -> int | None:
    """A time to live in seconds as whole milliseconds; raises `InvalidRequest` outside 1 ms to a hundred years."""
    if ttl is None:
        return None
    if type(ttl) not in (int, float) or not 0.001 <= ttl <= TTL_SECONDS_MAX:  # NaN fails the comparison too
        raise InvalidRequest("ttl", f"must be a number of seconds from 0.001 to {TTL_SECONDS_MAX}")
    return round(ttl * 1000)


def _check_fields_of_another_kind(operation: Operation) -> None:
    """Refuse what a set or a delete would not heed: whoever gave it meant it to count."""
    for field in ("floor", "ceiling"):
        if getattr(operation, field) is not None:
            raise InvalidRequest(field, "bounds an add only")
    if operation.kind == "delete":
        if operation.amount:
            raise InvalidRequest("amount", "must be 0 for a delete")
        if operation.if_absent:
            raise InvalidRequest("if_absent", "contradicts a delete")
        if operation.ttl_ms is not None:
            raise InvalidRequest("ttl", "is not for a delete")


def _check_integer(field: str, value: object) -> None:
    if type(value) is not int:
        raise InvalidRequest(field, f"must be an integer, not {type(value).__name__}")
    if not MIN <= value <= MAX:
        raise InvalidRequest(field, "is beyond 64 bits: it must lie in -2^63 to 2^63 - 1")


def _check_no_control_characters(field: str, text: str) -> None:
    if _CONTROL_CHARACTER.search(text):
        raise InvalidRequest(field, "must not contain control characters")
