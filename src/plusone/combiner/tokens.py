"""What is remembered under a token, and how its outcomes fold again from it. Pure, like the fold.

A store keeps two things for a token: the counter's state before the batch that recorded it, and our notes, which say
where in that batch the token's group began. From both, the same operations fold to the same outcomes, rejections
included, and nothing else needs to be kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from plusone.errors import CorruptRecord, TokenReused
from plusone.folding import Group, fold
from plusone.stores.protocol import TokenRecord
from plusone.types import Operation, Outcome, milliseconds, utc


class _Notes(msgspec.Struct, frozen=True, array_like=True):
    fingerprint: str
    absolute: bool
    """Whether `value` is the value where the group begins (behind a set), or its distance from the batch's start."""
    value: int
    revision: int
    """Operations that the batch applied before the group."""
    at_ms: int
    """The outcome's time, in milliseconds since 1970."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Notes).decode


def fingerprint(operations: Sequence[Operation]) -> str:
    """128 bits over everything that makes the operations what they are, except their tokens."""
    subject = [(o.kind, o.amount, o.floor, o.ceiling, o.ttl_ms, o.if_revision, o.if_absent) for o in operations]
    return hashlib.blake2b(msgspec.json.encode(subject), digest_size=16).hexdigest()


def notes(group: Group, first: Outcome, start_value: int, start_revision: int, behind_set: bool) -> str:
    """What to keep for a group whose first outcome, in a fold from the start state, is `first`."""
    revision_before = first.revision - first.applied
    return _encode(
        _Notes(
            fingerprint(group.operations),
            behind_set,
            first.previous if behind_set else first.previous - start_value,
            revision_before - start_revision,
            milliseconds(first.at),
        )
    ).decode()


def recall(record: TokenRecord, group: Group) -> list[Outcome]:
    """The outcomes of the group that the record is about.

    Raises `TokenReused` if it is about another, and `CorruptRecord` if it is none of ours.
    """
    try:
        kept = _decode(record.data)
        at = utc(kept.at_ms)
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise CorruptRecord(f"what the datastore holds under this token is no record of ours: {error}") from None
    if kept.fingerprint != fingerprint(group.operations):
        raise TokenReused
    folded = fold(
        kept.value if kept.absolute else record.value + kept.value,
        record.revision + kept.revision,
        record.exists or kept.revision > 0,
        group.operations,
        at,
    )
    return [replayed(outcome) for outcome in folded.outcomes]


def replayed(outcome: Outcome) -> Outcome:
    """The same outcome, marked as answered before."""
    return Outcome(outcome.applied, outcome.value, outcome.previous, outcome.revision, outcome.at, True, outcome.reason)
