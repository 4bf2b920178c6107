"""Tokens on their way through the combiner: the rules of docs/protocol.md, section Tokens, one by one."""

from __future__ import annotations

import asyncio
import json

import pytest

from plusone.errors import OutcomeUnknown, PlusoneError, StoreUnavailable, TokenReused
from plusone.stores.protocol import Answer, GuardedAdd, TokenRecord
from plusone.types import Operation
from tests.model.virtual import Loop
from tests.unit.scripted import ScriptedStore, applied, counters_on, in_virtual_time, missed, settle


def record(request: GuardedAdd, token: str, value: int, revision: int) -> TokenRecord:
    (data,) = (write.data for write in request.tokens if write.token == token)
    return TokenRecord(token, data, value, revision, True)


@in_virtual_time
async def test_the_same_token_twice_waits_for_the_first(loop: Loop) -> None:
    """The same token twice in one process: the second waits for the first."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    tasks = [loop.create_task(counters.increment("a", by, token="t")) for by in (3, 3, 4)]
    other = loop.create_task(counters.increment("a", token="other"))
    (await store.sent(1)).answer(applied(10, 5))
    first, second = await tasks[0], await tasks[1]
    assert (first.value, first.replayed) == (13, False)
    assert (second.value, second.revision, second.at, second.replayed) == (13, 6, first.at, True)
    with pytest.raises(TokenReused):
        await tasks[2]
    assert (await other).value == 14
    assert [[write.token for write in request.tokens] for request in store.requests] == [["t", "other"]]
    assert counters.statistics.replays_total == 1


@in_virtual_time
async def test_if_the_first_with_a_token_fails_the_next_takes_its_place(loop: Loop) -> None:
    """There is no "still in flight" error."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    first = loop.create_task(counters.increment("a", token="t"))
    call = await store.sent(1)
    await asyncio.sleep(1)
    second = loop.create_task(counters.increment("a", token="t"))
    while not first.done():
        call.fail(StoreUnavailable("come back later"))
        call = await store.sent(len(store.calls) + 1)
        await settle()
    with pytest.raises(PlusoneError):
        await first
    call.answer(applied())
    outcome = await second
    assert (outcome.value, outcome.replayed) == (1, False)


@in_virtual_time
async def test_known_tokens_are_answered_and_the_rest_goes_with_a_new_seq(loop: Loop) -> None:
    """**missed** by known tokens: those are answered from the records and leave; the rest is a new batch."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    calls = [("known", 3), ("reused", 4), ("new", 5)]
    tasks = [loop.create_task(counters.increment("a", by, token=token)) for token, by in calls]
    call = await store.sent(1)
    reused = json.loads(record(call.request, "reused", 0, 0).data)
    reused[0] = "0" * 32
    known = record(call.request, "known", 20, 2)
    other = TokenRecord("reused", json.dumps(reused), 0, 0, True)
    call.answer(Answer("missed", 50, 8, True, tokens=(known, other)))
    rest = await store.sent(2)
    assert (rest.request.seq, rest.request.total, [write.token for write in rest.request.tokens]) == (2, 5, ["new"])
    rest.answer(applied(50, 8))
    outcome = await tasks[0]
    assert (outcome.previous, outcome.value, outcome.revision, outcome.replayed) == (20, 23, 3, True)
    with pytest.raises(TokenReused):
        await tasks[1]
    assert (await tasks[2]).value == 55


@in_virtual_time
async def test_known_tokens_after_an_ambiguous_attempt_close_the_old_seq_first(loop: Loop) -> None:
    """If an attempt was ambiguous, close the old seq first."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    tasks = [loop.create_task(counters.increment("a", token=token)) for token in ("known", "new")]
    (await store.sent(1)).fail(OutcomeUnknown("reset"))
    call = await store.sent(2)
    call.answer(Answer("missed", 50, 8, True, tokens=(record(call.request, "known", 20, 2),)))
    closing = await store.sent(3)
    assert (closing.request.closing, closing.request.seq, closing.request.tokens) == (True, 1, ())
    closing.answer(applied(50, 8))
    rest = await store.sent(4)
    assert (rest.request.closing, rest.request.seq, rest.request.acked) == (False, 2, 1)
    rest.answer(applied(50, 8))
    assert [(await task).value for task in tasks] == [21, 51]


@in_virtual_time
async def test_tokens_are_bounded_per_batch(loop: Loop) -> None:
    """Capability `tokens_per_batch` bounds them."""
    store = ScriptedStore(lambda request: applied(), tokens_per_batch=2)
    counters = counters_on(store, loop)
    await asyncio.gather(*(counters.increment("a", token=f"t{number}") for number in range(5)))
    assert [len(request.tokens) for request in store.requests] == [2, 2, 1]


@in_virtual_time
async def test_tokens_are_pinned_where_the_step_cannot_copy(loop: Loop) -> None:
    """The combiner pins such a batch to the exact state, and sends the record complete."""
    replies = iter([missed(5, 9), applied(5, 9)])
    store = ScriptedStore(lambda request: next(replies), pins_tokens=True)
    counters = counters_on(store, loop)
    assert (await counters.increment("a", token="t")).value == 6
    pins = [(r.lo, r.hi, r.revision, r.alive, r.tokens[0].before) for r in store.requests]
    assert pins == [(0, 0, 0, False, (0, 0, False)), (5, 5, 9, True, (5, 9, True))]


@in_virtual_time
async def test_a_rejection_with_a_token_is_recorded(loop: Loop) -> None:
    """Remembered: applied, and rejections by bound, revision or existence."""
    replies = iter([missed(7, 3), applied(7, 3)])
    store = ScriptedStore(lambda request: next(replies))
    counters = counters_on(store, loop)
    assert not await counters.increment("a", ceiling=7, token="t")
    first, second = store.requests
    assert (second.seq, second.total, second.applied, second.closing) == (first.seq, 0, 0, False)
    assert [write.token for write in second.tokens] == ["t"]


@in_virtual_time
async def test_a_group_under_one_token_stays_together(loop: Loop) -> None:
    """A group stays together in one batch, and is one record."""
    store = ScriptedStore(lambda request: applied(1, 1))
    counters = counters_on(store, loop)
    operations = [("a", Operation.add(1)), ("b", Operation.add(2)), ("a", Operation.add(3))]
    results = await counters.apply(operations, token="t")
    assert [result.value for result in results if not isinstance(result, PlusoneError)] == [2, 3, 5]
    assert [(request.key, len(request.tokens)) for request in store.requests] == [("default/a", 1), ("default/b", 1)]
