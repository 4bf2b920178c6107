"""Life and death of a record: sets, deletes, ttls, and what goes on through all of them."""

from __future__ import annotations

import time

import pytest

from plusone.stores.protocol import Answer, Record, Store
from plusone.types import MAX, MIN
from tests.conformance.harness import (
    DAY_MS,
    KEY,
    NewStore,
    World,
    add,
    apply,
    asynchronous,
    delete,
    known_tokens,
    opened,
    read,
    restart,
    state,
    with_tokens,
)
from tests.conformance.reasons import requires

HOUR_MS = 3_600_000


class RecordRules:
    @asynchronous
    async def test_an_absent_counter_reads_as_0(self, new_store: NewStore) -> None:
        """A dead counter reads as value 0 with `exists` false; an absent one has revision 0 and was never changed."""
        async with opened(new_store()) as store:
            assert list(await store.read([KEY, KEY], strong=True)) == [Record(0, 0, False, None)] * 2

    @asynchronous
    async def test_reads_answer_in_the_order_of_the_keys(self, new_store: NewStore) -> None:
        async with opened(new_store()) as store:
            await store.apply([add(number, key=f"default/{number}") for number in range(1, 6)])
            keys = ["default/3", "default/1", "default/none", "default/5", "default/3"]
            for strong in (True, False):
                records = await store.read(keys, strong=strong)
                if strong or not store.capabilities.eventual_reads:
                    assert [record.value for record in records] == [3, 1, 0, 5, 3]
                    assert [record.exists for record in records] == [True, True, False, True, True]

    @asynchronous
    async def test_many_keys_are_read_at_once(self, new_store: NewStore) -> None:
        async with opened(new_store()) as store:
            await store.apply([add(number, key=f"default/{number}") for number in range(10)])
            records = await store.read([f"default/{number}" for number in range(2_000)], strong=True)
            assert [record.value for record in records] == [*range(10), *[0] * 1_990]

    @asynchronous
    async def test_a_strong_read_sees_what_another_connection_wrote(self, new_store: NewStore) -> None:
        """`strong` sees every operation acknowledged before the call, whoever sent it."""
        async with opened(new_store()) as writer, opened(new_store()) as reader:
            for seq in range(1, 51):
                await apply(writer, add(seq=seq, acked=seq - 1))
                assert await state(reader) == (seq, seq, True)

    @asynchronous
    async def test_by_0_and_a_set_to_the_same_raise_the_revision(self, new_store: NewStore) -> None:
        """`revision` is the number of operations applied: `by = 0` and a set to the same value raise it."""
        async with opened(new_store()) as store:
            await apply(store, add(0))
            assert await state(store) == (0, 1, True)
            await apply(store, restart(0, seq=2, acked=1))
            await apply(store, add(0, seq=3, acked=2, applied=4))
            assert await state(store) == (0, 6, True)

    @asynchronous
    async def test_a_restart_counts_from_0(self, new_store: NewStore) -> None:
        """`restart`: count from 0 instead of the value; the guard still sees the value, and the answer has it."""
        async with opened(new_store()) as store:
            assert await apply(store, restart(40)) == Answer("applied", 0, 0, False)
            assert await apply(store, restart(-3, seq=2, acked=1, applied=2)) == Answer("applied", 40, 1, True)
            assert await apply(store, restart(-3, seq=2, acked=1)) == Answer("duplicate", 40, 1, True)
            assert await state(store) == (-3, 3, True)
            assert await apply(store, restart(1, seq=3, acked=2, lo=0)) == Answer("missed", -3, 3, True)
            assert await apply(store, restart(MAX, seq=3, acked=2, lo=-3, hi=-3)) == Answer("applied", -3, 3, True)
            assert await apply(store, restart(MIN, seq=4, acked=3)) == Answer("applied", MAX, 4, True)
            assert await state(store) == (MIN, 5, True)

    @asynchronous
    async def test_a_delete_leaves_the_record_dead(self, new_store: NewStore) -> None:
        """Delete writes value 0 and leaves the record dead by every clock; its revision goes on."""
        async with opened(new_store()) as store:
            await apply(store, add(5, applied=5))
            assert await apply(store, delete(seq=2, acked=1)) == Answer("applied", 5, 5, True)
            assert await state(store) == (0, 6, False)
            assert await apply(store, delete(seq=3, acked=2)) == Answer("applied", 0, 6, False)
            assert await state(store) == (0, 7, False)
            assert await apply(store, add(2, seq=4, acked=3, alive=True)) == Answer("missed", 0, 7, False)
            assert await apply(store, add(2, seq=4, acked=3, lo=0, hi=0)) == Answer("applied", 0, 7, False)
            assert await state(store) == (2, 8, True)

    @asynchronous
    async def test_a_delete_of_an_absent_counter_is_applied(self, new_store: NewStore) -> None:
        async with opened(new_store()) as store:
            assert await apply(store, delete()) == Answer("applied", 0, 0, False)
            assert await state(store) == (0, 1, False)
            assert await apply(store, delete()) == Answer("duplicate", 0, 0, False)

    @asynchronous
    async def test_a_dead_record_keeps_its_sessions(self, new_store: NewStore) -> None:
        """A dead record's revision and sessions go on, so no retry counts twice, and no batch from before its death."""
        async with opened(new_store()) as store:
            await apply(store, add(5, seq=2))
            await apply(store, delete(writer="DDDDDDDDDDDDDDDD"))
            assert await apply(store, add(5, seq=2)) == Answer("duplicate", 0, 0, False)
            assert await apply(store, add(5, seq=1)) == Answer("stale")
            assert await state(store) == (0, 2, False)

    @asynchronous
    async def test_deleting_forgets_the_ttl(self, new_store: NewStore, world: World) -> None:
        """Delete always writes its own `expires`; the life after it has the ttl of its own beginning."""
        async with opened(new_store(clock=world.clock)) as store:
            await apply(store, add(1, ttl_ms=50))
            await apply(store, delete(seq=2, acked=1))
            await apply(store, add(3, seq=3, acked=2))
            await _dies(store, world, "default/companion", ttl_ms=100)
            assert await state(store) == (3, 3, True)

    @asynchronous
    async def test_a_ttl_ends_a_life(self, new_store: NewStore, world: World) -> None:
        """A record is dead once `expires <= now`: it counts from 0 again, its revision and sessions go on."""
        async with opened(new_store(clock=world.clock)) as store:
            began, began_ms = time.monotonic(), world.now_ms
            await apply(store, add(5, ttl_ms=60))
            await world.until(lambda: _dead(store, KEY))
            passed_ms = max((time.monotonic() - began) * 1000, world.now_ms - began_ms)
            assert passed_ms >= 59  # a datastore's clock shows whole milliseconds
            assert await state(store) == (0, 1, False)
            assert await apply(store, add(5)) == Answer("duplicate", 0, 0, False)
            assert await apply(store, add(7, seq=2, acked=1, lo=0, hi=0)) == Answer("applied", 0, 1, False)
            assert await state(store) == (7, 2, True)

    @asynchronous
    async def test_the_millisecond_of_a_ttl_is_exact(self, new_store: NewStore, world: World) -> None:
        """A record is dead when `expires <= now`, for reads and for the step."""
        async with opened(new_store(clock=world.clock)) as store:
            requires(store.capabilities, "a clock to move")
            await apply(store, add(5, ttl_ms=1_000))
            world.advance(999)
            assert await state(store) == (5, 1, True)
            assert await apply(store, add(1, seq=2, acked=1, alive=False)) == Answer("missed", 5, 1, True)
            world.advance(1)
            assert await state(store) == (0, 1, False)
            assert await apply(store, add(1, seq=2, acked=1, alive=True)) == Answer("missed", 0, 1, False)

    @asynchronous
    async def test_later_ttls_are_ignored(self, new_store: NewStore, world: World) -> None:
        """A ttl counts from the operation that brings a dead counter to life; later ones neither set nor move it."""
        async with opened(new_store(clock=world.clock)) as store:
            await apply(store, add(1, key="default/for ever"))
            await apply(store, add(1, key="default/for ever", seq=2, acked=1, ttl_ms=1))
            await apply(store, restart(1, key="default/for ever", seq=3, acked=2, ttl_ms=1))
            await apply(store, add(1, key="default/long", ttl_ms=DAY_MS))
            await apply(store, add(1, key="default/long", seq=2, acked=1, ttl_ms=1))
            await apply(store, add(1, key="default/short", ttl_ms=1_000))
            await apply(store, add(1, key="default/short", seq=2, acked=1, ttl_ms=DAY_MS))
            await apply(store, add(1, key="default/short", seq=3, acked=2))
            await world.until(lambda: _dead(store, "default/short"))
            assert await state(store, "default/for ever") == (1, 3, True)
            assert await state(store, "default/long") == (2, 2, True)

    @asynchronous
    async def test_each_life_has_a_ttl_of_its_own(self, new_store: NewStore, world: World) -> None:
        """After a death the next first operation decides again; without a ttl the counter lives for ever."""
        async with opened(new_store(clock=world.clock)) as store:
            await _dies(store, world, KEY, ttl_ms=30)
            await apply(store, add(4, seq=2, acked=1, ttl_ms=30))
            await world.until(lambda: _dead(store, KEY))
            await apply(store, add(9, seq=3, acked=2))
            await _dies(store, world, "default/companion", ttl_ms=60)
            assert await state(store) == (9, 3, True)

    @asynchronous
    async def test_what_applies_nothing_starts_no_life(self, new_store: NewStore, world: World) -> None:
        """With `applied = 0` `expires` is not written: neither a life nor its end begins."""
        async with opened(new_store(clock=world.clock)) as store:
            await apply(store, add(0, applied=0, ttl_ms=DAY_MS))
            assert await state(store) == (0, 0, False)
            await apply(store, add(1, seq=2, acked=1))
            await apply(store, add(0, seq=3, acked=2, applied=0, ttl_ms=1))
            await _dies(store, world, "default/companion", ttl_ms=30)
            assert await state(store) == (1, 1, True)

    @pytest.mark.parametrize("ttl_ms", [DAY_MS * 365, 3_155_760_000_000])
    @asynchronous
    async def test_long_ttls_are_taken(self, new_store: NewStore, ttl_ms: int) -> None:
        """A year and a hundred years are no overflow."""
        async with opened(new_store()) as store:
            await apply(store, add(1, ttl_ms=ttl_ms))
            assert await state(store) == (1, 1, True)

    @asynchronous
    async def test_updated_is_the_time_of_the_last_change(self, new_store: NewStore, world: World) -> None:
        """`updated` moves with what is applied, by the clock that the store goes by, and with nothing else."""
        async with opened(new_store(clock=world.clock)) as store:
            requires(store.capabilities, "a clock to move")
            await apply(store, add(1))
            born_ms = world.now_ms
            world.advance(5_000)
            await apply(store, add(0, seq=2, acked=1, applied=0))
            await apply(store, add(1, seq=3, acked=2, lo=9))
            assert await read(store) == Record(1, 1, True, born_ms)
            await apply(store, add(0, seq=3, acked=2))
            assert await read(store) == Record(1, 2, True, born_ms + 5_000)
            world.advance(5_000)
            await apply(store, delete(seq=4, acked=3))
            assert await read(store) == Record(0, 3, False, born_ms + 10_000)

    @asynchronous
    async def test_the_dead_are_kept_for_an_hour(self, new_store: NewStore, world: World) -> None:
        """Dead records stay for an hour after their last write of any kind: no revision comes back before."""
        async with opened(new_store(clock=world.clock)) as store:
            requires(store.capabilities, "a clock to move")
            await apply(store, add(5, applied=5))
            await apply(store, delete(seq=2, acked=1))
            world.advance(HOUR_MS - 1)
            await apply(store, add(1, key="default/another"))
            assert await apply(store, delete(seq=2, acked=1)) == Answer("duplicate", 5, 5, True)
            await apply(store, add(0, seq=3, acked=2, applied=0))
            world.advance(HOUR_MS - 1)
            await apply(store, add(1, key="default/another", seq=2, acked=1))
            assert await apply(store, delete(seq=2, acked=1)) == Answer("stale")
            assert await state(store) == (0, 6, False)

    @asynchronous
    async def test_the_dead_are_kept_while_they_hold_tokens(self, new_store: NewStore, world: World) -> None:
        """Dead records are not removed while they hold unexpired tokens."""
        async with opened(new_store(clock=world.clock)) as store:
            requires(store.capabilities, "a clock to move")
            await apply(store, with_tokens(store, delete(), (0, 0, False), "t"))
            for hour in range(1, 24):
                world.advance(HOUR_MS)
                await apply(store, add(1, key="default/another", seq=hour))
            assert await known_tokens(store, "t") == ["t"]
            assert await state(store) == (0, 1, False)


async def _dead(store: Store, key: str) -> bool:
    return not (await read(store, key)).exists


async def _dies(store: Store, world: World, key: str, *, ttl_ms: int) -> None:
    """Bring a counter to life for so long, and wait for its end: that time has then passed for all."""
    await apply(store, add(1, key=key, ttl_ms=ttl_ms))
    await world.until(lambda: _dead(store, key))
