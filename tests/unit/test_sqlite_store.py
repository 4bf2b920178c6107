"""What is SQLite's own in the step: transactions, the rows in memory, sweeping."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from plusone.clock import Clock
from plusone.errors import CorruptRecord, StoreRefused, StoreUnavailable
from plusone.stores.protocol import Answer, TokenWrite
from plusone.stores.sqlite import writer as writers
from plusone.stores.sqlite.store import SQLiteStore
from tests.conformance.harness import DAY_MS, NOTES, A, B, World, add, apply, delete, state
from tests.unit.sqlite_files import Trace, open_store, query, store_of, write_lock

HOUR_MS = 3_600_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters.db"


# Transactions.


def test_calls_that_wait_are_committed_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(monkeypatch)

    async def run() -> None:
        async with open_store(path, "?busy_timeout=20") as store:
            trace.clear()
            with write_lock(path):
                first = asyncio.create_task(apply(store, add(1, key="default/first")))
                await trace.next_transaction()
                others = [asyncio.create_task(apply(store, add(1, key=f"default/{n}"))) for n in range(49)]
                await asyncio.sleep(0)
            answers = [await first, *await asyncio.gather(*others)]
            assert answers == [Answer("applied", 0, 0, False)] * 50
            await store.check()
        assert trace.statements.count("COMMIT") == 4  # the first; the 49 others; the sweep after the first; the check

    asyncio.run(run())


def test_requests_on_one_counter_in_one_transaction_follow_each_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = Trace(monkeypatch)

    async def run() -> None:
        async with open_store(path, "?busy_timeout=20") as store:
            trace.clear()
            token = (TokenWrite("t", NOTES),)
            requests = (
                add(5, writer=A),
                add(7, writer=B, tokens=token),
                add(1, writer=A, seq=2, acked=1, tokens=token),
                add(2, writer=A, seq=2, acked=1),
                delete(writer=B, seq=2, acked=1),
                add(4, writer=B, seq=3, acked=2),
            )
            with write_lock(path):
                first = asyncio.create_task(apply(store, add(1, key="default/first")))
                await trace.next_transaction()
                calls = [asyncio.create_task(apply(store, request)) for request in requests]
                await asyncio.sleep(0)
            await first
            answers = [await call for call in calls]
            assert [(answer.status, answer.value) for answer in answers] == [
                ("applied", 0),
                ("applied", 5),
                ("missed", 12),
                ("applied", 12),
                ("applied", 14),
                ("applied", 0),
            ]
            assert [record.value for record in answers[2].tokens] == [5]
        async with open_store(path) as store:
            assert await state(store) == (4, 5, True)
            assert (await apply(store, add(4, writer=B, seq=3))).status == "duplicate"
            assert await apply(store, add(2, writer=A, seq=2)) == Answer("duplicate", 12, 2, True)

    asyncio.run(run())


def test_an_error_midway_leaves_nothing(path: Path) -> None:
    async def run() -> None:
        async with open_store(path) as store:
            await store.apply([add(1, key="default/good"), add(1, key="default/bad")])
            query(
                path, "CREATE TRIGGER no BEFORE UPDATE ON counters WHEN new.id = 2 BEGIN SELECT RAISE(FAIL, 'no'); END"
            )
            batch = [
                add(1, key="default/good", seq=2, acked=1),
                add(1, key="default/new", tokens=(TokenWrite("t", NOTES),)),
                add(1, key="default/bad", seq=2, acked=1),
            ]
            with pytest.raises(StoreUnavailable):
                await store.apply(batch)
            assert await state(store, "default/good") == (1, 1, True)
            query(path, "DROP TRIGGER no")
            before = [Answer("applied", 1, 1, True), Answer("applied", 0, 0, False), Answer("applied", 1, 1, True)]
            assert await store.apply(batch) == before

    asyncio.run(run())


def test_a_full_disk_is_definite(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Trace(monkeypatch, "PRAGMA max_page_count = 16")

    async def run() -> None:
        async with open_store(path) as store:
            await apply(store, add(1))
            with pytest.raises(StoreUnavailable, match="SQLITE_FULL"):
                await store.apply([add(1, key=f"default/{number}") for number in range(1_000)])
            assert await apply(store, add(1, seq=2, acked=1)) == Answer("applied", 1, 1, True)
            assert query(path, "SELECT count(*) FROM counters") == [(1,)]

    asyncio.run(run())


def test_a_lock_that_is_not_given_back_is_definite(path: Path) -> None:
    async def run() -> None:
        async with open_store(path, "?busy_timeout=0") as store:
            await apply(store, add(1))
            with write_lock(path):
                with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
                    await apply(store, add(1, seq=2, acked=1))
                with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
                    await store.check()
                assert await state(store) == (1, 1, True)
            assert await apply(store, add(1, seq=2, acked=1)) == Answer("applied", 1, 1, True)

    asyncio.run(run())


def test_a_cancelled_call_goes_on_once_it_began(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(monkeypatch)

    async def run() -> None:
        async with open_store(path, "?busy_timeout=20") as store:
            trace.clear()
            with write_lock(path):
                begun = asyncio.create_task(apply(store, add(1, key="default/begun")))
                await trace.next_transaction()
                waiting = asyncio.create_task(apply(store, add(1, key="default/waiting")))
                await asyncio.sleep(0)
                for call in (begun, waiting):
                    call.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await call
            assert (await apply(store, add(1, key="default/begun"))).status == "duplicate"
            assert (await apply(store, add(1, key="default/waiting"))).status == "applied"

    asyncio.run(run())


def test_closing_commits_what_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(monkeypatch)

    async def run() -> None:
        store = store_of(f"sqlite://{path}?busy_timeout=20")
        await store.open()
        trace.clear()
        with write_lock(path):
            calls = [asyncio.create_task(apply(store, add(1, key="default/0")))]
            await trace.next_transaction()
            calls += [asyncio.create_task(apply(store, add(1, key=f"default/{n}"))) for n in range(1, 5)]
            closing = asyncio.create_task(store.close())
            await asyncio.sleep(0)
        await closing
        assert [(await call).status for call in calls] == ["applied"] * 5
        with pytest.raises(StoreRefused, match="not open"):
            await apply(store, add(1))
        await store.close()
        assert query(path, "SELECT count(*) FROM counters") == [(5,)]
        assert not path.with_name("counters.db-wal").exists()

    asyncio.run(run())


def test_many_rows_at_once(path: Path) -> None:
    """Statements come in a few sizes; what a size has too much changes nothing."""

    async def run() -> None:
        async with open_store(path) as store:
            for seq, count in enumerate((1, 2, 4, 5, 16, 17, 64, 65, 256, 257, 600), start=1):
                requests = [add(n, key=f"default/{n:03}", seq=seq) for n in range(count)]
                assert [answer.status for answer in await store.apply(requests) if isinstance(answer, Answer)] == (
                    ["applied"] * count
                )
            records = await store.read([f"default/{n:03}" for n in range(600)], strong=True)
            for number, rounds in ((0, 11), (1, 10), (3, 9), (16, 6), (64, 4), (256, 2), (599, 1)):
                assert (records[number].value, records[number].revision) == (number * rounds, rounds)
        assert query(path, "SELECT count(*) FROM counters") == [(600,)]

    asyncio.run(run())


# Rows in memory.


def test_what_another_connection_writes_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(monkeypatch)

    async def run() -> None:
        async with open_store(path) as store:
            await apply(store, add(1))
            await store.check()  # behind the first sweep
            trace.clear()
            assert (await apply(store, add(1, seq=2, acked=1))).value == 1
            assert not any("FROM counters" in statement for statement in trace.statements)  # from memory
            query(path, "UPDATE counters SET value = 100, revision = 50")
            assert await apply(store, add(1, seq=3, acked=2)) == Answer("applied", 100, 50, True)
            query(path, "DELETE FROM counters")
            assert await apply(store, add(1, seq=4)) == Answer("applied", 0, 0, False)
            assert await apply(store, add(1, seq=5, acked=4, key="default/new")) == Answer("gap", last=0)

    asyncio.run(run())


def test_rows_in_memory_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "ROWS_REMEMBERED", 10)
    writer = writers.Writer(path, Clock(), token_retention_ms=DAY_MS, synchronous="full", busy_seconds=1)
    for seq in range(1, 4):
        for number in range(50):
            [answer] = writer.apply([add(1, key=f"default/{number}", seq=seq, acked=seq - 1)])
            assert answer == Answer("applied", seq - 1, seq - 1, seq > 1)
            assert len(writer._recent) + len(writer._older) <= 21
    writer.close()


def test_corrupt_sessions_are_an_error_of_that_counter_alone(path: Path) -> None:
    async def run() -> None:
        async with open_store(path) as store:
            await store.apply([add(1, key="default/good"), add(1, key="default/bad")])
            query(path, "UPDATE counters SET others = '[1]' WHERE key = 'default/bad'")
            good, bad = await store.apply([add(1, key=f"default/{name}", writer=B) for name in ("good", "bad")])
            assert good == Answer("applied", 1, 1, True)
            assert isinstance(bad, CorruptRecord)
            assert await state(store, "default/bad") == (1, 1, True)

    asyncio.run(run())


# Sweeping.


async def _swept(store: SQLiteStore, path: Path, world: World, milliseconds: int) -> tuple[int, int]:
    """Let time pass, let the store notice, and count its counters and tokens; one of the counters is the noticing."""
    world.advance(milliseconds)
    await apply(store, add(1, key="default/noticing", seq=world.now_ms))
    await store.check()  # behind the sweep, in the same thread
    [[counters, tokens]] = query(path, "SELECT (SELECT count(*) FROM counters), (SELECT count(*) FROM tokens)")
    assert isinstance(counters, int)
    assert isinstance(tokens, int)
    return counters - 1, tokens


def test_the_dead_go_an_hour_after_their_last_write(path: Path) -> None:
    async def run() -> None:
        world = World()
        async with open_store(path, clock=world.clock) as store:
            await store.apply([add(1, key="default/deleted"), add(1, key="default/ttl", ttl_ms=10), add(1)])
            world.advance(1_000)
            await apply(store, delete(key="default/deleted", seq=2, acked=1))
            assert await _swept(store, path, world, HOUR_MS - 1_000) == (2, 0)
            await apply(store, add(0, key="default/deleted", seq=3, applied=0))
            assert await _swept(store, path, world, HOUR_MS - 1) == (2, 0)
            assert await _swept(store, path, world, 60_000) == (1, 0)
            assert await apply(store, add(5, key="default/deleted", seq=9)) == Answer("applied", 0, 0, False)
            assert await state(store) == (1, 1, True)

    asyncio.run(run())


def test_the_dead_stay_while_a_token_of_theirs_does(path: Path) -> None:
    async def run() -> None:
        world = World()
        async with open_store(path, clock=world.clock) as store:
            await apply(store, add(1, tokens=(TokenWrite("t", NOTES),)))
            await apply(store, delete(seq=2, acked=1))
            assert await _swept(store, path, world, DAY_MS - 1) == (1, 1)
            assert await _swept(store, path, world, 60_000) == (0, 0)

    asyncio.run(run())


def test_a_sweep_takes_so_many_and_comes_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "SWEEP_ROWS", 10)
    trace = Trace(monkeypatch)

    async def run() -> None:
        world = World()
        async with open_store(path, clock=world.clock) as store:
            token = (TokenWrite("t", NOTES),)
            await store.apply([delete(key=f"default/held {n}", tokens=token) for n in range(10)])
            await store.apply([add(1, key=f"default/free {n}", ttl_ms=1) for n in range(15)])
            # In the order in which they expired: the deleted, which tokens hold, were met after the first call.
            assert await _swept(store, path, world, HOUR_MS + 1) == (15, 10)
            assert await _swept(store, path, world, 60) == (10, 10)
            trace.clear()
            assert await _swept(store, path, world, 60) == (10, 10)
            assert trace.statements.count("COMMIT") == 2  # the noticing and the check: no sweep for a minute
            assert await _swept(store, path, world, DAY_MS) == (0, 0)

    asyncio.run(run())
