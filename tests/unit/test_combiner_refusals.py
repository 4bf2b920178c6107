"""What the combiner makes of answers that it cannot use, and of callers where they should not be."""

from __future__ import annotations

import asyncio

import pytest

import plusone
from plusone.errors import Closed, CorruptRecord, OutcomeUnknown
from plusone.stores.protocol import Answer, TokenRecord
from plusone.types import Outcome
from tests.model.virtual import Loop
from tests.unit.scripted import ScriptedStore, applied, counters_on, in_virtual_time, settle


@in_virtual_time
async def test_an_answer_that_cannot_be_used_keeps_nobody_waiting(loop: Loop) -> None:
    """One counter's answer makes no sense: its caller is told so, the other's is answered, and closing ends."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    odd, even = (loop.create_task(counters.increment(name)) for name in ("odd", "even"))
    call = await store.sent(1)
    call.answer(*(applied("no number") if request.key.endswith("odd") else applied(1) for request in call.batch))  # type: ignore[arg-type]
    with pytest.raises(OutcomeUnknown):
        await odd
    assert (await even).value == 2
    again = loop.create_task(counters.increment("odd"))
    (await store.sent(2)).answer(applied(7))
    assert (await again).value == 8
    assert counters.statistics.operations_waiting == 0
    await counters.close()


@in_virtual_time
async def test_too_few_answers_are_ambiguous(loop: Loop) -> None:
    """A store that leaves an answer out is asked again, with the same seqs."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    tasks = [loop.create_task(counters.increment(name)) for name in ("a", "b")]
    (await store.sent(1)).answer(applied())
    second = await store.sent(2)
    assert second.batch == store.calls[0].batch
    second.answer(applied(), applied())
    assert [(await task).value for task in tasks] == [1, 1]


@in_virtual_time
async def test_a_corrupt_token_record_fails_its_caller_alone(loop: Loop) -> None:
    """What is recorded under a token is none of ours: nothing is counted for it, and the others go on."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    corrupt = loop.create_task(counters.increment("a", token="t"))
    plain = loop.create_task(counters.increment("a"))
    (await store.sent(1)).answer(Answer("missed", 5, 5, True, tokens=(TokenRecord("t", "nonsense", 4, 4, True),)))
    with pytest.raises(CorruptRecord):
        await corrupt
    (await store.sent(2)).answer(applied(5, 5))
    assert (await plain).value == 6
    assert counters.statistics.operations_waiting == 0


@in_virtual_time
async def test_operations_waiting_returns_to_nothing(loop: Loop) -> None:
    """However callers leave: answered, cancelled before and after the send, or too late."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    first = loop.create_task(counters.increment("a"))
    call = await store.sent(1)
    waiting = [loop.create_task(counters.increment("a", token=token)) for token in (None, "t", "t", None)]
    await settle()
    assert counters.statistics.operations_waiting == 5
    first.cancel()
    waiting[1].cancel()
    waiting[3].cancel()
    await settle()
    call.answer(applied())
    second = await store.sent(2)
    second.answer(applied(1, 1))
    third = await store.sent(3)
    third.answer(applied(2, 2))
    outcomes = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert [outcome.value if isinstance(outcome, Outcome) else type(outcome) for outcome in outcomes] == [
        asyncio.CancelledError,
        2,
        asyncio.CancelledError,
        3,
        asyncio.CancelledError,
    ]
    assert counters.statistics.operations_waiting == 0


def test_another_event_loop_is_refused() -> None:
    """Counters belong to the loop that first uses them; in another one they say so, whenever that is."""
    counters = plusone.open("memory://")
    assert asyncio.run(counters.increment("a")).value == 1
    with pytest.raises(Closed, match="another event loop"):
        asyncio.run(counters.increment("a"))
    with pytest.raises(Closed, match="another event loop"):
        asyncio.run(counters.set("a", 5))
