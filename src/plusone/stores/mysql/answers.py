"""From rows of `columns.sql` to answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from plusone.errors import CorruptRecord
from plusone.stores.mysql.connections import Rows
from plusone.stores.protocol import Answer, GuardedAdd, TokenRecord
from plusone.stores.record import Session

_APPLIED: Final = 1
"""Of the outcomes of `step.sql` the one that is in a hurry."""

Row: TypeAlias = Sequence[Any]
Known: TypeAlias = defaultdict[bytes, list[TokenRecord]]
_RESULTS_WITHOUT_TOKENS_MAX: Final = 4
decode_sessions: Final = msgspec.json.Decoder(dict[str, Session]).decode
encode_sessions: Final = msgspec.json.Encoder().encode


class Crowded(msgspec.Struct, frozen=True):
    """A new writer's session has no room among the others': `others` as the row has them, and the row's time."""

    key: str
    others: str
    now_ms: int


def parts(results: Sequence[Rows]) -> tuple[Mapping[bytes, Row], Known]:
    """The rows of `columns.sql` by their counter, and the known tokens, of a step's results."""
    if len(results) <= _RESULTS_WITHOUT_TOKENS_MAX:
        rows, known = results[-2], _known_tokens(())
    else:
        rows, known = results[-3], _known_tokens(results[-2])
    return {row[0]: row for row in rows}, known


def _known_tokens(rows: Rows) -> Known:
    """The records of `known_tokens.sql`, by the bytes of their counter."""
    known: Known = defaultdict(list)
    for counter, token, data, value, revision, existed in rows:
        known[counter].append(TokenRecord(token.decode(), data.decode(), value, revision, existed == 1))
    return known


def answer(request: GuardedAdd, row: Row, known: Known) -> Answer | Crowded | CorruptRecord | None:
    """None for a counter that had no row: nothing happened but that it has one now."""
    outcome = row[1]
    if outcome == _APPLIED and not request.closing:
        return Answer("applied", row[2], row[3], row[4] == 1)
    counter, _, value_before, revision_before, existed_before, last, value, revision, alive, writer, now_ms, others = (
        row
    )
    match outcome:
        case None:
            return None
        case 1:
            # A closing leaves no value before, and changes none.
            return Answer("applied", value, revision, alive == 1)
        case 2 if writer == request.writer:
            return Answer("duplicate", value_before, revision_before, existed_before == 1)
        case 2:
            return _duplicate_of_another(request, others)
        case 3:
            return Answer("stale")
        case 4:
            return Answer("gap", last=last)
        case 5:
            return Answer("missed", value, revision, alive == 1, tokens=tuple(known[counter]))
        case 6:
            return Answer("missed", value, revision, alive == 1)
        case 8:
            return CorruptRecord(f"the sessions of {request.key!r} are no sessions of ours")
    return Crowded(request.key, others, now_ms)


def _duplicate_of_another(request: GuardedAdd, others: str) -> Answer | CorruptRecord:
    try:
        session = decode_sessions(others)[f"w{request.writer}"]
    except (msgspec.DecodeError, KeyError) as error:
        return CorruptRecord(f"the sessions of {request.key!r} are no sessions of ours: {error}")
    return Answer("duplicate", session.value, session.revision, session.existed == 1)
