"""A counter as a document, and what one step makes of it: an answer, or a write that holds only for this very document.

Every write puts a new random `stamp` into the document, and asks for the stamp that it was decided on: whatever else
was written meanwhile, the write does not find its document and changes nothing. So a decision may be made here, on a
document that was read before or that an earlier write left; what is written are its results. A stamp is never used
again, not even after a document was removed, or after a failover undid a write.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from plusone.errors import CorruptRecord, PlusoneError, StoreRefused
from plusone.stores.mongodb.templates import Statement
from plusone.stores.protocol import Answer, GuardedAdd, Record, TokenRecord
from plusone.stores.record import Row, Session, step, token_records

DEAD_KEPT_MS: Final = 60 * 60 * 1000
TOKENS_PER_COUNTER: Final = 4_000
"""They stand in the counter's document, which may have 16 MB; a token takes 1.5 kB at most."""
WITHOUT_TOKENS: Final = {"tokens": 0}
"""A projection: a document without its tokens."""

_WRITE: Final = Statement("write.json")
_CREATE: Final = Statement("create.json")


class Token(msgspec.Struct, frozen=True, gc=False):
    """A recorded token, as it stands in a document."""

    token: str
    data: str
    value: int
    revision: int
    exists: bool
    until: int


class Document(msgspec.Struct, gc=False, rename={"key": "_id"}):
    """A counter's document. One with stamp 0 is not in the datastore."""

    key: str
    stamp: int = 0
    value: int = 0
    revision: int = 0
    expires: int | None = 0
    """None: never. 0: dead by every clock."""
    updated: int | None = None
    sessions: dict[str, Session] = {}
    token_count: int = 0
    tokens_until: int = 0
    """When the last token expires."""
    tokens: list[Token] | None = None
    """None: there may be some, but they were not read."""

    def record(self, now_ms: int) -> Record:
        """What a reader is told of it."""
        alive = self.expires is None or self.expires > now_ms
        return Record(self.value if alive else 0, self.revision, alive, self.updated)


class Write(msgspec.Struct, gc=False):
    """A write that was decided on, and what follows if it finds its document unchanged."""

    request: GuardedAdd
    answer: Answer
    statement: dict[str, Any]
    after: Document
    """The document as the write leaves it, without its tokens."""


def parse(found: dict[str, Any]) -> Document | CorruptRecord:
    """A document as it was found; what is no counter of ours is an error."""
    try:
        document = msgspec.convert(found, Document)
    except msgspec.ValidationError as error:
        return CorruptRecord(f"MongoDB: {found['_id']!r} holds a document that is no counter of plusone's: {error}")
    if not document.stamp:
        return CorruptRecord(f"MongoDB: {found['_id']!r} holds a document that is no counter of plusone's: no stamp")
    return document


def absent(key: str) -> Document:
    """What stands for a counter that has no document."""
    return Document(key, tokens=[])


def decide(
    document: Document, request: GuardedAdd, now_ms: int, retention_ms: int
) -> Write | Answer | PlusoneError | None:
    """The protocol's one step; None where it cannot be decided without the document's tokens."""
    row = _row(document, request.writer)
    known: list[TokenRecord] = []
    if request.tokens and document.tokens:
        asked = {token.token for token in request.tokens}
        known = [
            TokenRecord(token.token, token.data, token.value, token.revision, token.exists)
            for token in document.tokens
            if token.token in asked and token.until > now_ms
        ]
    answer = step(row, request, now_ms, known)
    if isinstance(answer, PlusoneError) or answer.status != "applied":
        return answer
    after = Document(
        document.key,
        int.from_bytes(os.urandom(8)) >> 1 or 1,
        row.value,
        row.revision,
        row.expires_ms,
        row.updated_ms,
        {**document.sessions, request.writer: _session(row)},
        document.token_count,
        document.tokens_until,
    )
    gone: Sequence[str] = ()
    if request.writer not in document.sessions and document.sessions:
        kept = msgspec.json.decode(row.others, type=dict[str, Session])
        gone = [writer for writer in document.sessions if writer not in kept]
        for writer in gone:
            del after.sessions[writer]
    tokens = _tokens(document, after, request, answer, now_ms, retention_ms)
    if tokens is None or isinstance(tokens, PlusoneError):
        return tokens
    return Write(request, answer, _statement(document, after, request, tokens, gone, now_ms), after)


class _Tokens(msgspec.Struct, gc=False):
    """What becomes of the tokens: all those that stay, or those that come."""

    come: list[dict[str, Any]] = []
    stay: list[dict[str, Any]] | None = None
    asked: bool = False
    """Whether the write has to ask if one of them is recorded already."""


def _tokens(
    document: Document, after: Document, request: GuardedAdd, answer: Answer, now_ms: int, retention_ms: int
) -> _Tokens | PlusoneError | None:
    """What the write does to the tokens; counts them in `after`."""
    until = now_ms + retention_ms
    come = [_encode_token(record, until) for record in token_records(request, answer)]
    if not come and (not document.token_count or document.tokens_until > now_ms):
        return _Tokens()
    if come:
        after.tokens_until = max(document.tokens_until, until)
    after.token_count = document.token_count + len(come)
    if document.tokens_until <= now_ms:
        after.token_count = len(come)
        return _Tokens(stay=come)
    if document.tokens is None:
        return None if after.token_count > TOKENS_PER_COUNTER else _Tokens(come, asked=True)
    stay = [token for token in document.tokens if token.until > now_ms]
    after.token_count = len(stay) + len(come)
    if after.token_count > TOKENS_PER_COUNTER:
        return StoreRefused(
            f"MongoDB: {document.key!r} has {len(stay):,} unexpired tokens, and room for {TOKENS_PER_COUNTER:,};"
            " wait until some have expired, spread over more counters, or shorten token_retention"
        )
    if len(stay) == len(document.tokens):
        return _Tokens(come)
    return _Tokens(stay=[_encode_token(token, token.until) for token in stay] + come)


def _statement(
    document: Document, after: Document, request: GuardedAdd, tokens: _Tokens, gone: Sequence[str], now_ms: int
) -> dict[str, Any]:
    values = {
        "key": document.key,
        "stamp": Int64(document.stamp),
        "new_stamp": Int64(after.stamp),
        "value": Int64(after.value),
        "revision": Int64(after.revision),
        "expires": _int64(after.expires),
        "updated": _int64(after.updated),
        "gone_at": _gone_at(after, now_ms),
        "token_count": Int64(after.token_count),
        "tokens_until": Int64(after.tokens_until),
    }
    session = _encode_session(after.sessions[request.writer])
    if not document.stamp:
        values["sessions"] = {request.writer: session}
        values["tokens"] = tokens.come if tokens.stay is None else tokens.stay
        return _CREATE.fill(values)
    statement = _WRITE.fill(values)
    update = statement["u"]
    update["$set"][f"sessions.{request.writer}"] = session
    if gone:
        update["$unset"] = {f"sessions.{writer}": "" for writer in gone}
    if tokens.stay is not None:
        update["$set"]["tokens"] = tokens.stay
    elif tokens.come:
        update["$push"] = {"tokens": {"$each": tokens.come}}
        if tokens.asked:
            statement["q"]["tokens.token"] = {"$nin": [token["token"] for token in tokens.come]}
    return statement


def _row(document: Document, writer: str) -> Row:
    """The document as the step takes it: only where the writer is new does it look at the others' sessions."""
    row = Row(1, document.key, document.value, document.revision, document.expires, document.updated)
    session = document.sessions.get(writer)
    if session is not None:
        row.writer, row.seq, row.value_before = writer, session.seq, session.value
        row.revision_before, row.existed_before = session.revision, session.existed
    elif document.sessions:
        row.others = msgspec.json.encode(document.sessions).decode()
    return row


def _session(row: Row) -> Session:
    return Session(row.seq, row.value_before, row.revision_before, row.existed_before, row.written_ms)


def _encode_session(session: Session) -> list[Any]:
    return [
        Int64(session.seq),
        _int64(session.value),
        Int64(session.revision),
        session.existed,
        Int64(session.time_ms),
    ]


def _encode_token(token: Token | TokenRecord, until: int) -> dict[str, Any]:
    return {
        "token": token.token,
        "data": token.data,
        "value": Int64(token.value),
        "revision": Int64(token.revision),
        "exists": token.exists,
        "until": Int64(until),
    }


def _int64(number: int | None) -> Int64 | None:
    return None if number is None else Int64(number)


def _gone_at(after: Document, now_ms: int) -> DatetimeMS | None:
    """When the server may remove the document: an hour after its end and its last write, behind its tokens."""
    if after.expires is None:
        return None
    return DatetimeMS(max(max(after.expires, now_ms) + DEAD_KEPT_MS, after.tokens_until))
