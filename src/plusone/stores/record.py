"""A counter's record in memory, and the one step upon it: for stores that decide in Python. No I/O, and no clock.

The last writer's session stands in the row itself, the others in JSON that is untouched while the writer stays the
same: what a hot counter writes at every batch is small, and the rest is only copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from plusone.errors import CorruptRecord, PlusoneError
from plusone.stores.protocol import Answer, GuardedAdd, Record, TokenRecord
from plusone.stores.sessions import SESSION_KEPT_MS, crowded, make_room


class Session(msgspec.Struct, array_like=True, frozen=True):
    """A writer's session, as it stands in the JSON of the column `others`."""

    seq: int
    value: int | None
    revision: int
    existed: int
    time_ms: int


class Row(msgspec.Struct, array_like=True, gc=False):
    """A counter's record as a store loads it; changed in place by the step."""

    id: int
    """The store's own; 0: not in the datastore."""
    key: str
    value: int = 0
    revision: int = 0
    expires_ms: int | None = 0
    updated_ms: int | None = None
    writer: str = ""
    """The last writer; empty as long as there was none."""
    seq: int = 0
    value_before: int | None = None
    revision_before: int = 0
    existed_before: int = 0
    written_ms: int = 0
    others: str = "{}"
    change: Literal[0, 1, 2] = 0
    """What is not in the datastore yet: 0 nothing; 1 value, revision, updated and the last writer's session; 2 more."""

    def record(self, now_ms: int) -> Record:
        """What a reader is told of it."""
        alive = self.expires_ms is None or self.expires_ms > now_ms
        return Record(self.value if alive else 0, self.revision, alive, self.updated_ms)


_Sessions = dict[str, Session]
_decode_sessions: Final = msgspec.json.Decoder(_Sessions).decode
_encode_sessions: Final = msgspec.json.Encoder().encode


def step(
    row: Row,
    request: GuardedAdd,
    now_ms: int,
    known: Sequence[TokenRecord] = (),
    *,
    session_kept_ms: int = SESSION_KEPT_MS,
) -> Answer | PlusoneError:
    """The protocol's one step. Applied, it leaves the new state in `row`; the tokens are left to the caller to write.

    `known` are those of the request's tokens that are recorded and have not expired.
    """
    others: _Sessions | None = None
    if row.writer == request.writer:
        last = row.seq
        if last == request.seq:
            return Answer("duplicate", row.value_before, row.revision_before, row.existed_before == 1)
    else:
        try:
            others = _decode_sessions(row.others)
        except msgspec.DecodeError as error:
            return CorruptRecord(f"the sessions of {row.key!r} are no sessions of ours: {error}")
        session = others.get(request.writer)
        last = 0 if session is None else session.seq
        if session is not None and last == request.seq:
            return Answer("duplicate", session.value, session.revision, session.existed == 1)
    if last > request.seq:
        return Answer("stale")
    if last < request.acked:
        return Answer("gap", last=last)

    alive = row.expires_ms is None or row.expires_ms > now_ms
    value = row.value if alive else 0
    if known:
        return Answer("missed", value, row.revision, alive, tokens=tuple(known))
    if (
        not request.lo <= value <= request.hi
        or (request.revision is not None and request.revision != row.revision)
        or (request.alive is not None and request.alive != alive)
    ):
        return Answer("missed", value, row.revision, alive)

    change: Literal[1, 2] = 1
    if others is not None:
        if not _take_over(row, others, request.writer, now_ms, session_kept_ms):
            return crowded()
        change = 2
    answer = Answer("applied", value, row.revision, alive)
    row.seq = request.seq
    row.value_before = None if request.closing else value
    row.revision_before = row.revision
    row.existed_before = 1 if alive else 0
    row.written_ms = now_ms
    if request.applied:
        row.value = (0 if request.restart else value) + request.total
        row.revision += request.applied
        row.updated_ms = now_ms
        if request.delete:
            row.expires_ms = 0
            change = 2
        elif not alive:
            row.expires_ms = None if request.ttl_ms is None else now_ms + request.ttl_ms
            change = 2
    if change > row.change:
        row.change = change
    return answer


def token_records(request: GuardedAdd, before: Answer) -> list[TokenRecord]:
    """What is recorded under the tokens of a request that was applied to this state."""
    assert before.value is not None
    state = (before.value, before.revision, before.exists)
    return [TokenRecord(token.token, token.data, *(token.before or state)) for token in request.tokens]


def _take_over(row: Row, sessions: _Sessions, writer: str, now_ms: int, kept_ms: int) -> bool:
    """Move the last writer's session among the others and make `writer` the last; False if there is no room for it."""
    if row.writer:
        sessions[row.writer] = Session(
            row.seq, row.value_before, row.revision_before, row.existed_before, row.written_ms
        )
    if sessions.pop(writer, None) is None and not make_room(sessions, now_ms, kept_ms=kept_ms):
        return False
    row.writer = writer
    row.others = _encode_sessions(sessions).decode()
    return True
