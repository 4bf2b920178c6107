"""What the combiner makes of answers that it cannot use, and of callers where they should not be."""

from __future__ import annotations

import asyncio
import json
import logging
import time

import pytest

import plusone
from plusone.clock import Clock
from plusone.counters import Counters
from plusone.errors import Closed, CorruptRecord, NotSent, OutcomeUnknown, Overloaded
from plusone.statistics import Limits
from plusone.stores.memory import MemoryStore
from plusone.stores.protocol import Answer, TokenRecord
from plusone.types import Outcome
from tests.model.virtual import Loop
from tests.unit.scripted import ScriptedStore, applied, counters_on, in_virtual_time, missed, settle


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


@in_virtual_time
async def test_the_end_of_the_loop_answers_everybody(loop: Loop) -> None:
    """Those under way, those who wait, and those who follow a token: all are told what is known of theirs."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    first = loop.create_task(counters.increment("a"))
    await store.sent(1)
    asked = [loop.create_task(counters.increment("a", token=token)) for token in ("t", "t", "t", None)]
    await settle()
    [flight] = counters._combiner._flights
    flight.task.cancel()
    results = await asyncio.gather(first, *asked, return_exceptions=True)
    assert [type(result) for result in results] == [OutcomeUnknown, NotSent, NotSent, NotSent, NotSent]
    assert counters.statistics.operations_waiting == 0


@in_virtual_time
async def test_closing_twice_at_once_ends_twice(loop: Loop) -> None:
    """Both wait for what is under way, and both return."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    task = loop.create_task(counters.increment("a"))
    call = await store.sent(1)
    closing = [loop.create_task(counters.close()) for _ in range(2)]
    await settle()
    begin = loop.time()
    call.answer(applied())
    await asyncio.gather(*closing)
    assert (await task).value == 1
    assert loop.time() - begin < 1


@in_virtual_time
async def test_a_token_record_out_of_range_fails_its_caller_alone(loop: Loop) -> None:
    """One of two known tokens cannot be used: the other is answered, and nobody is counted as answered twice."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    good, bad = (loop.create_task(counters.increment("a", token=token)) for token in ("good", "bad"))
    call = await store.sent(1)
    notes = {write.token: json.loads(write.data) for write in call.request.tokens}
    notes["bad"][-1] = 10**17
    records = tuple(TokenRecord(token, json.dumps(data), 4, 4, True) for token, data in notes.items())
    call.answer(Answer("missed", 6, 6, True, tokens=records))
    assert (await good).replayed
    with pytest.raises(CorruptRecord):
        await bad
    assert counters.statistics.operations_waiting == 0


def test_a_call_that_has_not_begun_does_not_take_too_long() -> None:
    """uvloop runs due timers before what is ready: after a stall the deadline's watch comes before the call's start."""
    uvloop = pytest.importorskip("uvloop")
    store = MemoryStore(clock=Clock(), token_retention_ms=1_000)
    counters = Counters(store, limits=Limits(timeout=5.0, attempt_timeout=0.05))

    async def main() -> None:
        tasks = [asyncio.create_task(counters.increment("a")) for _ in range(2)]
        await asyncio.sleep(0)
        # Behind the flush and before the call: longer than an attempt may take.
        asyncio.get_running_loop().call_soon(time.sleep, 0.2)
        assert [(await task).value for task in tasks] == [1, 2]
        assert (await counters.increment("a")).value == 3
        assert counters.statistics.calls_in_flight == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_closed_counters_stay_closed() -> None:
    """Nothing is counted, read or opened again."""

    async def main() -> None:
        async with plusone.open("memory://") as counters:
            await counters.increment("a")
        for ask in (counters.increment("new"), counters.get("a"), counters.list(), counters.check()):
            with pytest.raises(Closed):
                await ask
        with pytest.raises(Closed):
            await counters.__aenter__()

    asyncio.run(main())


@in_virtual_time
async def test_names_that_are_refused_leave_nothing_behind(loop: Loop) -> None:
    """Bounded memory: beyond `waiting_max` an operation on a new counter costs no lane."""
    store = ScriptedStore()
    counters = counters_on(store, loop, waiting_max=2)
    tasks = [loop.create_task(counters.increment(name)) for name in ("a", "b")]
    call = await store.sent(1)
    for number in range(1_000):
        with pytest.raises(Overloaded):
            await counters.increment(f"refused-{number}")
    assert set(counters._lanes) == {"a", "b"}
    call.answer(applied(), applied())
    assert [(await task).value for task in tasks] == [1, 1]


@in_virtual_time
async def test_a_gap_is_logged_with_its_numbers(loop: Loop) -> None:
    """A gap is counted, logged with the numbers, and shown for a while."""
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("plusone.combiner")
    logger.addHandler(handler)
    try:
        store = ScriptedStore()
        counters = counters_on(store, loop)
        task = loop.create_task(counters.increment("a"))
        (await store.sent(1)).answer(applied())
        await task
        task = loop.create_task(counters.increment("a"))
        (await store.sent(2)).answer(Answer("gap", last=0))
        (await store.sent(3)).answer(applied())
        await task
    finally:
        logger.removeHandler(handler)
    assert records == [
        "the datastore lost acknowledged operations on 'default/a': it had acknowledged batch 1 of this writer, and the"
        " last that it has is 0"
    ]
    [gap] = counters.statistics.recent_gaps
    assert (gap.key, gap.acked, gap.last) == ("default/a", 1, 0)


@in_virtual_time
async def test_a_cancelled_caller_stays_in_a_batch_that_is_folded_again(loop: Loop) -> None:
    """A caller that is cancelled leaves its operation in the batch: a miss refolds *the same operations*."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    leaving, staying = (loop.create_task(counters.increment("a", by, ceiling=10)) for by in (3, 4))
    first = await store.sent(1)
    leaving.cancel()
    await settle()
    first.fail(OutcomeUnknown("its reply was lost"))
    (await store.sent(2)).answer(missed(2, 2))
    again = await store.sent(3)
    assert (again.request.seq, again.request.total, again.request.applied) == (first.request.seq, 7, 2)
    again.answer(applied(2, 2))
    assert (await staying).value == 9
    assert leaving.cancelled()
