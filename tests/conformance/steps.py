"""The one step: the rows of the guarded-add table in their order, sessions, and the numbers at the edges."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest

from plusone.errors import NotCounted
from plusone.stores.protocol import Answer, Store
from plusone.types import MAX, MIN
from tests.conformance.harness import (
    A,
    B,
    NewStore,
    World,
    add,
    apply,
    asynchronous,
    closing,
    has_session,
    opened,
    read,
    restart,
    state,
    with_tokens,
)
from tests.conformance.reasons import requires

DOUBLE: Final = 2**53
"""From here on a double skips integers."""


class StepRules:
    @asynchronous
    async def test_applied_answers_the_state_before(self, new_store: NewStore) -> None:
        """apply: value, revision, expires, session written; applied, with value, revision, existence before."""
        async with opened(new_store()) as store:
            assert await apply(store, add(5, applied=3)) == Answer("applied", 0, 0, False)
            assert await apply(store, add(-7, seq=2, acked=1)) == Answer("applied", 5, 3, True)
            assert await state(store) == (-2, 4, True)

    @asynchronous
    async def test_a_repeated_seq_is_answered_with_the_stored_before(self, new_store: NewStore) -> None:
        """last = seq: duplicate, with the stored value, revision and existence before; also after others wrote."""
        async with opened(new_store()) as store:
            await apply(store, add(5))
            assert await apply(store, add(5)) == Answer("duplicate", 0, 0, False)
            await apply(store, add(10, writer=B))
            assert await apply(store, add(10, writer=B)) == Answer("duplicate", 5, 1, True)
            assert await apply(store, add(5)) == Answer("duplicate", 0, 0, False)
            assert await state(store) == (15, 2, True)

    @asynchronous
    async def test_a_repeated_seq_is_known_after_a_reopening(self, new_store: NewStore) -> None:
        """last = seq: a session is part of the record, not of a connection."""
        async with opened(new_store()) as store:
            await apply(store, add(5))
            await apply(store, add(2, seq=2, acked=1))
            async with opened(new_store()) as other:
                await apply(other, add(10, writer=B))
        async with opened(new_store()) as store:
            assert await apply(store, add(2, seq=2, acked=1)) == Answer("duplicate", 5, 1, True)
            assert await apply(store, add(10, writer=B)) == Answer("duplicate", 7, 2, True)
            assert await state(store) == (17, 3, True)

    @asynchronous
    async def test_a_duplicate_is_recognised_before_anything_else(self, new_store: NewStore) -> None:
        """The session's row comes first: what the guard or the tokens would say of a duplicate is not asked."""
        async with opened(new_store()) as store:
            await apply(store, with_tokens(store, add(1), (0, 0, False), "t"))
            refolded = with_tokens(store, add(1, lo=MAX, hi=MAX), (0, 0, False), "t")
            assert await apply(store, refolded) == Answer("duplicate", 0, 0, False)

    @asynchronous
    async def test_a_ghost_is_stale(self, new_store: NewStore) -> None:
        """last > seq: stale, and nothing is written; also when the guard would admit it."""
        async with opened(new_store()) as store:
            await apply(store, add(1, seq=7))
            assert await apply(store, add(100, seq=6)) == Answer("stale")
            assert await apply(store, closing(seq=6)) == Answer("stale")
            assert await state(store) == (1, 1, True)

    @asynchronous
    async def test_a_gap_answers_the_last_seq(self, new_store: NewStore) -> None:
        """last < acked: gap, with `last`; nothing is written, whatever the guard says."""
        async with opened(new_store()) as store:
            await apply(store, add(1, seq=3))
            assert await apply(store, add(1, seq=9, acked=4)) == Answer("gap", last=3)
            assert await apply(store, add(1, seq=9, acked=8, lo=MAX, hi=MAX)) == Answer("gap", last=3)
            assert await apply(store, closing(seq=9, acked=8)) == Answer("gap", last=3)
            assert await state(store) == (1, 1, True)

    @asynchronous
    async def test_without_a_session_last_is_0(self, new_store: NewStore) -> None:
        """`last` is 0 where the writer has no session on the record, or where there is no record."""
        async with opened(new_store()) as store:
            assert await apply(store, add(1, seq=9, acked=8)) == Answer("gap", last=0)
            await apply(store, add(1, writer=B))
            assert await apply(store, add(1, seq=9, acked=8)) == Answer("gap", last=0)
            assert await apply(store, add(1, seq=9)) == Answer("applied", 1, 1, True)

    @asynchronous
    async def test_seqs_may_leave_numbers_out(self, new_store: NewStore) -> None:
        """acked <= last < seq: a seq needs no predecessor, and `acked` may be older than `last`."""
        async with opened(new_store()) as store:
            await apply(store, add(1, seq=10))
            assert await apply(store, add(1, seq=20, acked=10)) == Answer("applied", 1, 1, True)
            assert await apply(store, add(1, seq=40, acked=10)) == Answer("applied", 2, 2, True)
            assert await apply(store, add(1, seq=2**40, acked=0)) == Answer("applied", 3, 3, True)
            assert await apply(store, add(1, seq=2**40 - 1, acked=0)) == Answer("stale")

    @asynchronous
    async def test_writers_have_sessions_of_their_own(self, new_store: NewStore) -> None:
        """Per writer a session: one writer's seq says nothing about another's, ids that differ in case included."""
        async with opened(new_store()) as store:
            await apply(store, add(1, seq=5))
            assert await apply(store, add(1, seq=1, writer=B)) == Answer("applied", 1, 1, True)
            assert await apply(store, add(1, seq=1, writer=A.lower())) == Answer("applied", 2, 2, True)
            assert await apply(store, add(1, seq=6, acked=5)) == Answer("applied", 3, 3, True)
            assert await apply(store, add(1, seq=1, writer=A.lower())) == Answer("duplicate", 2, 2, True)

    @asynchronous
    async def test_closing_shuts_a_seq_out(self, new_store: NewStore) -> None:
        """A closing writes a session that has no value before: the batch that comes late is not applied."""
        async with opened(new_store()) as store:
            await apply(store, add(1))
            assert (await apply(store, closing(seq=2, acked=1))).status == "applied"
            late = await apply(store, add(100, seq=2, acked=1))
            assert (late.status, late.value) == ("duplicate", None)
            again = await apply(store, closing(seq=2, acked=1))
            assert (again.status, again.value) == ("duplicate", None)
            assert await state(store) == (1, 1, True)
            assert await apply(store, add(1, seq=3, acked=1)) == Answer("applied", 1, 1, True)

    @asynchronous
    async def test_closing_an_applied_seq_tells_its_before(self, new_store: NewStore) -> None:
        """A duplicate with a value before, in answer to a closing: the batch had been applied."""
        async with opened(new_store()) as store:
            await apply(store, add(1))
            await apply(store, add(4, seq=2, acked=1))
            assert await apply(store, closing(seq=2, acked=1)) == Answer("duplicate", 1, 1, True)
            assert await apply(store, closing(seq=2, acked=1)) == Answer("duplicate", 1, 1, True)
            assert await state(store) == (5, 2, True)

    @asynchronous
    async def test_closing_the_first_seq_creates_the_record_dead(self, new_store: NewStore) -> None:
        """A record that must be created for a closing is created dead."""
        async with opened(new_store()) as store:
            assert (await apply(store, closing(seq=1))).status == "applied"
            assert await state(store) == (0, 0, False)
            assert (await apply(store, add(9))).value is None
            assert await apply(store, add(1, seq=2)) == Answer("applied", 0, 0, False)

    @asynchronous
    async def test_a_batch_without_operations_writes_its_session_only(self, new_store: NewStore) -> None:
        """With applied = 0 only session and tokens are written; a record created for it is created dead."""
        async with opened(new_store()) as store:
            nothing = with_tokens(store, add(0, applied=0), (0, 0, False), "t")
            assert await apply(store, nothing) == Answer("applied", 0, 0, False)
            assert await state(store) == (0, 0, False)
            assert await apply(store, nothing) == Answer("duplicate", 0, 0, False)
            await apply(store, add(3, seq=2, acked=1))
            before = await read(store)
            nothing = with_tokens(store, add(0, seq=3, acked=2, applied=0), (3, 1, True), "u")
            assert await apply(store, nothing) == Answer("applied", 3, 1, True)
            assert await read(store) == before

    @asynchronous
    async def test_the_guard_takes_both_its_ends(self, new_store: NewStore) -> None:
        """guard: missed when the value is outside `[lo, hi]`, with value, revision, existence; both ends are inside."""
        async with opened(new_store()) as store:
            await apply(store, add(5, applied=2))
            for lo, hi in ((6, MAX), (MIN, 4), (6, 6), (4, 4), (MAX, MAX), (MIN, MIN), (-5, 4)):
                assert await apply(store, add(1, seq=2, acked=1, lo=lo, hi=hi)) == Answer("missed", 5, 2, True)
            assert await state(store) == (5, 2, True)
            for seq, (lo, hi) in enumerate(((5, 5), (5, MAX), (MIN, 5), (4, 6), (MIN, MAX)), start=2):
                answer = await apply(store, add(0, seq=seq, acked=seq - 1, lo=lo, hi=hi))
                assert answer == Answer("applied", 5, seq, True)

    @asynchronous
    async def test_the_guard_of_an_absent_counter_sees_0(self, new_store: NewStore) -> None:
        """A dead counter's value before is 0, and a miss creates nothing."""
        async with opened(new_store()) as store:
            assert await apply(store, add(1, lo=1, hi=MAX)) == Answer("missed", 0, 0, False)
            assert await apply(store, add(1, lo=MIN, hi=-1)) == Answer("missed", 0, 0, False)
            assert await read(store) == await read(store, "default/another")
            assert await apply(store, add(1, lo=0, hi=0)) == Answer("applied", 0, 0, False)

    @asynchronous
    async def test_a_miss_leaves_the_seq_unused(self, new_store: NewStore) -> None:
        """A refold sends the same seq with another guard: a miss must not have written the session."""
        async with opened(new_store()) as store:
            await apply(store, add(5))
            await apply(store, add(1, seq=2, acked=1, lo=9, hi=9))
            assert await apply(store, add(1, seq=2, acked=1, lo=5, hi=5)) == Answer("applied", 5, 1, True)

    @asynchronous
    async def test_the_guard_may_ask_for_the_exact_revision(self, new_store: NewStore) -> None:
        """guard: missed at another revision; 0 is that of a counter never written."""
        async with opened(new_store()) as store:
            assert await apply(store, add(1, revision=1)) == Answer("missed", 0, 0, False)
            assert await apply(store, add(1, revision=0)) == Answer("applied", 0, 0, False)
            for revision in (0, 2, MAX):
                assert await apply(store, add(1, seq=2, acked=1, revision=revision)) == Answer("missed", 1, 1, True)
            assert await apply(store, add(1, seq=2, acked=1, revision=1)) == Answer("applied", 1, 1, True)

    @asynchronous
    async def test_the_guard_may_ask_for_life_or_death(self, new_store: NewStore) -> None:
        """guard: missed when the record is dead or alive where it must not be."""
        async with opened(new_store()) as store:
            assert await apply(store, add(1, alive=True)) == Answer("missed", 0, 0, False)
            assert await apply(store, add(1, alive=False)) == Answer("applied", 0, 0, False)
            assert await apply(store, add(1, seq=2, acked=1, alive=False)) == Answer("missed", 1, 1, True)
            assert await apply(store, add(1, seq=2, acked=1, alive=True)) == Answer("applied", 1, 1, True)

    @asynchronous
    async def test_all_64_bits_count(self, new_store: NewStore) -> None:
        """Record: the value is a signed 64-bit integer; both ends are reached, compared and left exactly."""
        async with opened(new_store()) as store:
            await apply(store, add(MIN))
            assert await state(store) == (MIN, 1, True)
            assert await apply(store, add(MAX, seq=2, acked=1, lo=MIN, hi=MIN)) == Answer("applied", MIN, 1, True)
            assert await apply(store, add(MAX, seq=3, acked=2, lo=-1, hi=0)) == Answer("applied", -1, 2, True)
            assert await apply(store, add(1, seq=4, acked=3, hi=MAX - 1)) == Answer("applied", MAX - 1, 3, True)
            assert await apply(store, add(1, seq=5, acked=4, hi=MAX - 1)) == Answer("missed", MAX, 4, True)
            assert await apply(store, add(-MAX, seq=5, acked=4, lo=MAX, hi=MAX)) == Answer("applied", MAX, 4, True)
            assert await apply(store, restart(MIN, seq=6, acked=5)) == Answer("applied", 0, 5, True)
            assert await apply(store, add(0, seq=7, acked=6)) == Answer("applied", MIN, 6, True)
            assert await apply(store, add(0, seq=7, acked=6)) == Answer("duplicate", MIN, 6, True)

    @pytest.mark.parametrize("sign", [1, -1])
    @asynchronous
    async def test_integers_that_a_double_skips_are_exact(self, new_store: NewStore, sign: int) -> None:
        """Record: around ±2^53 values, totals and guards stay exact."""
        async with opened(new_store()) as store:
            await apply(store, add(sign * (DOUBLE - 1)))
            for seq, value in enumerate(range(DOUBLE - 1, DOUBLE + 3), start=2):
                exact, beside = sign * value, sign * (value + 1)
                missed = await apply(store, add(sign, seq=seq, acked=seq - 1, lo=beside, hi=beside))
                assert missed == Answer("missed", exact, seq - 1, True)
                answer = await apply(store, add(sign, seq=seq, acked=seq - 1, lo=exact, hi=exact))
                assert answer == Answer("applied", exact, seq - 1, True)
                duplicate = await apply(store, add(sign, seq=seq, acked=seq - 1))
                assert duplicate == Answer("duplicate", exact, seq - 1, True)
            assert await state(store) == (sign * (DOUBLE + 3), 5, True)
            await apply(store, restart(0, seq=6, acked=5))
            await apply(store, add(sign * (DOUBLE + 1), seq=7, acked=6))
            await apply(store, add(sign * (DOUBLE + 2), seq=8, acked=7))
            assert await state(store) == (sign * (2 * DOUBLE + 3), 8, True)

    @asynchronous
    async def test_one_call_answers_each_counter_for_itself(self, new_store: NewStore) -> None:
        """Different counters have no atomicity among them: as many as a call takes, each with its own answer."""
        async with opened(new_store()) as store:
            count = store.capabilities.batches_per_call // 6 * 6
            keys = [f"default/{index}" for index in range(count)]
            assert list(await store.apply([add(7, seq=5, key=key) for key in keys])) == (
                [Answer("applied", 0, 0, False)] * count
            )
            forms = (
                (add(1, seq=6, acked=5), Answer("applied", 7, 1, True)),
                (add(7, seq=5), Answer("duplicate", 0, 0, False)),
                (add(1, seq=4), Answer("stale")),
                (add(1, seq=9, acked=8), Answer("gap", last=5)),
                (add(1, seq=6, acked=5, hi=6), Answer("missed", 7, 1, True)),
                (restart(MAX, seq=6, acked=5), Answer("applied", 7, 1, True)),
            )
            requests = [msgspec.structs.replace(forms[index % 6][0], key=key) for index, key in enumerate(keys)]
            answers = await store.apply(requests)
            assert list(answers) == [forms[index % 6][1] for index in range(count)]
            values = [record.value for record in await store.read(keys, strong=True)]
            assert values == [8, 7, 7, 7, 7, MAX] * (count // 6)

    @asynchronous
    async def test_an_empty_call_is_answered_with_nothing(self, new_store: NewStore) -> None:
        async with opened(new_store()) as store:
            assert list(await store.apply([])) == []
            assert list(await store.read([], strong=True)) == []

    @asynchronous
    async def test_young_sessions_stay(self, new_store: NewStore, world: World) -> None:
        """Stores keep sessions for the time that their capability says, however many they are."""
        async with opened(new_store(clock=world.clock)) as store:
            requires(store.capabilities, "a clock to move")
            await _writers(store, 40)
            world.advance(store.capabilities.sessions_kept_minutes * 60_000 - 1)
            await apply(store, add(1, writer=B))
            assert sum([await has_session(store, writer) for writer in _names(40)]) == 40

    @asynchronous
    async def test_old_sessions_beyond_those_kept_go(self, new_store: NewStore, world: World) -> None:
        """Stores prune old sessions, all but so many; the newest, which is the one in use, stays."""
        async with opened(new_store(clock=world.clock)) as store:
            requires(store.capabilities, "a clock to move")
            kept = store.capabilities.sessions_kept
            await _writers(store, kept + 8)
            world.advance(store.capabilities.sessions_kept_minutes * 60_000 + 1)
            await apply(store, add(1, writer=B))
            assert sum([await has_session(store, writer) for writer in _names(kept + 8)]) == kept - 1
            assert await has_session(store, B)
            assert await state(store) == (kept + 9, kept + 9, True)

    @asynchronous
    async def test_new_writers_above_1000_are_refused(self, new_store: NewStore) -> None:
        """Above 1,000 sessions new writers are refused (applied: no); the others go on."""
        async with opened(new_store()) as store:
            await _writers(store, 1_000)
            with pytest.raises(NotCounted) as refused:
                await apply(store, add(1, writer=B))
            assert refused.value.applied == "no"
            assert await state(store) == (1_000, 1_000, True)
            known = _names(1_000)[0]
            assert await apply(store, add(1, seq=2, acked=1, writer=known)) == Answer("applied", 1_000, 1_000, True)


def _names(count: int) -> list[str]:
    return [f"writer{number:010}" for number in range(count)]


async def _writers(store: Store, count: int) -> None:
    for number, writer in enumerate(_names(count)):
        assert (await apply(store, add(1, writer=writer))).value == number
