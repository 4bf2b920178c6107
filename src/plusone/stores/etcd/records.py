"""How counters and tokens stand in etcd: their keys, and their values, which are JSON that people can read.

A counter is `<prefix>c/<account/name>`, a token of it `<prefix>t/<account/name>\\0<token>`; neither names nor tokens
have control characters.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from plusone.errors import CorruptRecord
from plusone.stores.protocol import TokenRecord
from plusone.stores.record import Row

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Counter(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, gc=False):
    """The fields of `Row`, without those that are nobody else's concern."""

    version: Literal[1]
    value: _Int64
    revision: _Count
    expires_ms: _Int64 | None
    updated_ms: _Int64 | None
    writer: str
    seq: _Count
    value_before: _Int64 | None
    revision_before: _Count
    existed_before: Literal[0, 1]
    written_ms: _Int64
    others: msgspec.Raw


class _Token(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, gc=False):
    version: Literal[1]
    until_ms: _Int64
    data: str
    value: _Int64
    revision: _Count
    existed: bool


_encode: Final = msgspec.json.Encoder().encode
_decode_counter: Final = msgspec.json.Decoder(_Counter).decode
_decode_token: Final = msgspec.json.Decoder(_Token).decode


def counters(prefix: bytes, key: str = "") -> bytes:
    """The etcd key of the counter `account/name`, or what those begin with whose key begins with `key`."""
    return b"%bc/%b" % (prefix, key.encode())


def tokens(prefix: bytes, key: str, token: str = "") -> bytes:
    """The etcd key of a token of that counter, or what those of all its tokens begin with."""
    return b"%bt/%b\0%b" % (prefix, key.encode(), token.encode())


def counter_of(prefix: bytes, etcd_key: bytes) -> str:
    """The counter's `account/name`. Raises `UnicodeDecodeError` for a key that is none of ours."""
    return etcd_key[len(prefix) + 2 :].decode()


def end_of(beginning: bytes) -> bytes:
    """Where the range of all keys with this beginning ends."""
    return beginning[:-1] + bytes([beginning[-1] + 1])


def encode(row: Row) -> bytes:
    return _encode(
        _Counter(
            1,
            row.value,
            row.revision,
            row.expires_ms,
            row.updated_ms,
            row.writer,
            row.seq,
            row.value_before,
            row.revision_before,
            1 if row.existed_before else 0,
            row.written_ms,
            msgspec.Raw(row.others.encode()),
        )
    )


def decode(key: str, value: bytes | None) -> Row:
    """The record of that counter; one as yet unwritten for None. Raises `CorruptRecord`."""
    if value is None:
        return Row(0, key)
    try:
        found = _decode_counter(value)
        others = bytes(found.others).decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _corrupt(key, error) from error
    return Row(
        1,
        key,
        found.value,
        found.revision,
        found.expires_ms,
        found.updated_ms,
        found.writer,
        found.seq,
        found.value_before,
        found.revision_before,
        found.existed_before,
        found.written_ms,
        others,
    )


def encode_token(record: TokenRecord, until_ms: int) -> bytes:
    return _encode(_Token(1, until_ms, record.data, record.value, record.revision, record.exists))


def decode_token(key: str, token: str, value: bytes, now_ms: int) -> TokenRecord | None:
    """The recorded token; None if it has expired. Raises `CorruptRecord`."""
    try:
        found = _decode_token(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _corrupt(f"{key}, token {token}", error) from error
    if found.until_ms <= now_ms:
        return None
    return TokenRecord(token, found.data, found.value, found.revision, found.existed)


def _corrupt(what: str, error: Exception) -> CorruptRecord:
    return CorruptRecord(
        f"etcd: under {what!r} stands no record of this version's ({error}); move it away, or use another prefix"
    )
