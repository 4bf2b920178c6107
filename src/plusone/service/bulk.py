"""Many increments in one request: a JSON array, or JSON values a line each (NDJSON). A bad item fails alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from plusone.counters import Counters
from plusone.errors import InvalidRequest, PlusoneError
from plusone.service.messages import BulkItem, BulkOutcome, OutcomeAnswer, Problem
from plusone.service.operations import reply
from plusone.service.problems import BodyTooLarge, problem
from plusone.service.requests import BULK_ITEM, NDJSON
from plusone.types import Operation, Outcome

ANSWERS_PER_PIECE: Final = 500
_encode: Final = msgspec.json.Encoder().encode
_split: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_SURROGATES: Final = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""Escaped backslashes and whole pairs, which are passed over, and what is left: halves."""
Result = BulkOutcome | Problem


class Answers(msgspec.Struct, frozen=True):
    """The answers in the order of the items."""

    results: Sequence[Result]
    replayed: bool
    """Whether nothing was decided anew: every outcome is the remembered one."""


async def apply(
    counters: Counters, content: bytes, media_type: str, token: str | None, *, items_max: int, as_text: bool = False
) -> Answers:
    """Apply all items of a body. `token` covers, for each counter, the items that have none of their own."""
    items = [_item(raw) for raw in _items(content, media_type, items_max)]
    outcomes = await counters.apply([pair for _, pair in items if pair is not None], token=token)
    following = iter(outcomes)
    results = [_result(item, next(following) if pair is not None else None, as_text=as_text) for item, pair in items]
    decided = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
    return Answers(results, bool(decided) and all(outcome.replayed for outcome in decided))


def pieces(results: Sequence[Result], media_type: str) -> Iterator[bytes]:
    """The answers' text, some hundred at a time."""
    if media_type == NDJSON:
        for start in range(0, len(results), ANSWERS_PER_PIECE):
            yield b"".join(_encode(result) + b"\n" for result in results[start : start + ANSWERS_PER_PIECE])
        return
    yield b"["
    for start in range(0, len(results), ANSWERS_PER_PIECE):
        piece = b",".join(_encode(result) for result in results[start : start + ANSWERS_PER_PIECE])
        yield b"," + piece if start else piece
    yield b"]"


def _items(content: bytes, media_type: str, items_max: int) -> Sequence[msgspec.Raw | bytes]:
    items: Sequence[msgspec.Raw | bytes]
    if media_type == NDJSON:
        items = [line for line in content.split(b"\n") if line.strip()]
    else:
        try:
            items = _split(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # msgspec takes half a surrogate pair for the end of the text.
            half = next((found for found in _SURROGATES.finditer(content) if found["half"]), None)
            what = error if half is None else f"half a surrogate pair at byte {half.start()}"
            raise InvalidRequest("body", f"is not a JSON array: {what}") from None
    if len(items) > items_max:
        raise BodyTooLarge(f"has {len(items)} items; {items_max} are allowed")
    return items


def _item(raw: msgspec.Raw | bytes) -> tuple[BulkItem | PlusoneError, tuple[str, Operation] | None]:
    """An item and what to apply for it; or the error that it is answered with."""
    try:
        item = BULK_ITEM.decode(raw)
        operation = Operation.add(item.by, ceiling=item.ceiling, floor=item.floor, token=item.token, ttl=item.ttl)
    except PlusoneError as error:
        return error, None
    return item, (item.name, operation)


def _result(item: BulkItem | PlusoneError, outcome: Outcome | PlusoneError | None, *, as_text: bool) -> Result:
    if isinstance(item, PlusoneError):
        return problem(item, token_field="token", as_text=as_text)
    if not isinstance(outcome, Outcome):
        assert outcome is not None
        return problem(outcome, token_field="token" if item.token is not None else "Idempotency-Key", as_text=as_text)
    answer = reply(item.name, outcome, item.by, item.ceiling, item.floor, as_text=as_text)
    if isinstance(answer.content, OutcomeAnswer):
        return BulkOutcome(**msgspec.structs.asdict(answer.content), status=200, replayed=answer.replayed)
    return msgspec.structs.replace(answer.content, replayed=answer.replayed)
