"""What replies of the server mean for a store: the answers of a script that had to be replicated, and records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from plusone.errors import CorruptRecord, OutcomeUnknown, PlusoneError
from plusone.stores.protocol import Answer, Record
from plusone.stores.redis.errors import translate
from plusone.stores.redis.packing import corrupt, unpack_record


def with_replicas(
    answers: Sequence[Answer | PlusoneError], replicas: Any, wanted: int
) -> Sequence[Answer | PlusoneError]:
    """The answers, where those that tell of a write hold only if enough replicas have it, as WAIT says."""
    if isinstance(replicas, int) and replicas >= wanted:
        return answers
    said = f"Redis: of {wanted} replicas that must have the write, WAIT answered: {replicas}"
    unmet = OutcomeUnknown(f"{said}; see that they keep up, or raise wait_timeout")
    return [
        unmet if isinstance(answer, Answer) and (answer.status in ("applied", "duplicate") or answer.tokens) else answer
        for answer in answers
    ]


def definite(reply: Any) -> Any:
    """The reply to a command that changes nothing, or its error raised."""
    if isinstance(reply, Exception):
        raise translate(reply)
    return reply


def milliseconds(time: Any) -> int:
    """What a reply to TIME says."""
    seconds, microseconds = definite(time)
    return int(seconds) * 1000 + int(microseconds) // 1000


def record(reply: Any, now_ms: int) -> Record | CorruptRecord:
    """The record of a reply to HGET."""
    if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
        return corrupt()
    try:
        return unpack_record(definite(reply), now_ms)
    except CorruptRecord as error:
        return error


def sound(keys: Sequence[str], found: Sequence[Record | CorruptRecord]) -> Sequence[Record]:
    """The records; raises `CorruptRecord`, with the key, for one that is none."""
    records: list[Record] = []
    for key, each in zip(keys, found, strict=True):
        if isinstance(each, CorruptRecord):
            raise CorruptRecord(f"{key!r}: {each}")
        records.append(each)
    return records
