"""What an application sees, on every store: the same counters, by one caller or by many at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from plusone import (
    BoundReached,
    Counter,
    Counters,
    InvalidRequest,
    Operation,
    Outcome,
    PreconditionFailed,
)
from plusone.types import MAX, MIN
from tests.conformance.harness import NewStore, World, asynchronous, counters_on, told
from tests.conformance.reasons import requires
from tests.conformance.writers import count_in_processes


class FacadeRules:
    @asynchronous
    async def test_each_kind_of_operation(self, new_store: NewStore) -> None:
        """Add, set, reset and delete: value after, value before, and a revision that counts what was applied."""
        async with counters_on(new_store) as counters:
            assert told(await counters.increment("votes")) == (True, 1, 0, 1, None)
            assert told(await counters.increment("votes", 41)) == (True, 42, 1, 2, None)
            assert told(await counters.decrement("votes", 2)) == (True, 40, 42, 3, None)
            assert told(await counters.increment("votes", 0)) == (True, 40, 40, 4, None)
            assert told(await counters.set("votes", -5)) == (True, -5, 40, 5, None)
            assert told(await counters.reset("votes")) == (True, 0, -5, 6, None)
            assert (await counters.get("votes")).exists
            await counters.increment("votes", 9)
            assert told(await counters.delete("votes")) == (True, 0, 9, 8, None)
            assert await counters.get("votes") == Counter("votes", 0, 8, False, (await counters.get("votes")).updated)
            assert told(await counters.increment("votes", 3)) == (True, 3, 0, 9, None)

    @asynchronous
    async def test_a_thousand_at_once_under_a_ceiling(self, new_store: NewStore) -> None:
        """1,000 concurrent increments with ceiling 100: 100 applied with the values 1 to 100, 900 rejected at 100."""
        async with counters_on(new_store) as counters:
            outcomes = await asyncio.gather(*(counters.increment("seats", ceiling=100) for _ in range(1_000)))
            applied = [outcome for outcome in outcomes if outcome]
            assert sorted(outcome.value for outcome in applied) == list(range(1, 101))
            rejected = [told(outcome) for outcome in outcomes if not outcome]
            assert rejected == [(False, 100, 100, 100, "ceiling")] * 900
            counter = await counters.get("seats")
            assert (counter.value, counter.revision) == (100, 100)

    @asynchronous
    async def test_several_writers_under_a_ceiling(self, new_store: NewStore) -> None:
        """The same by four writers, whose guards miss one another: never more than the ceiling, never less."""
        async with AsyncExitStack() as stack:
            writers = [await stack.enter_async_context(counters_on(new_store)) for _ in range(4)]
            outcomes = await asyncio.gather(
                *(writers[number % 4].increment("seats", ceiling=100) for number in range(1_000))
            )
            assert sorted(outcome.value for outcome in outcomes if outcome) == list(range(1, 101))
            assert [outcome.value for outcome in outcomes if not outcome] == [100] * 900

    @asynchronous
    async def test_rises_and_falls_between_bounds(self, new_store: NewStore) -> None:
        """Bounds are never crossed, by mixed signs from several writers neither."""
        async with AsyncExitStack() as stack:
            writers = [await stack.enter_async_context(counters_on(new_store)) for _ in range(3)]
            outcomes = await asyncio.gather(
                *(writers[number % 3].add("level", (3, -2)[number % 2], floor=0, ceiling=10) for number in range(600))
            )
            assert all(0 <= outcome.value <= 10 for outcome in outcomes)
            total = sum(outcome.value - outcome.previous for outcome in outcomes)
            counter = await writers[0].get("level")
            assert (counter.value, counter.revision) == (total, sum(outcome.applied for outcome in outcomes))

    @asynchronous
    async def test_several_writers_get_every_value_once(self, new_store: NewStore) -> None:
        """Four writers on one counter, and on 50 others: every value from 1 exactly once, on each."""
        async with AsyncExitStack() as stack:
            writers = [await stack.enter_async_context(counters_on(new_store)) for _ in range(4)]
            hot = [writers[number % 4].increment("hot") for number in range(2_000)]
            spread = [writers[number % 4].increment(f"spread-{number // 40}") for number in range(2_000)]
            outcomes = await asyncio.gather(*hot, *spread)
            assert sorted(outcome.value for outcome in outcomes[:2_000]) == list(range(1, 2_001))
            assert all(outcome.revision == outcome.value == outcome.previous + 1 for outcome in outcomes)
            for number in range(50):
                values = [outcome.value for outcome in outcomes[2_000 + 40 * number : 2_040 + 40 * number]]
                assert sorted(values) == list(range(1, 41))

    def test_two_processes_get_every_value_once(self, new_store: NewStore, store_url: str) -> None:
        """Two processes on one counter: every value from 1 to the end exactly once."""
        requires(new_store().capabilities, "several processes")
        values = count_in_processes(store_url, "hot", processes=2, increments=3_000, callers=50)
        assert sorted(values) == list(range(1, 6_001))

        async def value() -> int:
            async with counters_on(new_store) as counters:
                return (await counters.get("hot")).value

        assert asyncio.run(value()) == 6_000

    @asynchronous
    async def test_a_reopened_store_has_it_all(self, new_store: NewStore) -> None:
        """Close and open again: value, revision, death and tokens are as they were."""
        async with counters_on(new_store) as counters:
            await asyncio.gather(*(counters.increment("kept", 2) for _ in range(100)))
            await counters.increment("kept", 5, token="order-1")
            await counters.increment("gone")
            await counters.delete("gone")
        async with counters_on(new_store) as counters:
            found = await counters.get_many(["kept", "gone", "never", "kept"])
            assert [(counter.name, counter.value, counter.revision, counter.exists) for counter in found] == [
                ("kept", 205, 101, True),
                ("gone", 0, 2, False),
                ("never", 0, 0, False),
                ("kept", 205, 101, True),
            ]
            assert told(await counters.increment("kept")) == (True, 206, 205, 102, None)
            assert told(await counters.increment("kept", 5, token="order-1")) == (True, 205, 200, 101, None)

    @asynchronous
    async def test_both_ends_of_64_bits_reject(self, new_store: NewStore) -> None:
        """±2^63 is a bound of every add: overflow is a rejection, and what fits is taken up to the last number."""
        async with counters_on(new_store) as counters:
            await counters.set("top", MAX - 1)
            assert told(await counters.increment("top")) == (True, MAX, MAX - 1, 2, None)
            assert told(await counters.increment("top")) == (False, MAX, MAX, 2, "overflow")
            assert told(await counters.increment("top", MAX)) == (False, MAX, MAX, 2, "overflow")
            assert told(await counters.decrement("top", MAX)) == (True, 0, MAX, 3, None)
            await counters.set("bottom", MIN)
            with pytest.raises(BoundReached):
                (await counters.decrement("bottom")).raise_for_rejection()
            assert told(await counters.increment("bottom", MAX)) == (True, -1, MIN, 2, None)
            assert told(await counters.increment("bottom", MIN)) == (False, -1, -1, 2, "overflow")
            assert told(await counters.increment("bottom", -MAX)) == (True, MIN, -1, 3, None)
            outcomes = await asyncio.gather(*(counters.increment("many", 2**62) for _ in range(4)))
            assert [told(outcome)[:2] for outcome in outcomes] == [
                (True, 2**62),
                (False, 2**62),
                (False, 2**62),
                (False, 2**62),
            ]

    @asynchronous
    async def test_preconditions(self, new_store: NewStore) -> None:
        """`if_revision` demands that the counter exists at that revision, `if_absent` that it does not exist."""
        async with counters_on(new_store) as counters:
            assert told(await counters.increment("a", if_revision=0)) == (False, 0, 0, 0, "revision")
            assert told(await counters.set("a", 5, if_absent=True)) == (True, 5, 0, 1, None)
            assert told(await counters.set("a", 6, if_absent=True)) == (False, 5, 5, 1, "exists")
            assert told(await counters.increment("a", if_revision=1)) == (True, 6, 5, 2, None)
            with pytest.raises(PreconditionFailed):
                (await counters.increment("a", if_revision=1)).raise_for_rejection()
            assert told(await counters.delete("a", if_revision=1)) == (False, 6, 6, 2, "revision")
            assert told(await counters.delete("a", if_revision=2)) == (True, 0, 6, 3, None)
            assert told(await counters.increment("a", if_revision=3)) == (False, 0, 0, 3, "revision")
            assert told(await counters.increment("a", if_absent=True)) == (True, 1, 0, 4, None)

    @asynchronous
    async def test_one_of_many_preconditions_holds(self, new_store: NewStore) -> None:
        """Compare and set by four writers at once: exactly one of those who read the same revision wins."""
        async with AsyncExitStack() as stack:
            writers = [await stack.enter_async_context(counters_on(new_store)) for _ in range(4)]
            await writers[0].set("a", 0)
            for revision in range(1, 11):
                outcomes = await asyncio.gather(
                    *(writer.set("a", number, if_revision=revision) for number, writer in enumerate(writers * 5))
                )
                assert sum(outcome.applied for outcome in outcomes) == 1
                assert {outcome.revision for outcome in outcomes} == {revision + 1}

    @asynchronous
    async def test_a_ttl_in_seconds(self, new_store: NewStore, world: World) -> None:
        """`ttl` ends the life that its call begins; the counter then reads as absent and counts from 0."""
        async with counters_on(new_store, world.clock) as counters:
            await counters.increment("session", 7, ttl=0.05)

            async def expired() -> bool:
                return not (await counters.get("session")).exists

            await world.until(expired)
            assert told(await counters.increment("session", if_absent=True)) == (True, 1, 0, 2, None)

    @asynchronous
    async def test_listing(self, new_store: NewStore) -> None:
        """`list`: pages of names without their account, by prefix; a counter of another account is not on them."""
        async with counters_on(new_store) as counters:
            requires(counters.capabilities, "listing")
            expected = {f"page/{number}": number for number in range(1, 26)}
            await counters.apply([(name, Operation.set(value)) for name, value in expected.items()])
            await counters.increment("other")
            found: dict[str, int] = {}
            page_token = None
            while True:
                page = await counters.list("page/", limit=10, page_token=page_token)
                assert len(page.counters) <= 10
                found |= {counter.name: counter.value for counter in page.counters}
                page_token = page.next_page_token
                if page_token is None:
                    break
            assert found == expected
            async with Counters(new_store(), account="another") as foreign:
                assert (await foreign.list()).counters == []
                assert (await foreign.get("other")).exists is False

    @asynchronous
    async def test_names_that_nobody_may_use(self, new_store: NewStore) -> None:
        async with counters_on(new_store) as counters:
            for name in ("", "x" * 256, "é" * 128, "a\0b", "a\nb", "\x7f", "\ud800"):
                with pytest.raises(InvalidRequest) as refused:
                    await counters.increment(name)
                assert refused.value.field == "name"

    @asynchronous
    async def test_half_of_the_callers_give_up(self, new_store: NewStore) -> None:
        """A cancelled caller's operation stays in its batch, and the others' are neither lost nor repeated."""
        async with counters_on(new_store) as counters:
            total = 0
            for _ in range(5):
                callers = [asyncio.ensure_future(counters.increment("busy")) for _ in range(200)]
                await asyncio.sleep(0)
                sent = [asyncio.ensure_future(counters.increment("busy")) for _ in range(200)]
                await asyncio.sleep(0)
                for caller in callers[::2] + sent[::2]:
                    caller.cancel()
                outcomes = await asyncio.gather(*callers[1::2], *sent[1::2])
                values = [outcome.value for outcome in outcomes]
                assert len(set(values)) == 200
                assert total < min(values)
                total = (await counters.get("busy")).value
                assert max(values) <= total
            assert 1_000 <= total <= 2_000
            assert (await counters.get("busy")).revision == total

    @asynchronous
    async def test_ten_thousand_in_one_call(self, new_store: NewStore) -> None:
        """Bulk: the answers in the order of the operations; those on one counter keep their order.

        There are more counters than a call to any store carries, and they all are written within one deadline: 60 s.
        """
        async with counters_on(new_store) as counters:
            operations = [(f"bulk-{number % 1_100}", Operation.add(number // 1_100 + 1)) for number in range(10_000)]
            results = await counters.apply(operations)
            sums = [1, 3, 6, 10, 15, 21, 28, 36, 45, 55]
            assert [told(result) if isinstance(result, Outcome) else result for result in results] == [
                (True, value, value - index, index, None)
                for index, value in enumerate(sums, start=1)
                for _ in range(1_100 if index < 10 else 100)
            ]
            found = await counters.get_many([f"bulk-{number}" for number in range(1_100)])
            assert [(counter.value, counter.revision) for counter in found] == [(55, 10)] * 100 + [(45, 9)] * 1_000

    @asynchronous
    async def test_a_bad_item_fails_alone(self, new_store: NewStore) -> None:
        async with counters_on(new_store) as counters:
            results = await counters.apply(
                [
                    ("a", Operation.add(1)),
                    ("", Operation.add(1)),
                    ("a", Operation.add(5, ceiling=3)),
                    ("b", Operation.set(MAX)),
                    ("b", Operation.add(1)),
                    ("b", Operation.delete()),
                    ("a", Operation.add(-2, floor=-1)),
                    ("b", Operation.add(2)),
                ]
            )
            assert isinstance(results[1], InvalidRequest)
            assert [told(result) for result in results if isinstance(result, Outcome)] == [
                (True, 1, 0, 1, None),
                (False, 1, 1, 1, "ceiling"),
                (True, MAX, 0, 1, None),
                (False, MAX, MAX, 1, "overflow"),
                (True, 0, MAX, 2, None),
                (True, -1, 1, 2, None),
                (True, 2, 0, 3, None),
            ]
