"""The bytes that travel between Python and `step.lua`: requests packed, answers and records unpacked.

The formats are those at the head of `step.lua`; all numbers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from plusone.errors import CorruptRecord, PlusoneError, StoreRefused
from plusone.stores.protocol import Answer, GuardedAdd, Record, Status, TokenRecord
from plusone.stores.redis.keys import counter_key, token_key
from plusone.stores.sessions import crowded

_HEADER: Final = struct.Struct(">HBqB")
_pack_request = struct.Struct(">Bqqqqqq").pack
_ANSWER: Final = struct.Struct(">B?qq")
_STATE: Final = struct.Struct(">Bqqqqq")
_KNOWN: Final = struct.Struct(">HHqq?")
_VERSION: Final = 1

_RESTART, _DELETE, _CLOSING, _REVISION, _ALIVE, _DEAD, _TTL, _MORE = (1 << bit for bit in range(8))
_STATUS: Final[tuple[Status, ...]] = ("applied", "duplicate", "missed")
"""The answers that are nothing but a state, by their number."""
_APPLIED, _DUPLICATE, _MISSED, _CLOSED, _STALE, _GAP, _KNOWN_TOKENS, _CORRUPT, _CROWDED, _OVERFLOW = range(10)


def pack_call(
    batch: Sequence[GuardedAdd], *, prefix: str, waits: bool, token_retention_ms: int
) -> tuple[list[str], bytes]:
    """The keys and the one argument of a call; `waits` makes a duplicate write too."""
    writer = batch[0].writer
    session = b"w:" + writer.encode()
    parts = [_HEADER.pack(len(batch), waits, token_retention_ms, len(session)), session]
    keys: list[str] = []
    token_keys: list[str] = []
    for request in batch:
        key = counter_key(prefix, request.key)
        keys.append(key)
        flags = 0
        rest = b""
        if (
            request.restart
            or request.closing
            or request.tokens
            or request.revision is not None
            or request.alive is not None
            or request.ttl_ms is not None
            or request.writer != writer
        ):
            flags, rest = _pack_rest(request)
            token_keys += [token_key(key, token.token) for token in request.tokens]
        parts.append(
            _pack_request(flags, request.total, request.lo, request.hi, request.seq, request.acked, request.applied)
        )
        if rest:
            parts.append(rest)
    return keys + token_keys, b"".join(parts)


def _pack_rest(request: GuardedAdd) -> tuple[int, bytes]:
    """The flags of a request, and the fields that they announce."""
    flags = _RESTART * request.restart | _DELETE * request.delete | _CLOSING * request.closing
    if request.alive is not None:
        flags |= _ALIVE if request.alive else _DEAD
    rest = b""
    if request.revision is not None:
        flags |= _REVISION
        rest += request.revision.to_bytes(8, "big")
    if request.ttl_ms is not None:
        flags |= _TTL
        rest += request.ttl_ms.to_bytes(8, "big")
    session = b"w:" + request.writer.encode()
    rest += len(session).to_bytes(1, "big") + session + len(request.tokens).to_bytes(2, "big")
    for token in request.tokens:
        notes = token.data.encode()
        rest += len(notes).to_bytes(2, "big") + notes
    return flags | _MORE, rest


def unpack_answers(reply: bytes | list[object], batch: Sequence[GuardedAdd]) -> list[Answer | PlusoneError]:
    """The answers to a call, in the order of its batch."""
    known: list[bytes] = []
    if isinstance(reply, list):
        reply, known = reply  # type: ignore[assignment]
    assert isinstance(reply, bytes)
    tokens: dict[int, list[TokenRecord]] = {}
    for record in known:
        number, index, value, revision, exists = _KNOWN.unpack_from(record)
        token = batch[number].tokens[index].token
        tokens.setdefault(number, []).append(
            TokenRecord(token, record[_KNOWN.size :].decode("ascii", "replace"), value, revision, exists)
        )
    answers: list[Answer | PlusoneError] = []
    for status, exists, value, revision in _ANSWER.iter_unpack(reply):
        if status <= _MISSED:
            answers.append(Answer(_STATUS[status], value, revision, exists))
        else:
            answers.append(_rare(status, exists, value, revision, tuple(tokens.get(len(answers), ()))))
    return answers


def _rare(
    status: int, exists: bool, value: int, revision: int, tokens: tuple[TokenRecord, ...]
) -> Answer | PlusoneError:
    if status == _CLOSED:
        return Answer("duplicate", None, revision, exists)
    if status == _STALE:
        return Answer("stale")
    if status == _GAP:
        return Answer("gap", last=revision)
    if status == _KNOWN_TOKENS:
        return Answer("missed", value, revision, exists, tokens=tokens)
    if status == _CORRUPT:
        return corrupt()
    if status == _CROWDED:
        return crowded()
    return StoreRefused("the batch would leave 64 bits: its guard should have excluded that")


def unpack_record(state: object, now_ms: int) -> Record:
    """The record of a state field (None where there is none); raises `CorruptRecord` for what is no state."""
    if state is None:
        return Record(0, 0, False, None)
    if not isinstance(state, bytes) or len(state) != _STATE.size or state[0] != _VERSION:
        raise corrupt()
    _, value, revision, expires_ms, updated_ms, _ = _STATE.unpack(state)
    alive = expires_ms > now_ms
    return Record(value if alive else 0, revision, alive, updated_ms or None)


def corrupt() -> CorruptRecord:
    return CorruptRecord("Redis holds something under this counter's key that is no counter of ours")
