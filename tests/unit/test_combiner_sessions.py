"""How a batch is repeated, closed and given up: the rules of docs/protocol.md, section Sessions, one by one."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Iterator, Sequence

import pytest

from plusone.clock import Clock
from plusone.counters import Counters
from plusone.errors import AcknowledgedDataLost, Closed, OutcomeUnknown
from plusone.stores.memory import MemoryStore
from plusone.stores.protocol import Answer, GuardedAdd
from plusone.types import MAX, MIN
from tests.model.network import Faults, Link, RecordingStore
from tests.model.virtual import Loop, World, run
from tests.unit.scripted import Reply, ScriptedStore, applied, counters_on, in_virtual_time, missed


class DropsEveryReplyOnce(MemoryStore):
    """The reference store behind a network that loses the first answer to each batch."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock, token_retention_ms=600_000)
        self.requests: list[GuardedAdd] = []

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Reply]:
        answers = await super().apply(batch)
        again = [request.seq in {earlier.seq for earlier in self.requests} for request in batch]
        self.requests += batch
        return [a if b else OutcomeUnknown("the reply was lost") for a, b in zip(answers, again, strict=True)]


@in_virtual_time
async def test_every_reply_lost_once(loop: Loop) -> None:
    """A batch keeps its `seq` through resends: the frozen batch again, and nothing counts twice."""
    store = DropsEveryReplyOnce(loop.clock(seed=2))
    counters = counters_on(store, loop)
    outcomes = []
    for size in (1, 7, 30, 62):
        outcomes += await asyncio.gather(*(counters.increment("a") for _ in range(size)))
    assert [outcome.value for outcome in outcomes] == list(range(1, 101))
    assert (await counters.get("a")).value == 100
    assert len(store.requests) == 8
    assert store.requests[0::2] == store.requests[1::2]


@pytest.mark.parametrize("seed", range(5))
def test_packets_duplicated_delayed_and_reordered(seed: int) -> None:
    """Between combiner and store packets may come twice, late and in any order."""
    world = World()
    loop, rng = world.process(), random.Random(seed)
    store = RecordingStore(world, token_retention_ms=600_000, capabilities=MemoryStore.CAPABILITIES)
    faults = Faults(delay_max=0.3, lose_request=0.2, late=0.9, duplicate=0.6, break_off=0.2, lose_reply=0.1)
    clock = loop.clock(seed)
    counters = counters_on(Link(0, world, loop, clock, store, faults, rng), loop, timeout=60.0, attempt_timeout=0.2)

    async def count() -> list[int]:
        waiting = []
        for _ in range(200):
            waiting.append(loop.create_task(counters.increment(rng.choice("ab"))))
            await asyncio.sleep(rng.random() * 0.02)
        return [(await task).value for task in waiting]

    task = loop.create_task(count())
    world.run()
    counted = [store.state(f"default/{name}").value for name in "ab"]
    assert sorted(task.result()) == sorted([*range(1, counted[0] + 1), *range(1, counted[1] + 1)])
    assert sum(counted) == 200


@in_virtual_time
async def test_acked_is_the_last_seq_that_was_answered(loop: Loop) -> None:
    """`acked` is this writer's last seq on this counter that was answered applied or duplicate."""
    replies: Iterator[Reply] = iter([applied(), Answer("duplicate", 1, 1, True), missed(5, 5), applied(5, 5)])
    store = ScriptedStore(lambda request: next(replies))
    counters = counters_on(store, loop)
    await counters.increment("a")
    await counters.increment("a")
    await counters.increment("a", ceiling=3)  # a miss; rejected without a write
    await counters.increment("a")
    assert [(request.seq, request.acked) for request in store.requests] == [(1, 0), (2, 1), (3, 2), (4, 2)]


@in_virtual_time
async def test_seqs_come_from_one_line_for_all_counters(loop: Loop) -> None:
    """`seq` comes from one rising number line per writer, not per counter; `acked` is per counter."""
    store = ScriptedStore(lambda request: applied())
    counters = counters_on(store, loop)
    for name in "aba":
        await counters.increment(name)
    assert [(r.key, r.seq, r.acked) for r in store.requests] == [
        ("default/a", 1, 0),
        ("default/b", 2, 0),
        ("default/a", 3, 1),
    ]


@pytest.mark.parametrize("suspended", [False, True], ids=["time", "suspension"])
def test_acked_is_forgotten_after_two_minutes(suspended: bool) -> None:
    """It forgets 2 minutes after, however often rejections follow, whichever clock saw them pass."""

    async def main(loop: Loop) -> None:
        store = ScriptedStore(lambda request: missed(9, 9) if request.hi < 9 else applied(9, 9))
        counters = counters_on(store, loop)
        await counters.increment("a")
        for _ in range(4):
            if suspended:
                loop.freeze(29, suspended=True)
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.5 if suspended else 29.5)
            assert not await counters.increment("a", ceiling=9)
        loop.freeze(5, suspended=suspended)
        await asyncio.sleep(0.5)
        await counters.increment("a")
        # After a suspension the writer is a new one, which remembers nothing to begin with.
        assert [request.acked for request in store.requests] == ([0] * 6 if suspended else [0, 1, 1, 1, 1, 0])

    run(main)


@in_virtual_time
async def test_after_an_unknown_outcome_the_seq_rises_and_acked_stays(loop: Loop) -> None:
    """After `OutcomeUnknown` the next batch has a higher seq and the old `acked`."""
    replies: list[Reply] = [applied()]
    store = ScriptedStore(lambda request: replies.pop() if replies else OutcomeUnknown("lost"))
    counters = counters_on(store, loop)
    await counters.increment("a")
    with pytest.raises(OutcomeUnknown):
        await counters.increment("a")
    replies.append(applied(1, 1))
    await counters.increment("a")
    assert {(request.seq, request.acked) for request in store.requests} == {(1, 0), (2, 1), (3, 1)}


@in_virtual_time
async def test_a_suspended_process_does_not_resend_blindly(loop: Loop) -> None:
    """Deadlines use the larger of monotonic and wall-clock advance, checked before each send."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    task = loop.create_task(counters.increment("a"))
    (await store.sent(1)).fail(OutcomeUnknown("reset"))
    loop.freeze(400, suspended=True)
    with pytest.raises(OutcomeUnknown):
        await task
    assert len(store.calls) == 1


@in_virtual_time
async def test_a_gap_is_told_and_counting_goes_on(loop: Loop) -> None:
    """A gap is counted, shown for a while; then the combiner takes `acked := last` and sends again."""
    replies = iter([applied(), applied(1, 1), Answer("gap", last=1), applied(1, 1)])
    store = ScriptedStore(lambda request: next(replies))
    counters = counters_on(store, loop)
    for _ in range(2):
        await counters.increment("a")
    assert (await counters.increment("a")).value == 2
    assert [(request.seq, request.acked) for request in store.requests] == [(1, 0), (2, 1), (3, 2), (3, 1)]
    statistics = counters.statistics
    (gap,) = statistics.recent_gaps
    assert (statistics.gaps_total, gap.key, gap.acked, gap.last) == (1, "default/a", 2, 1)
    await asyncio.sleep(301)
    statistics = counters.statistics
    assert (statistics.gaps_total, statistics.recent_gaps) == (1, ())


@in_virtual_time
async def test_a_gap_stops_the_counter_if_so_set(loop: Loop) -> None:
    """Setting `on_gap = "stop"` raises `AcknowledgedDataLost` instead, for good."""
    replies = iter([applied()])
    store = ScriptedStore(lambda request: next(replies, Answer("gap", last=0)))
    counters = counters_on(store, loop, on_gap="stop")
    await counters.increment("a")
    for _ in range(3):
        with pytest.raises(AcknowledgedDataLost):
            await counters.increment("a")
        await asyncio.sleep(150)
    assert [request.acked for request in store.requests] == [0, 1, 1, 1]


@in_virtual_time
async def test_a_gap_after_an_ambiguous_attempt_tells_nothing(loop: Loop) -> None:
    """`applied: no` only if every attempt of the batch was definite."""
    replies: Iterator[Reply] = iter([applied(), OutcomeUnknown("reset")])
    store = ScriptedStore(lambda request: next(replies, Answer("gap", last=0)))
    counters = counters_on(store, loop, on_gap="stop")
    await counters.increment("a")
    with pytest.raises(OutcomeUnknown):
        await counters.increment("a")


@in_virtual_time
async def test_a_rejection_needs_no_write(loop: Loop) -> None:
    """All rejected and no token to record: answered without a write, if no attempt was ambiguous."""
    store = ScriptedStore(lambda request: missed(7, 3))
    counters = counters_on(store, loop)
    outcome = await counters.increment("a", ceiling=7)
    assert (outcome.applied, outcome.value, outcome.revision, outcome.reason) == (False, 7, 3, "ceiling")
    assert len(store.calls) == 1


CLOSINGS = [
    pytest.param(applied(7, 3), (False, 7, 3, "ceiling"), id="shut out"),
    pytest.param(Answer("duplicate", None, 3, True), (False, 7, 3, "ceiling"), id="shut out, answered again"),
    pytest.param(Answer("duplicate", 2, 1, True), (True, 3, 2, None), id="it had been applied"),
]


@pytest.mark.parametrize(("reply", "expected"), CLOSINGS)
def test_a_rejection_after_an_ambiguous_attempt_closes_the_seq(reply: Answer, expected: tuple[object, ...]) -> None:
    """Else close the seq first; a duplicate with a value before means that the batch had been applied."""

    async def main(loop: Loop) -> None:
        replies: Iterator[Reply] = iter([OutcomeUnknown("reset"), missed(7, 3), OutcomeUnknown("reset"), reply])
        store = ScriptedStore(lambda request: next(replies))
        counters = counters_on(store, loop)
        outcome = await counters.increment("a", ceiling=7)
        assert (outcome.applied, outcome.value, outcome.revision, outcome.reason) == expected
        first, second, closing, again = store.requests
        assert first == second
        assert closing == again == GuardedAdd("default/a", first.writer, first.seq, 0, 0, 0, MIN, MAX, closing=True)

    run(main)


@in_virtual_time
async def test_a_miss_refolds_the_same_operations_under_the_same_seq(loop: Loop) -> None:
    """**missed** by the guard: fold from the state in the answer; the same operations and seq with the new guard."""
    replies = iter([missed(7, 3), applied(7, 3)])
    store = ScriptedStore(lambda request: next(replies))
    counters = counters_on(store, loop)
    outcomes = await asyncio.gather(counters.increment("a", 5, ceiling=10), counters.increment("a", 2, ceiling=10))
    assert [(o.applied, o.value, o.reason) for o in outcomes] == [(False, 7, "ceiling"), (True, 9, None)]
    first, second = store.requests
    assert (first.seq, first.total, first.applied, first.hi) == (1, 7, 2, 3)
    assert (second.seq, second.total, second.applied, second.lo, second.hi) == (1, 2, 1, 6, 8)


@in_virtual_time
async def test_a_batch_answered_as_outdated_is_unknown(loop: Loop) -> None:
    """**stale**: nobody waits for it; should one be answered so that is waited for, nothing can be told."""
    counters = counters_on(ScriptedStore(lambda request: Answer("stale")), loop)
    with pytest.raises(OutcomeUnknown):
        await counters.increment("a")


@in_virtual_time
async def test_what_a_store_must_not_do_is_ambiguous(loop: Loop) -> None:
    """Whatever is not known to be definite is ambiguous, and sent again: too few answers, errors not ours."""
    logger = logging.getLogger("plusone.combiner")
    store = ScriptedStore()
    counters = counters_on(store, loop)
    task = loop.create_task(counters.increment("a"))
    (await store.sent(1)).answer()
    logger.disabled = True
    try:
        (await store.sent(2)).fail(ValueError("a driver's"))
        (await store.sent(3)).answer(Answer("duplicate", 4, 4, True))
    finally:
        outcome = await task
        logger.disabled = False
    assert outcome.value == 5
    assert store.requests[0] == store.requests[1] == store.requests[2]
    assert counters.statistics.ambiguous_total == 2


@in_virtual_time
async def test_writers_are_told_apart_by_random_ids(loop: Loop) -> None:
    """A writer is one combiner; its id is made at first use."""
    store = ScriptedStore(lambda request: applied())
    for seed in (1, 2):
        await Counters(store, clock=loop.clock(seed)).increment("a")
    assert [request.seq for request in store.requests] == [1, 1]
    assert len({request.writer for request in store.requests}) == 2


def test_a_forked_process_is_a_writer_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its id is made at first use after start, fork or restore of a snapshot; never reused."""
    store = ScriptedStore(lambda request: applied())

    async def main(loop: Loop) -> None:
        counters = counters_on(store, loop)
        await counters.increment("a")
        await counters.increment("a")
        monkeypatch.setattr(os, "getpid", lambda: 0)
        await counters.increment("a")
        loop.freeze(2, suspended=True)  # as a snapshot that is restored sees it: only the wall clock went on
        await asyncio.sleep(0.5)
        await counters.increment("a")

    run(main)
    assert [(request.seq, request.acked) for request in store.requests] == [(1, 0), (2, 1), (1, 0), (1, 0)]
    first, second, third, fourth = (request.writer for request in store.requests)
    assert first == second
    assert len({second, third, fourth}) == 3


@in_virtual_time
async def test_what_a_writer_was_before_acknowledges_nothing_of_it_now(loop: Loop) -> None:
    """A batch under way when the writer's id changed is no batch of the new one: no gap is seen where none is."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    task = loop.create_task(counters.increment("a"))
    other = loop.create_task(counters.increment("b"))
    call = await store.sent(1)
    loop.freeze(2, suspended=True)
    third = loop.create_task(counters.increment("c"))
    (await store.sent(2)).answer(applied())
    call.answer(applied(), applied())
    assert [(await waiter).value for waiter in (task, other, third)] == [1, 1, 1]
    again = loop.create_task(counters.increment("a"))
    following = await store.sent(3)
    assert following.request.writer != call.batch[0].writer
    assert following.request.acked == 0
    following.answer(applied(1, 1))
    await again


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_within_the_loop_is_refused() -> None:
    """asyncio does not let a child go on with its parent's loop, and it is told so before anything is counted."""
    reader, writer = os.pipe()
    children: list[int] = []

    async def main(loop: Loop) -> None:
        counters = counters_on(ScriptedStore(lambda request: applied()), loop)
        await counters.increment("a")
        children.append(os.fork())
        if children == [0]:
            try:
                await counters.increment("a")
            except Closed as refusal:
                os.write(writer, str(refusal).encode())
            finally:
                os._exit(0)

    run(main)
    os.waitpid(children[0], 0)
    os.close(writer)
    with open(reader) as told:
        assert told.read() == "these counters were opened in another process or thread; open them in this one"
