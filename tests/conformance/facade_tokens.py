"""Tokens as an application sees them: a call that is repeated counts once, and is answered alike."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from plusone import Operation, Outcome, TokenReused
from tests.conformance.harness import NewStore, asynchronous, counters_on, told


class FacadeTokenRules:
    @asynchronous
    async def test_a_token_is_counted_once(self, new_store: NewStore) -> None:
        """The same token again: the same outcome, marked as replayed, with the time of the first."""
        async with counters_on(new_store) as counters:
            first = await counters.increment("paid", 5, token="order-1")
            await counters.increment("paid", 100)
            second = await counters.increment("paid", 5, token="order-1")
            assert (told(first), first.replayed) == ((True, 5, 0, 1, None), False)
            assert (told(second), second.replayed, second.at) == ((True, 5, 0, 1, None), True, first.at)
            assert (await counters.get("paid")).value == 105

    @asynchronous
    async def test_fifty_at_once_with_one_token(self, new_store: NewStore) -> None:
        """In one process and in several writers: one is applied, the others are replayed; none is in flight."""
        async with AsyncExitStack() as stack:
            writers = [await stack.enter_async_context(counters_on(new_store)) for _ in range(3)]
            outcomes = await asyncio.gather(
                *(writers[number % 3].increment("paid", 5, token="order-1") for number in range(48))
            )
            assert {told(outcome) for outcome in outcomes} == {(True, 5, 0, 1, None)}
            assert len({outcome.at for outcome in outcomes}) == 1
            assert sum(outcome.replayed for outcome in outcomes) == 47
            assert (await writers[0].get("paid")).revision == 1

    @asynchronous
    async def test_another_operation_under_a_token_is_refused(self, new_store: NewStore) -> None:
        """Fingerprint: a difference in anything but the token is `TokenReused`; another counter is no difference."""
        async with counters_on(new_store) as counters:
            await counters.increment("paid", 5, token="order-1")
            for different in (
                counters.increment("paid", 6, token="order-1"),
                counters.decrement("paid", 5, token="order-1"),
                counters.increment("paid", 5, token="order-1", ceiling=10),
                counters.increment("paid", 5, token="order-1", floor=0),
                counters.increment("paid", 5, token="order-1", ttl=60),
                counters.increment("paid", 5, token="order-1", if_revision=1),
                counters.increment("paid", 5, token="order-1", if_absent=True),
                counters.set("paid", 5, token="order-1"),
                counters.delete("paid", token="order-1"),
            ):
                with pytest.raises(TokenReused):
                    await different
            assert told(await counters.increment("other", 5, token="order-1")) == (True, 5, 0, 1, None)
            assert (await counters.get("paid")).value == 5

    @asynchronous
    async def test_a_rejection_is_remembered(self, new_store: NewStore) -> None:
        """Remembered: rejections by bound, revision or existence, though the counter would now admit them."""
        async with counters_on(new_store) as counters:
            await counters.set("seats", 10)
            refused = (False, 10, 10, 1, "ceiling")
            assert told(await counters.increment("seats", ceiling=10, token="a")) == refused
            assert told(await counters.increment("seats", if_revision=7, token="b")) == (False, 10, 10, 1, "revision")
            assert told(await counters.set("seats", 1, if_absent=True, token="c")) == (False, 10, 10, 1, "exists")
            await counters.set("seats", 0)
            again = await counters.increment("seats", ceiling=10, token="a")
            assert (told(again), again.replayed) == (refused, True)
            assert told(await counters.set("seats", 1, if_absent=True, token="c")) == (False, 10, 10, 1, "exists")
            assert (await counters.get("seats")).revision == 2

    @asynchronous
    async def test_a_known_token_wins_over_a_precondition(self, new_store: NewStore) -> None:
        async with counters_on(new_store) as counters:
            await counters.set("a", 1)
            first = await counters.increment("a", if_revision=1, token="t")
            again = await counters.increment("a", if_revision=1, token="t")
            assert (told(first), told(again)) == ((True, 2, 1, 2, None), (True, 2, 1, 2, None))

    @asynchronous
    async def test_many_tokens_in_one_batch(self, new_store: NewStore) -> None:
        """Tokens that travel together: each replays its own place in the batch, rejections included."""
        async with counters_on(new_store) as counters, counters_on(new_store) as other:
            calls = [(2, f"order-{number}") for number in range(60)]
            first = await asyncio.gather(*(counters.increment("a", by, ceiling=99, token=token) for by, token in calls))
            assert [outcome.applied for outcome in first].count(True) == 49
            await other.reset("a")
            again = await asyncio.gather(*(other.increment("a", by, ceiling=99, token=token) for by, token in calls))
            assert [told(outcome) for outcome in again] == [told(outcome) for outcome in first]
            assert all(outcome.replayed for outcome in again)
            assert (await other.get("a")).value == 0

    @asynchronous
    async def test_a_token_over_a_whole_call(self, new_store: NewStore) -> None:
        """Bulk: under one token each counter has one for its group; an item may carry its own instead."""
        operations = [
            ("a", Operation.add(1)),
            ("b", Operation.set(5)),
            ("a", Operation.add(9, ceiling=5)),
            ("a", Operation.add(2)),
            ("b", Operation.add(-2)),
            ("a", Operation.add(10, token="own")),
        ]
        expected = [
            (True, 1, 0, 1, None),
            (True, 5, 0, 1, None),
            (False, 1, 1, 1, "ceiling"),
            (True, 3, 1, 2, None),
            (True, 3, 5, 2, None),
            (True, 13, 3, 3, None),
        ]
        async with counters_on(new_store) as counters:
            for replayed in (False, True):
                results = await counters.apply(operations, token="whole")
                outcomes = [result for result in results if isinstance(result, Outcome)]
                assert [told(outcome) for outcome in outcomes] == expected
                assert {outcome.replayed for outcome in outcomes} == {replayed}
                await counters.increment("a", 0)
            different = await counters.apply([("a", Operation.add(1)), ("c", Operation.add(1))], token="whole")
            assert isinstance(different[0], TokenReused)
            assert isinstance(different[1], Outcome)
            assert told(different[1]) == (True, 1, 0, 1, None)
