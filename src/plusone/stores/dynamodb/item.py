"""A counter's item and a token's, as DynamoDB returns them, and what the protocol says of a request before them."""

from __future__ import annotations

from typing import Final

import msgspec

from plusone.errors import CorruptRecord
from plusone.stores.protocol import Answer, GuardedAdd, Record, TokenRecord
from plusone.types import MAX, MIN


class Number(msgspec.Struct, frozen=True, gc=False):
    number: int = msgspec.field(name="N")


class Text(msgspec.Struct, frozen=True, gc=False):
    text: str = msgspec.field(name="S")


class Numbers(msgspec.Struct, frozen=True):
    entries: dict[str, Number] = msgspec.field(name="M")


_NONE: Final = Numbers({})


class Before(msgspec.Struct, frozen=True, gc=False):
    """What the item of a counter says without its sessions; for a reader, and for whoever has changed it."""

    v: Number
    r: Number
    e: Number | None = None
    u: Number | None = None

    def record(self, now_ms: int) -> Record:
        alive = self.e is None or self.e.number > now_ms
        return Record(self.v.number if alive else 0, self.r.number, alive, None if self.u is None else self.u.number)


class Item(msgspec.Struct, frozen=True):
    """A counter's item. The attributes are explained in `step.partiql`."""

    v: Number
    r: Number
    s: Numbers
    b: Numbers
    q: Numbers
    t: Numbers
    e: Number | None = None
    x: Number | None = None
    k: Number | None = None

    def is_alive(self, now_ms: int) -> bool:
        return self.e is None or self.e.number > now_ms


class Token(msgspec.Struct, frozen=True):
    d: Text
    v: Number
    r: Number
    a: Number
    e: Number


ABSENT: Final = Item(Number(0), Number(0), _NONE, _NONE, _NONE, _NONE, e=Number(0))

_decode_item: Final = msgspec.json.Decoder(Item, strict=False).decode
_decode_before: Final = msgspec.json.Decoder(Before, strict=False).decode
_decode_token: Final = msgspec.json.Decoder(Token, strict=False).decode


def item(raw: bytes | msgspec.Raw, key: str) -> Item:
    """Raises `CorruptRecord` for an item that is no counter of ours."""
    try:
        found = _decode_item(raw)
    except msgspec.DecodeError as error:
        raise _corrupt(key, error) from None
    _check(found.v.number, key)
    return found


def before(raw: bytes | msgspec.Raw, key: str) -> Before:
    """Raises `CorruptRecord` for an item that is no counter of ours."""
    try:
        found = _decode_before(raw)
    except msgspec.DecodeError as error:
        raise _corrupt(key, error) from None
    _check(found.v.number, key)
    return found


def token_record(raw: bytes | msgspec.Raw, key: str, token: str, now_ms: int) -> TokenRecord | None:
    """The record of a token's item; None for one that has expired. Raises `CorruptRecord`."""
    try:
        found = _decode_token(raw)
    except msgspec.DecodeError as error:
        raise _corrupt(key, error) from None
    if found.e.number <= now_ms:
        return None
    return TokenRecord(token, found.d.text, found.v.number, found.r.number, found.a.number == 1)


def decide(item: Item, request: GuardedAdd, now_ms: int, known: tuple[TokenRecord, ...] = ()) -> Answer | None:
    """The answer to a request that this item does not admit; None for one that it does.

    `known` are those of the request's tokens that are recorded and have not expired.
    """
    writer = request.writer
    session = item.s.entries.get(writer)
    last = 0 if session is None else session.number
    if last == request.seq:
        value = item.b.entries.get(writer)
        revision, stamp = item.q.entries.get(writer), item.t.entries.get(writer)
        if revision is None or stamp is None:
            raise _corrupt(request.key, "a session lacks its revision or its time")
        return Answer("duplicate", None if value is None else value.number, revision.number, stamp.number % 2 == 1)
    if last > request.seq:
        return Answer("stale")
    if last < request.acked:
        return Answer("gap", last=last)
    alive = item.is_alive(now_ms)
    value_now = item.v.number if alive else 0
    if (
        known
        or not request.lo <= value_now <= request.hi
        or request.revision not in (None, item.r.number)
        or request.alive not in (None, alive)
    ):
        return Answer("missed", value_now, item.r.number, alive, tokens=known)
    return None


def missed(item: Item, now_ms: int) -> Answer:
    """For a request that this item admits, and that another writer kept from being applied each time."""
    alive = item.is_alive(now_ms)
    return Answer("missed", item.v.number if alive else 0, item.r.number, alive)


def _check(value: int, key: str) -> None:
    if not MIN <= value <= MAX:
        raise _corrupt(key, f"its value {value} has more than 64 bits")


def _corrupt(key: str, why: object) -> CorruptRecord:
    return CorruptRecord(
        f"DynamoDB: the item of {key!r} is no counter of ours: {why}; move it away, or use another table"
    )
