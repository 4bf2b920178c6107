"""What a store declares of itself is so. Its tokens: tokens.py; its sessions: steps.py; its clock: records.py."""

from __future__ import annotations

import pytest

from plusone import InvalidRequest, Operation, Outcome, UnsupportedByStore
from plusone.stores.protocol import Answer
from tests.conformance.harness import KEY, NewStore, add, asynchronous, counters_on, opened, told


class CapabilityRules:
    @asynchronous
    async def test_the_longest_name_counts_and_a_longer_one_is_refused(self, new_store: NewStore) -> None:
        """Capability `name_bytes`: names that differ in their last byte only are counters of their own."""
        async with counters_on(new_store) as counters:
            longest = counters.capabilities.name_bytes
            assert longest == 255
            names = ["n" * (longest - 1) + end for end in "nNm"] + ["n" + "\u00e9" * (longest // 2)]
            assert {len(name.encode()) for name in names} == {longest}
            results = await counters.apply([(name, Operation.add(number)) for number, name in enumerate(names, 1)])
            assert [told(result) for result in results if isinstance(result, Outcome)] == [
                (True, number, 0, 1, None) for number in (1, 2, 3, 4)
            ]
            assert [counter.value for counter in await counters.get_many(names)] == [1, 2, 3, 4]
            with pytest.raises(InvalidRequest) as refused:
                await counters.increment("n" * (longest + 1))
            assert refused.value.field == "name"

    @asynchronous
    async def test_a_call_takes_as_many_counters_as_the_store_says(self, new_store: NewStore) -> None:
        """Capability `batches_per_call`, with the longest names."""
        async with opened(new_store()) as store:
            count = store.capabilities.batches_per_call
            keys = [f"default/{number:0255}" for number in range(count)]
            batch = [add(number, key=key) for number, key in enumerate(keys)]
            assert list(await store.apply(batch)) == [Answer("applied", 0, 0, False)] * count
            assert list(await store.apply(batch)) == [Answer("duplicate", 0, 0, False)] * count
            assert [record.value for record in await store.read(keys, strong=True)] == list(range(count))

    @asynchronous
    async def test_it_lists_or_says_that_it_cannot(self, new_store: NewStore) -> None:
        """Capability `lists`."""
        async with counters_on(new_store) as counters:
            await counters.increment("a")
            if counters.capabilities.lists:
                assert [counter.name for counter in (await counters.list()).counters] == ["a"]
            else:
                with pytest.raises(UnsupportedByStore):
                    await counters.list()

    @asynchronous
    async def test_eventual_reads_are_strong_unless_it_says_otherwise(self, new_store: NewStore) -> None:
        """Capability `eventual_reads`: without it what another connection was just answered is seen at once."""
        async with opened(new_store()) as writer, opened(new_store()) as reader:
            for seq in range(1, 21):
                await writer.apply([add(1, seq=seq, acked=seq - 1)])
                [record] = await reader.read([KEY], strong=False)
                if reader.capabilities.eventual_reads:
                    assert 0 <= record.value <= seq
                else:
                    assert record.value == seq
