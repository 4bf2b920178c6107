"""Tokens as a store keeps them: written in the step, answered before the guard, gone after their retention."""

from __future__ import annotations

import time
from typing import Final

import pytest

from plusone.errors import NotCounted
from plusone.stores.protocol import Answer, TokenRecord
from plusone.types import MAX, MIN
from tests.conformance.harness import (
    NOTES,
    B,
    NewStore,
    World,
    add,
    apply,
    asynchronous,
    closing,
    delete,
    known_tokens,
    opened,
    restart,
    state,
    with_tokens,
)
from tests.conformance.reasons import requires

ODD_TOKENS: Final = sorted(
    [
        *("T", "t", "t ", " t", "0", "00", "\u00e9", "e\u0301", "\U0001fa99" * 255, "x" * 255, "X" * 255),
        *("'", '"', "\\", "%", "$set", "a.b", "{t}", "a:b", "null", "*", "/", " "),
    ]
)


class TokenRules:
    @asynchronous
    async def test_a_known_token_is_a_miss_with_its_record(self, new_store: NewStore) -> None:
        """tokens: missed, with those recorded; each has our notes and the state before the batch that recorded it."""
        async with opened(new_store()) as store:
            await apply(store, add(5, applied=2))
            first = with_tokens(store, add(-8, seq=2, acked=1), (5, 2, True), "t")
            assert await apply(store, first) == Answer("applied", 5, 2, True)
            await apply(store, add(100, writer=B))
            again = await apply(store, with_tokens(store, add(-8, seq=3, acked=2), (97, 4, True), "t"))
            assert (again.status, again.tokens) == ("missed", (TokenRecord("t", NOTES, 5, 2, True),))
            assert await state(store) == (97, 4, True)

    @asynchronous
    async def test_a_token_is_known_to_every_writer_and_after_a_reopening(self, new_store: NewStore) -> None:
        """Scope: account, store, counter; not the writer, and not the connection."""
        async with opened(new_store()) as store:
            await apply(store, with_tokens(store, add(1), (0, 0, False), "t"))
        async with opened(new_store()) as store:
            again = await apply(store, with_tokens(store, add(1, writer=B), (1, 1, True), "t"))
            assert (again.status, again.tokens) == ("missed", (TokenRecord("t", NOTES, 0, 0, False),))

    @asynchronous
    async def test_a_token_of_one_counter_is_new_to_another(self, new_store: NewStore) -> None:
        """Scope: account, store, counter."""
        async with opened(new_store()) as store:
            for key in ("default/a", "default/b", "default/a:t", "other/a"):
                request = with_tokens(store, add(1, key=key), (0, 0, False), "t")
                assert await apply(store, request) == Answer("applied", 0, 0, False)

    @asynchronous
    async def test_only_the_known_ones_are_answered(self, new_store: NewStore) -> None:
        """missed, with *those* records; one known token is enough to write nothing of the batch."""
        async with opened(new_store()) as store:
            await apply(store, with_tokens(store, add(1, applied=2), (0, 0, False), "a", "b"))
            await apply(store, with_tokens(store, add(1, seq=2, acked=1), (1, 2, True), "c"))
            mixed = await apply(store, with_tokens(store, add(1, seq=3, acked=2), (2, 3, True), "new", "c", "a"))
            assert mixed.status == "missed"
            assert set(mixed.tokens) == {TokenRecord("c", NOTES, 1, 2, True), TokenRecord("a", NOTES, 0, 0, False)}
            assert len(mixed.tokens) == 2
            assert await known_tokens(store, "a", "b", "c", "new") == ["a", "b", "c"]
            assert await state(store) == (2, 3, True)

    @asynchronous
    async def test_tokens_come_before_the_guard(self, new_store: NewStore) -> None:
        """A known token wins over what the guard asks, a revision or a life included."""
        async with opened(new_store()) as store:
            await apply(store, with_tokens(store, add(1), (0, 0, False), "t"))
            for request in (
                add(1, seq=2, acked=1, lo=MAX, hi=MAX),
                add(1, seq=2, acked=1, lo=MIN, hi=MIN),
                add(1, seq=2, acked=1, revision=0),
                add(1, seq=2, acked=1, alive=False),
            ):
                answer = await apply(store, with_tokens(store, request, (0, 0, False), "t"))
                assert (answer.status, answer.tokens) == ("missed", (TokenRecord("t", NOTES, 0, 0, False),))

    @asynchronous
    async def test_a_missed_guard_records_no_token(self, new_store: NewStore) -> None:
        """apply: token records are written in the step that applies, and in no other."""
        async with opened(new_store()) as store:
            answer = await apply(store, with_tokens(store, add(1, lo=1, hi=1), (0, 0, False), "t"))
            assert answer == Answer("missed", 0, 0, False)
            assert await known_tokens(store, "t") == []

    @asynchronous
    async def test_a_rejected_batch_records_its_tokens(self, new_store: NewStore) -> None:
        """Remembered: rejections too. With applied = 0 tokens and session are written, value and revision are not."""
        async with opened(new_store()) as store:
            await apply(store, add(9))
            rejected = with_tokens(store, add(0, seq=2, acked=1, applied=0, lo=9, hi=9), (9, 1, True), "t")
            assert await apply(store, rejected) == Answer("applied", 9, 1, True)
            again = await apply(store, with_tokens(store, add(1, seq=3, acked=2), (9, 1, True), "t"))
            assert again.tokens == (TokenRecord("t", NOTES, 9, 1, True),)
            assert await state(store) == (9, 1, True)

    @asynchronous
    async def test_tokens_outlive_deletion(self, new_store: NewStore) -> None:
        """Unexpired tokens are never dropped: not by a delete, a set, or a closing."""
        async with opened(new_store()) as store:
            await apply(store, with_tokens(store, add(3), (0, 0, False), "a"))
            await apply(store, with_tokens(store, delete(seq=2, acked=1), (3, 1, True), "d"))
            await apply(store, with_tokens(store, restart(8, seq=3, acked=2), (0, 2, False), "s"))
            await apply(store, closing(seq=4, acked=3))
            answer = await apply(store, with_tokens(store, add(1, seq=5, acked=4), (8, 3, True), "a", "d", "s"))
            assert set(answer.tokens) == {
                TokenRecord("a", NOTES, 0, 0, False),
                TokenRecord("d", NOTES, 3, 1, True),
                TokenRecord("s", NOTES, 0, 2, False),
            }

    @asynchronous
    async def test_the_state_in_a_record_has_64_bits(self, new_store: NewStore) -> None:
        async with opened(new_store()) as store:
            for seq, value in enumerate((MIN, MAX, 2**53 + 1, -(2**53) - 1), start=1):
                key = f"default/{seq}"
                await apply(store, add(value, key=key))
                await apply(store, with_tokens(store, add(0, key=key, seq=2, acked=1), (value, 1, True), "t"))
                again = with_tokens(store, add(0, key=key, seq=3, acked=2), (value, 2, True), "t")
                assert (await apply(store, again)).tokens == (TokenRecord("t", NOTES, value, 1, True),)

    @asynchronous
    async def test_tokens_are_compared_byte_by_byte(self, new_store: NewStore) -> None:
        """A token is 1 to 255 characters of any script; nothing is folded, trimmed or normalised."""
        async with opened(new_store()) as store:
            for number, token in enumerate(ODD_TOKENS):
                request = with_tokens(store, add(1, seq=number + 1, acked=number), (number, number, number > 0), token)
                assert (await apply(store, request)).status == "applied", token
            assert await known_tokens(store, *ODD_TOKENS) == ODD_TOKENS

    @asynchronous
    async def test_a_batch_takes_as_many_tokens_as_the_store_says(self, new_store: NewStore) -> None:
        """Capability `tokens_per_batch` bounds the tokens of a batch: that many are recorded in one step."""
        async with opened(new_store()) as store:
            count = store.capabilities.tokens_per_batch
            tokens = sorted(f"order-{number}" for number in range(count))
            request = with_tokens(store, add(count, applied=count), (0, 0, False), *tokens)
            assert await apply(store, request) == Answer("applied", 0, 0, False)
            assert await known_tokens(store, *tokens) == tokens
            assert await state(store) == (count, count, True)

    @asynchronous
    async def test_a_token_expires_after_its_retention(self, new_store: NewStore, world: World) -> None:
        """Kept for at least the retention; once expired it is not known, and may be recorded again."""
        async with opened(new_store(clock=world.clock, token_retention_ms=80)) as store:
            began, began_ms = time.monotonic(), world.now_ms
            await apply(store, with_tokens(store, add(1), (0, 0, False), "t"))

            async def expired() -> bool:
                return await known_tokens(store, "t") == []

            await world.until(expired)
            passed_ms = max((time.monotonic() - began) * 1000, world.now_ms - began_ms)
            assert passed_ms >= 79  # a datastore's clock shows whole milliseconds
            request = with_tokens(store, add(1, seq=2, acked=1), (1, 1, True), "t")
            assert await apply(store, request) == Answer("applied", 1, 1, True)

    @asynchronous
    async def test_a_token_is_kept_for_its_whole_retention(self, new_store: NewStore, world: World) -> None:
        """Kept for at least the retention, however much is written meanwhile."""
        async with opened(new_store(clock=world.clock, token_retention_ms=1_000_000)) as store:
            requires(store.capabilities, "a clock to move")
            await apply(store, with_tokens(store, add(1), (0, 0, False), "t"))
            for seq in range(2, 12):
                world.advance(99_999)
                await apply(store, add(1, seq=seq, acked=seq - 1))
                assert await known_tokens(store, "t") == ["t"]
            world.advance(9)
            assert await known_tokens(store, "t") == ["t"]
            world.advance(2)
            assert await known_tokens(store, "t") == []

    @asynchronous
    async def test_a_full_counter_refuses_new_tokens(self, new_store: NewStore, world: World) -> None:
        """Unexpired tokens are never dropped: one above `tokens_per_counter` is refused, until some have expired."""
        async with opened(new_store(clock=world.clock, token_retention_ms=10_000)) as store:
            requires(store.capabilities, "bounded tokens")
            requires(store.capabilities, "a clock to move")
            count, size = store.capabilities.tokens_per_counter or 0, store.capabilities.tokens_per_batch
            tokens = [f"order-{number:06}" for number in range(count)]
            batches = [tokens[start : start + size] for start in range(0, count, size)]
            for seq, batch in enumerate(batches, start=1):
                before = (seq - 1, seq - 1, seq > 1)
                answer = await apply(store, with_tokens(store, add(seq=seq, acked=seq - 1), before, *batch))
                assert answer == Answer("applied", *before)
            done = len(batches)
            one_more = with_tokens(store, add(seq=done + 1, acked=done), (done, done, True), "one more")
            with pytest.raises(NotCounted):
                await apply(store, one_more)
            assert [await known_tokens(store, *batch) for batch in batches] == batches
            assert await apply(store, add(seq=done + 1, acked=done)) == Answer("applied", done, done, True)
            world.advance(10_001)
            one_more = with_tokens(store, add(seq=done + 2, acked=done + 1), (done + 1, done + 1, True), "one more")
            assert await apply(store, one_more) == Answer("applied", done + 1, done + 1, True)
            assert await known_tokens(store, "one more") == ["one more"]
            assert await known_tokens(store, *batches[0]) == []
