"""A process that was frozen between sending a batch and reading its answer."""

from __future__ import annotations

from tests.model.virtual import Loop
from tests.unit.scripted import ScriptedStore, applied, counters_on, in_virtual_time


@in_virtual_time
async def test_what_was_answered_before_a_freeze_is_not_acknowledged_behind_it(loop: Loop) -> None:
    """`acked` is forgotten 2 minutes after its batch was asked for: its session may have been pruned meanwhile."""
    store = ScriptedStore()
    counters = counters_on(store, loop)
    first = loop.create_task(counters.increment("a"))
    loop.world.after(1, (await store.sent(1)).answer, applied())
    loop.freeze(121)
    assert (await first).value == 1
    second = loop.create_task(counters.increment("a"))
    (await store.sent(2)).answer(applied(1, 1))
    assert (await second).value == 2
    assert [request.acked for request in store.requests] == [0, 0]


@in_virtual_time
async def test_a_short_freeze_forgets_nothing(loop: Loop) -> None:
    store = ScriptedStore()
    counters = counters_on(store, loop)
    first = loop.create_task(counters.increment("a"))
    loop.world.after(1, (await store.sent(1)).answer, applied())
    loop.freeze(119)
    assert (await first).value == 1
    second = loop.create_task(counters.increment("a"))
    (await store.sent(2)).answer(applied(1, 1))
    assert (await second).value == 2
    assert [request.acked for request in store.requests] == [0, 1]
