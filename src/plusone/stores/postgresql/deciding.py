"""What `add.sql` did not take or did not apply: rows are loaded, decided here, and written if nothing came between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores.postgresql.connections import BEGIN, Link
from plusone.stores.protocol import Answer, GuardedAdd, TokenRecord
from plusone.stores.record import Row, step, token_records
from plusone.types import MAX, MIN

SESSION_KEPT_MS: Final = 5 * 60 * 1000
_decode_rows: Final = msgspec.json.Decoder(list[Row]).decode
_decode_tokens: Final = msgspec.json.Decoder(list[tuple[str, str, str, int, int, int]]).decode
_decode_others: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Change(msgspec.Struct):
    """A row as it is to be, on the condition that its last session is still this one."""

    row: Row
    writer: str
    seq: int
    tokens: Sequence[TokenRecord]


async def decide(
    link: Link, requests: Sequence[GuardedAdd], token_retention_ms: int
) -> Sequence[Answer | PlusoneError]:
    """Apply requests, whose keys come sorted. Raises only where none was applied.

    First without any lock, in two round trips. What others changed in between is done again, with its rows locked.
    """
    answers = await _attempt(link, requests, token_retention_ms)
    left = [request for request in requests if answers[request.key] is None]
    if left:
        try:
            answers |= await _locked(link, left, token_retention_ms)
        except PlusoneError as error:
            # The others are decided, and may have been applied.
            answers |= {request.key: error.again() for request in left}
    return [answers[request.key] or _contended() for request in requests]


def standby() -> StoreUnavailable:
    """For a server that does not have the latest."""
    return StoreUnavailable("PostgreSQL: the server is a standby; name the primary in the store URL")


async def _locked(
    link: Link, requests: Sequence[GuardedAdd], token_retention_ms: int
) -> Mapping[str, Answer | PlusoneError | None]:
    await link.execute(BEGIN)
    await link.change("lock", [request.key for request in requests])
    answers = await _attempt(link, requests, token_retention_ms)
    await link.execute("COMMIT")
    return answers


async def _attempt(
    link: Link, requests: Sequence[GuardedAdd], token_retention_ms: int
) -> dict[str, Answer | PlusoneError | None]:
    """The answers by their keys; None where the row was changed by others between loading and writing."""
    now_ms, rows, known = await _load(link, requests)
    answers: dict[str, Answer | PlusoneError | None] = {}
    changes: list[_Change] = []
    for request in requests:
        row = rows.get(request.key) or Row(0, request.key)
        writer, seq = row.writer, row.seq
        answer = step(row, request, now_ms, known.get(request.key, ()), session_kept_ms=SESSION_KEPT_MS)
        answers[request.key] = answer
        if not MIN <= row.value <= MAX:
            # The combiner's guards exclude it, and one row would keep the others from being written.
            answers[request.key] = StoreRefused("PostgreSQL: the sum is beyond 64 bits")
        elif row.change and isinstance(answer, Answer):
            changes.append(_Change(row, writer, seq, token_records(request, answer)))
    if not changes:
        return answers
    try:
        written = await _write(link, changes, token_retention_ms)
    except PlusoneError as error:
        if len(changes) == len(requests):
            raise
        return answers | {change.row.key: error.again() for change in changes}
    return answers | {change.row.key: None for change in changes if change.row.key not in written}


async def _load(
    link: Link, requests: Sequence[GuardedAdd]
) -> tuple[int, Mapping[str, Row], Mapping[str, Sequence[TokenRecord]]]:
    asked = [(request.key, token.token) for request in requests for token in request.tokens]
    in_recovery, now_ms, rows, tokens = await link.ask(
        "load", [request.key for request in requests], [key for key, _ in asked], [token for _, token in asked]
    )
    if in_recovery:
        link.drop()
        raise standby()
    known: dict[str, list[TokenRecord]] = {}
    for key, token, data, value, revision, existed in _decode_tokens(tokens or "[]"):
        known.setdefault(key, []).append(TokenRecord(token, data, value, revision, existed == 1))
    return now_ms, {row.key: row for row in _decode_rows(rows or "[]")}, known


async def _write(link: Link, changes: Sequence[_Change], token_retention_ms: int) -> frozenset[str]:
    """Write the rows and tokens; the keys whose rows were written."""
    rows = [change.row for change in changes]
    tokens = [(change.row.key, token) for change in changes for token in change.tokens]
    [written] = await link.change(
        "write",
        [row.key for row in rows],
        [row.value for row in rows],
        [row.revision for row in rows],
        [row.expires_ms for row in rows],
        [row.updated_ms for row in rows],
        [row.writer for row in rows],
        [row.seq for row in rows],
        [row.value_before for row in rows],
        [row.revision_before for row in rows],
        [row.existed_before for row in rows],
        [row.written_ms for row in rows],
        [len(_decode_others(row.others)) for row in rows],
        [row.others for row in rows],
        [change.writer for change in changes],
        [change.seq for change in changes],
        [key for key, _ in tokens],
        [token.token for _, token in tokens],
        [token.data for _, token in tokens],
        [token.value for _, token in tokens],
        [token.revision for _, token in tokens],
        [int(token.exists) for _, token in tokens],
        token_retention_ms,
    )
    return frozenset(written or ())


def _contended() -> OutcomeUnknown:
    """A locked row does not change; if it did all the same, nothing is known."""
    return OutcomeUnknown("PostgreSQL: a locked row was changed; is there a trigger on the table?")
