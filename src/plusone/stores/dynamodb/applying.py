"""Requests sent until each has its answer: in few rounds, of which only those go on that definitely applied nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from plusone.errors import CorruptRecord, OutcomeUnknown, PlusoneError, StoreRefused
from plusone.stores.dynamodb import reading
from plusone.stores.dynamodb.errors import bare, by_code
from plusone.stores.dynamodb.item import ABSENT, Item, before, decide, item, missed, token_record
from plusone.stores.dynamodb.keys import counter_key, token_key
from plusone.stores.dynamodb.statements import Statements
from plusone.stores.dynamodb.step import Plan, plan, token_statement
from plusone.stores.dynamodb.wire import Cancelled, Wire
from plusone.stores.protocol import Answer, GuardedAdd, TokenRecord

STATEMENTS_PER_CALL: Final = 25
_ROUNDS: Final = 4
"""A record may become alive, die, or be crowded between two of them. Whoever still misses is told so."""
_DECIDED_BY_READING: Final = frozenset({"None", "ConditionalCheckFailed", "DuplicateItem", "Validation"})
"""A transaction's reasons after which its items say what to answer. Some servers call a duplicate a bad request."""


class _Error(msgspec.Struct):
    code: str = msgspec.field(name="Code", default="")
    message: str = msgspec.field(name="Message", default="")
    item: msgspec.Raw = msgspec.field(name="Item", default_factory=msgspec.Raw)


class _Response(msgspec.Struct):
    item: msgspec.Raw = msgspec.field(name="Item", default_factory=msgspec.Raw)
    error: _Error | None = msgspec.field(name="Error", default=None)


class _Responses(msgspec.Struct):
    responses: list[_Response] = msgspec.field(name="Responses", default_factory=list)


_decode_responses: Final = msgspec.json.Decoder(_Responses).decode


class _Attempt(msgspec.Struct):
    """A request on its way to its answer."""

    request: GuardedAdd
    known: Item | None = None
    """Its item as it was last seen; None: not at all."""
    answer: Answer | PlusoneError | None = None
    refused: str = ""
    """What DynamoDB had against the statement itself."""


class Applying:
    """How requests are applied on one table."""

    def __init__(self, wire: Wire, table: str, token_retention_ms: int) -> None:
        self._wire = wire
        self._table = table
        self._token_retention_ms = token_retention_ms
        self._statements = Statements(table)

    async def apply(self, batch: Sequence[GuardedAdd], now_ms: int) -> Sequence[Answer | PlusoneError]:
        """An answer or an error for each. Those with tokens are a transaction each, the others share calls."""
        attempts = [_Attempt(request) for request in batch]
        plain = [attempt for attempt in attempts if not attempt.request.tokens]
        calls = [
            self._several(plain[start : start + STATEMENTS_PER_CALL], now_ms)
            for start in range(0, len(plain), STATEMENTS_PER_CALL)
        ]
        calls += [self._with_tokens(attempt, now_ms) for attempt in attempts if attempt.request.tokens]
        if len(calls) == 1:
            await calls[0]
        else:
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    group.create_task(call)
        return [attempt.answer or OutcomeUnknown("DynamoDB: not answered") for attempt in attempts]

    # Counters without tokens.

    async def _several(self, attempts: Sequence[_Attempt], now_ms: int) -> None:
        """Answer these, which make one call."""
        pending = attempts
        for _ in range(_ROUNDS):
            try:
                await self._round(pending, now_ms)
            except PlusoneError as error:
                for attempt in pending:
                    attempt.answer = attempt.answer or error
            pending = [attempt for attempt in pending if attempt.answer is None]
            if not pending:
                return
        for attempt in pending:
            attempt.answer = missed(attempt.known or ABSENT, now_ms)

    async def _round(self, attempts: Sequence[_Attempt], now_ms: int) -> None:
        """Send the statements that fit what is known, and learn from what they miss."""
        planned: list[tuple[_Attempt, Plan]] = []
        unseen: list[_Attempt] = []
        for attempt in attempts:
            planning = plan(self._statements, attempt.request, attempt.known, now_ms, self._token_retention_ms)
            if isinstance(planning, Plan):
                planning.statement.on_failure = "ALL_OLD"
                planned.append((attempt, planning))
            elif planning is None:
                unseen.append(attempt)
            else:
                attempt.answer = planning
        if planned:
            body = msgspec.json.encode({"Statements": [planning.statement for _, planning in planned]})
            content = await self._wire.call("BatchExecuteStatement", body)
            try:
                responses = _decode_responses(content).responses
            except msgspec.DecodeError as error:
                raise OutcomeUnknown(f"DynamoDB: an answer that is none: {error}") from None
            if len(responses) != len(planned):
                raise OutcomeUnknown(f"DynamoDB: {len(responses)} answers to {len(planned)} statements")
            for (attempt, planning), response in zip(planned, responses, strict=True):
                if not _learn(attempt, planning, response, now_ms):
                    unseen.append(attempt)
        if unseen:
            await self._look(unseen, now_ms)

    async def _look(self, attempts: Sequence[_Attempt], now_ms: int) -> None:
        """Decide by strong reads, which come after steps that applied nothing."""
        places = [counter_key(attempt.request.key) for attempt in attempts]
        found = await reading.items(self._wire, self._table, places, strong=True, sessions=True)
        for attempt, place in zip(attempts, places, strict=True):
            _see(attempt, found.get(place), now_ms)

    # One counter with tokens.

    async def _with_tokens(self, attempt: _Attempt, now_ms: int) -> None:
        try:
            attempt.answer = await self._transact(attempt.request, now_ms)
        except PlusoneError as error:
            attempt.answer = error

    async def _transact(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        """The counter and its tokens in one transaction, pinned to the state that stands in the tokens' records."""
        pinned = request.tokens[0].before
        assert pinned is not None
        value, revision, alive = pinned
        if alive:
            # A transaction answers nothing, so it must not apply to any other value.
            lo, hi = max(request.lo, value), min(request.hi, value)
            request = msgspec.structs.replace(request, lo=lo, hi=hi)
        known: Item | None = None
        taken: set[str] = set()
        refused = ""
        for _ in range(_ROUNDS):
            planning = None
            if request.lo <= request.hi:
                planning = plan(self._statements, request, known, now_ms, self._token_retention_ms)
            if isinstance(planning, Plan):
                reasons = await self._commit(request, planning, taken, now_ms)
                if reasons is None:
                    return Answer("applied", value, revision, alive)
                for code, message in reasons:
                    if bare(code) not in _DECIDED_BY_READING:
                        return by_code(code, message)
                refused = next((message for code, message in reasons if bare(code) == "Validation"), "")
            elif planning is not None:
                return planning
            places = [counter_key(request.key), *(token_key(request.key, token.token) for token in request.tokens)]
            found = await reading.items(self._wire, self._table, places, strong=True, sessions=True)
            raw = found.get(places[0])
            known = ABSENT if raw is None else item(raw, request.key)
            records: list[TokenRecord] = []
            for token, place in zip(request.tokens, places[1:], strict=True):
                if place in found:
                    taken.add(token.token)
                    record = token_record(found[place], request.key, token.token, now_ms)
                    if record is not None:
                        records.append(record)
            answer = decide(known, request, now_ms, tuple(records))
            if answer is not None:
                return answer
        return StoreRefused(f"DynamoDB: {refused}") if refused else missed(known or ABSENT, now_ms)

    async def _commit(
        self, request: GuardedAdd, planning: Plan, taken: set[str], now_ms: int
    ) -> Sequence[tuple[str, str]] | None:
        """Send the transaction; None if it was applied, else what each of its parts had against it."""
        until_ms = now_ms + self._token_retention_ms
        statements = [planning.statement]
        for token in request.tokens:
            again = token.token in taken
            statements.append(token_statement(self._statements, request, token, now_ms, until_ms, again=again))
        try:
            await self._wire.call("ExecuteTransaction", msgspec.json.encode({"TransactStatements": statements}))
        except Cancelled as cancelled:
            return [(reason.code, reason.message) for reason in cancelled.reasons]
        return None


def _learn(attempt: _Attempt, planning: Plan, response: _Response, now_ms: int) -> bool:
    """What follows from the response to one statement; False if the item has to be read."""
    error = response.error
    if error is None:
        attempt.answer = _applied(attempt.request, planning, response.item)
        return True
    code = bare(error.code)
    if code == "ConditionalCheckFailed" and error.item:
        _see(attempt, error.item, now_ms)
        return True
    if code == "ConditionalCheckFailed" and attempt.known is None and decide(ABSENT, attempt.request, now_ms) is None:
        # Nothing there, or a server too old to show it: making it tells.
        attempt.known = ABSENT
        return True
    if code in ("ConditionalCheckFailed", "DuplicateItem", "Validation"):
        attempt.refused = error.message if code == "Validation" else ""
        return False
    attempt.answer = by_code(error.code, error.message)
    return True


def _applied(request: GuardedAdd, planning: Plan, old: msgspec.Raw) -> Answer | PlusoneError:
    if planning.form == "absent":
        return Answer("applied", 0, 0, False)
    try:
        if not old:
            raise CorruptRecord("no item before")
        state = before(old, request.key)
    except CorruptRecord as error:
        return OutcomeUnknown(f"DynamoDB: it was applied to something unreadable: {error}")
    if planning.form == "dead":
        return Answer("applied", 0, state.r.number, False)
    return Answer("applied", state.v.number, state.r.number, True)


def _see(attempt: _Attempt, raw: msgspec.Raw | None, now_ms: int) -> None:
    """Answer a request by the item that it did not change, or know it for the next round."""
    try:
        known = ABSENT if raw is None else item(raw, attempt.request.key)
        attempt.answer = decide(known, attempt.request, now_ms)
    except CorruptRecord as error:
        attempt.answer = error
        return
    attempt.known = known
    if attempt.answer is None and attempt.refused:
        attempt.answer = StoreRefused(f"DynamoDB: {attempt.refused}")
