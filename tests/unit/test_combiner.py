"""How operations become batches, and how they end: the rules of docs/protocol.md, section Combiner, one by one."""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc
from collections.abc import Awaitable
from typing import Any

import pytest

from plusone.counters import Counters
from plusone.errors import (
    Closed,
    Contended,
    NotSent,
    OutcomeUnknown,
    Overloaded,
    PlusoneError,
    StoreRefused,
    StoreUnavailable,
)
from plusone.types import MAX, Operation, Outcome
from tests.model.virtual import Loop, run
from tests.unit.scripted import ScriptedStore, applied, counters_on, in_virtual_time, missed, settle


def values(outcomes: list[Outcome]) -> list[int]:
    return [outcome.value for outcome in outcomes]


@in_virtual_time
async def test_one_batch_per_counter_is_in_flight(loop: Loop) -> None:
    """Per counter at most one batch in flight; what comes meanwhile is the next batch."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    first = loop.create_task(counters.increment("a"))
    await store.sent(1)
    later = [loop.create_task(counters.increment("a")) for _ in range(3)]
    await settle()
    assert len(store.calls) == 1
    store.calls[0].answer(applied(10, 4))
    second = await store.sent(2)
    assert (second.request.total, second.request.applied) == (3, 3)
    second.answer(applied(11, 5))
    assert (await first).value == 11
    assert values([await task for task in later]) == [12, 13, 14]


@in_virtual_time
async def test_counters_that_are_ready_together_leave_in_one_call(loop: Loop) -> None:
    """Batches of different counters that are ready together go to the store in one call."""
    store = ScriptedStore(lambda request: applied())
    counters = counters_on(store, loop)
    await asyncio.gather(*(counters.increment(name) for name in "abcabc"))
    assert [[request.key for request in call.batch] for call in store.calls] == [
        ["default/a", "default/b", "default/c"]
    ]
    assert [request.applied for request in store.requests] == [2, 2, 2]


@in_virtual_time
async def test_a_call_takes_no_more_batches_than_the_store_says(loop: Loop) -> None:
    store = ScriptedStore(lambda request: applied(), batches_per_call=2, calls_in_flight=1)
    counters = counters_on(store, loop)
    await asyncio.gather(*(counters.increment(name) for name in "abcde"))
    assert [len(call.batch) for call in store.calls] == [2, 2, 1]


@in_virtual_time
async def test_a_hot_counter_does_not_starve_another(loop: Loop) -> None:
    """Fair under a hot counter: it goes to the end of the line after each batch."""
    store = ScriptedStore(batches_per_call=1, calls_in_flight=1)
    counters = counters_on(store, loop)
    tasks = [loop.create_task(counters.increment("hot"))]
    await store.sent(1)
    tasks += [loop.create_task(counters.increment(name)) for name in ("hot", "cold", "hot", "hot")]
    await settle()
    for number in (1, 2, 3):
        (await store.sent(number)).answer(applied(number, number))
    await asyncio.gather(*tasks)
    assert [request.key for request in store.requests] == ["default/hot", "default/cold", "default/hot"]


@in_virtual_time
async def test_too_many_waiting_operations_are_refused_at_once(loop: Loop) -> None:
    """Beyond `waiting_max` new operations fail at once with `Overloaded`, and nothing of a group is half accepted."""
    store = ScriptedStore()
    counters = counters_on(store, loop, waiting_max=3)
    accepted = [loop.create_task(counters.increment("a")) for _ in range(2)]
    await store.sent(1)
    refused = await counters.apply([("a", Operation.add(1)), ("a", Operation.add(2))], token="t")
    assert [type(result) for result in refused] == [Overloaded, Overloaded]
    accepted.append(loop.create_task(counters.increment("b")))
    await settle()
    with pytest.raises(Overloaded):
        await counters.increment("c")
    assert counters.statistics.operations_waiting == 3
    store.calls[0].answer(applied())
    (await store.sent(2)).answer(applied())
    await asyncio.gather(*accepted)
    assert counters.statistics.operations_waiting == 0
    assert sum(request.applied for request in store.requests) == 3


@in_virtual_time
async def test_callers_cancelled_before_the_send_are_left_out(loop: Loop) -> None:
    """Cancellation before the first send: it never leaves."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    tasks = [loop.create_task(counters.increment("a"))]
    await store.sent(1)
    tasks += [loop.create_task(counters.increment("a", by)) for by in (1000, 1)]
    await settle()
    tasks[1].cancel()
    await settle()
    store.calls[0].answer(applied())
    second = await store.sent(2)
    assert (second.request.total, second.request.applied) == (1, 1)
    last = loop.create_task(counters.increment("a"))
    await settle()
    last.cancel()
    await settle()
    second.answer(applied(1, 1))
    assert (await tasks[2]).value == 2
    await settle()
    assert len(store.calls) == 2
    assert counters.statistics.operations_waiting == 0


@in_virtual_time
async def test_a_caller_cancelled_after_the_send_leaves_its_operation(loop: Loop) -> None:
    """A caller that is cancelled leaves its operation in the batch; others are not touched."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    tasks = [loop.create_task(counters.increment("a", by)) for by in (5, 7)]
    call = await store.sent(1)
    tasks[0].cancel()
    await settle()
    call.fail(OutcomeUnknown("lost"))
    again = await store.sent(2)
    assert again.request == call.request
    again.answer(applied())
    outcome = await tasks[1]
    assert (outcome.previous, outcome.value, outcome.revision) == (5, 12, 2)


@in_virtual_time
async def test_closing_drains(loop: Loop) -> None:
    """Closing refuses new operations, and waits until every accepted one is answered."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    tasks = [loop.create_task(counters.increment("a"))]
    await store.sent(1)
    tasks.append(loop.create_task(counters.increment("a")))
    await settle()
    closing = loop.create_task(counters.close())
    await settle()
    with pytest.raises(Closed):
        await counters.increment("a")
    store.calls[0].answer(applied())
    await settle()
    assert not closing.done()
    assert store.closes == 0
    store.calls[1].answer(applied(1, 1))
    await closing
    assert store.closes == 1
    assert values([await task for task in tasks]) == [1, 2]


async def ends(task: Awaitable[Any]) -> PlusoneError:
    with pytest.raises(PlusoneError) as raised:
        await task
    return raised.value


@in_virtual_time
async def test_never_sent_by_the_deadline_is_not_sent(loop: Loop) -> None:
    """Deadline before the first send: `NotSent` (no)."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    first = loop.create_task(counters.increment("a"))
    await store.sent(1)
    waiting = loop.create_task(counters.increment("a"))
    assert isinstance(await ends(first), OutcomeUnknown)
    assert isinstance(await ends(waiting), NotSent)
    assert loop.time() == pytest.approx(10, abs=0.2)
    assert {request.seq for request in store.requests} == {1}


@in_virtual_time
async def test_a_bulk_has_one_deadline(loop: Loop) -> None:
    """What a slow datastore was not sent in time is said to be so: it may be asked for again."""
    store = ScriptedStore(batches_per_call=2, calls_in_flight=1)
    counters = counters_on(store, loop, attempt_timeout=10)
    asked = loop.create_task(counters.apply([(name, Operation.add(1)) for name in "abcde"]))
    (await store.sent(1)).answer(applied(), applied())
    results = await asked
    assert [type(result) for result in results] == [Outcome, Outcome, OutcomeUnknown, OutcomeUnknown, NotSent]


@in_virtual_time
async def test_misses_until_the_deadline_are_contention(loop: Loop) -> None:
    """Misses until the deadline: `Contended` (no); they are spread after the first three."""
    store = ScriptedStore(lambda request: missed(0, 7))
    counters = counters_on(store, loop)
    error = await ends(counters.increment("a"))
    assert isinstance(error, Contended)
    assert loop.time() == pytest.approx(10, abs=0.2)
    assert {request.seq for request in store.requests} == {1}
    assert 10 < len(store.calls) < 100


@in_virtual_time
async def test_definite_failures_until_the_deadline_are_unavailability(loop: Loop) -> None:
    """A failure is `applied: no` if every attempt of the batch was definite."""
    store = ScriptedStore(lambda request: StoreUnavailable("come back later"))
    counters = counters_on(store, loop)
    error = await ends(counters.increment("a"))
    assert isinstance(error, StoreUnavailable)
    assert "come back later" in str(error)
    assert loop.time() == pytest.approx(10, abs=0.2)
    assert 10 < len(store.calls) < 100


@in_virtual_time
async def test_one_ambiguous_attempt_makes_the_end_unknown(loop: Loop) -> None:
    """Ambiguous until the deadline: `OutcomeUnknown` (maybe), also if later attempts definitely failed."""
    replies = iter([OutcomeUnknown("reset")])
    store = ScriptedStore(lambda request: next(replies, StoreUnavailable("come back later")))
    counters = counters_on(store, loop)
    assert isinstance(await ends(counters.increment("a")), OutcomeUnknown)
    assert counters.statistics.unknown_total == 1


@in_virtual_time
async def test_no_answer_until_the_deadline_is_unknown_and_every_resend_is_the_same(loop: Loop) -> None:
    """A batch that fails ambiguously is sent again, unchanged, until its deadline."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    assert isinstance(await ends(counters.increment("a", token="t")), OutcomeUnknown)
    assert 8 <= len(store.calls) <= 10
    assert all(call.abandoned for call in store.calls[:-1])
    assert all(request == store.requests[0] for request in store.requests)


@in_virtual_time
async def test_a_refusal_fails_at_once(loop: Loop) -> None:
    """`StoreRefused` is no use to repeat."""
    store = ScriptedStore(lambda request: StoreRefused("no rights"))
    counters = counters_on(store, loop)
    assert isinstance(await ends(counters.increment("a")), StoreRefused)
    assert len(store.calls) == 1
    assert loop.time() == 0


@in_virtual_time
async def test_a_refusal_after_an_ambiguous_attempt_tells_nothing(loop: Loop) -> None:
    """A failure is `applied: no` only if every attempt of the batch was definite."""
    replies = iter([OutcomeUnknown("reset"), StoreRefused("no rights")])
    store = ScriptedStore(lambda request: next(replies, None) or applied(4, 2))
    counters = counters_on(store, loop)
    assert (await counters.increment("a")).value == 5
    assert len(store.calls) == 3


@in_virtual_time
async def test_a_deadline_takes_a_batch_apart_that_did_not_happen(loop: Loop) -> None:
    """Who is told "no" is not in what is sent afterwards, and the others go with a new seq."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    first = loop.create_task(counters.increment("a", 1))
    await store.sent(1)
    early = loop.create_task(counters.increment("a", 10))
    await asyncio.sleep(0.5)
    late = loop.create_task(counters.increment("a", 100))
    while loop.time() < 9:
        (await store.sent(len(store.calls) + 1)).fail(OutcomeUnknown("lost"))
    (await store.sent(len(store.calls) + 1)).answer(applied(0, 0))
    await first
    while not early.done():
        call = await store.sent(len(store.calls) + 1)
        call.fail(StoreUnavailable("come back later"))
        await settle()
    assert isinstance(await ends(early), StoreUnavailable)
    call = await store.sent(len(store.calls) + 1)
    assert (call.request.total, call.request.applied) == (100, 1)
    call.answer(applied(1, 1))
    assert (await late).value == 101
    assert len({request.seq for request in store.requests}) == 3


@in_virtual_time
async def test_what_cannot_travel_together_travels_apart(loop: Loop) -> None:
    """A batch is adds only, or begins with one set or precondition; a delete travels alone."""
    revisions = itertools.accumulate((1, 2, 2, 1, 1), initial=0)
    store = ScriptedStore(lambda request: applied(0, next(revisions)))
    counters = counters_on(store, loop)
    await asyncio.gather(
        counters.increment("a"),
        counters.set("a", 5),
        counters.increment("a"),
        counters.increment("a", if_revision=3),
        counters.increment("a"),
        counters.delete("a"),
        counters.increment("a"),
    )
    assert [(r.applied, r.restart, r.delete, r.revision) for r in store.requests] == [
        (1, False, False, None),
        (2, True, False, None),
        (2, False, False, 3),
        (1, True, True, None),
        (1, False, False, None),
    ]


@in_virtual_time
async def test_totals_beyond_64_bits_are_split(loop: Loop) -> None:
    """|total| stays within 64 bits, else the batch is split."""
    store = ScriptedStore(lambda request: applied(-MAX))
    counters = counters_on(store, loop)
    await asyncio.gather(*(counters.increment("a", MAX // 2) for _ in range(5)))
    assert [request.applied for request in store.requests] == [2, 2, 1]


@in_virtual_time
async def test_lanes_at_rest_are_small_and_forgotten(loop: Loop) -> None:
    """At most 1 KiB is held per idle counter after use, and nothing after two minutes."""
    store = ScriptedStore(lambda request: applied())
    counters = counters_on(store, loop)
    names = [f"counter-{number}" for number in range(2_000)]

    async def used() -> int:
        for name in names:
            await counters.increment(name)
            store.calls.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    await counters.increment("warm")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        assert await used() - before <= 1_024 * len(names)
        await asyncio.sleep(121)
        for _ in range(100):  # each looks at a few dozen lanes
            await counters.increment("another")
            store.calls.clear()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before <= 100 * len(names)
    finally:
        tracemalloc.stop()


def test_counters_belong_to_one_event_loop() -> None:
    """To the one that first uses them."""
    made: list[Counters] = []

    async def first(loop: Loop) -> None:
        made.append(counters_on(ScriptedStore(lambda request: applied()), loop))
        await made[0].increment("a")
        await asyncio.sleep(1)

    async def second(loop: Loop) -> None:
        with pytest.raises(Closed):
            await made[0].increment("a")

    run(first)
    run(second)
