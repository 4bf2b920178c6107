"""A counter as one item: what it is in bytes, and what the step makes of these bytes. No I/O, and no clock.

    8 bytes    MAGIC, with the version of the format
    4 bytes    length of the row, big endian
    the row    a `Row` in MessagePack
    the rest   its tokens in MessagePack; nothing where there never was one

The tokens come last, and are only copied by a step that has none: a counter with many of them costs no more to decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from plusone.errors import CorruptRecord, PlusoneError, StoreRefused
from plusone.stores.protocol import Answer, GuardedAdd, Record, TokenRecord
from plusone.stores.record import Row, step, token_records

MAGIC: Final = b"plusone\x01"
TOKENS_MAX: Final = 512
"""Unexpired ones in an item; with these, and as many sessions as a counter can have, it stays below Momento's 1 MB."""
_HEAD: Final = len(MAGIC) + 4


class _Token(msgspec.Struct, array_like=True, gc=False):
    data: str
    value: int
    revision: int
    exists: bool
    until_ms: int


_Tokens = dict[str, _Token]
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_row: Final = msgspec.msgpack.Decoder(Row).decode
_decode_tokens: Final = msgspec.msgpack.Decoder(_Tokens).decode


class Change(NamedTuple):
    """The item that has to be stored, and what is then to be answered."""

    item: bytes
    answer: Answer


def decide(
    item: bytes | None, request: GuardedAdd, now_ms: int, token_retention_ms: int
) -> Change | Answer | PlusoneError:
    """The protocol's one step on an item as it was found (None: there is none); an answer if nothing is to change."""
    try:
        row, tokens = _unpack(item, request.key)
        recorded = _decode_tokens(tokens) if request.tokens and tokens else {}
    except CorruptRecord as error:
        return error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _corrupt(request.key)
    answer = step(row, request, now_ms, _known(recorded, request, now_ms) if recorded else ())
    if not row.change:
        return answer
    assert isinstance(answer, Answer)
    if request.tokens:
        living = {token: kept for token, kept in recorded.items() if kept.until_ms > now_ms}
        if len(living) + len(request.tokens) > TOKENS_MAX:
            return _full(len(living))
        for record in token_records(request, answer):
            living[record.token] = _Token(
                record.data, record.value, record.revision, record.exists, now_ms + token_retention_ms
            )
        tokens = _encode(living)
    return Change(_pack(row, tokens), answer)


def record(item: bytes | None, key: str, now_ms: int) -> Record:
    """What a reader is told of an item; raises `CorruptRecord`."""
    return _unpack(item, key)[0].record(now_ms) if item is not None else Record(0, 0, False, None)


def _pack(row: Row, tokens: bytes) -> bytes:
    row.change = 0
    packed = _encode(row)
    return b"".join((MAGIC, len(packed).to_bytes(4, "big"), packed, tokens))


def _unpack(item: bytes | None, key: str) -> tuple[Row, bytes]:
    if item is None:
        return Row(0, key), b""
    end = _HEAD + int.from_bytes(item[len(MAGIC) : _HEAD], "big")
    if not item.startswith(MAGIC) or end > len(item):
        raise _corrupt(key)
    try:
        row = _decode_row(item[_HEAD:end])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _corrupt(key) from None
    if row.key != key:
        raise _corrupt(key)
    return row, item[end:]


def _known(recorded: _Tokens, request: GuardedAdd, now_ms: int) -> Sequence[TokenRecord]:
    return [
        TokenRecord(write.token, kept.data, kept.value, kept.revision, kept.exists)
        for write in request.tokens
        if (kept := recorded.get(write.token)) is not None and kept.until_ms > now_ms
    ]


def _full(living: int) -> StoreRefused:
    return StoreRefused(
        f"Momento: this counter remembers {living} idempotency keys, and an item takes {TOKENS_MAX}; "
        "wait until some have expired, shorten token_retention, or spread over more counters"
    )


def _corrupt(key: str) -> CorruptRecord:
    return CorruptRecord(f"Momento holds something under the key of {key!r} that is no counter of ours")
