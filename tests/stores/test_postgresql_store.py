"""What is PostgreSQL's own in the PostgreSQL store, on a real server: races for rows, pruning, its values."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

pytest.importorskip("asyncpg")

from plusone.errors import CorruptRecord, StoreRefused
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.postgresql import postgresql_server, url_of
from plusone.stores.protocol import Answer, GuardedAdd, TokenWrite
from plusone.types import MAX
from tests.conformance.harness import (
    KEY,
    A,
    B,
    add,
    apply,
    asynchronous,
    listed,
    opened,
    restart,
    state,
)
from tests.servers.postgresql import (
    connected,
    own_schema,
    run,
    schema_of,
    skip_without_postgresql,
    store_at,
)

skip_without_postgresql(own=True)

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with postgresql_server("log_lock_waits=on", "deadlock_timeout=100ms") as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_schema(url_of(server))


def table(url: str, name: str = "counters") -> str:
    return f"{schema_of(url)}.{name}"


async def waiting_for_locks(url: str, count: int) -> None:
    """Return when so many of the server's processes wait for a lock."""
    async with connected(url) as connection:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while await connection.fetchval(waiting) < count:
            pass


# Races for a row.


def token(name: str) -> tuple[TokenWrite, ...]:
    return (TokenWrite(name, "notes"),)


@pytest.mark.parametrize(
    "request_",
    [add(10, seq=2, acked=1), restart(11, seq=2, acked=1), add(10, seq=2, acked=1, tokens=token("t"))],
    ids=["add", "set", "token"],
)
@asynchronous
async def test_an_original_and_its_retries_that_queue_together_count_once(url: str, request_: GuardedAdd) -> None:
    """All wait for the row, whose lock another transaction has: whoever is first applies, the others find it done."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await apply(store, add(1))
        transaction = other.transaction()
        await transaction.start()
        await other.execute(f"SELECT * FROM {table(url)} FOR UPDATE")
        attempts = [asyncio.ensure_future(apply(store, request_)) for _ in range(4)]
        await waiting_for_locks(url, 4)
        await transaction.rollback()
        answers = sorted([await attempt for attempt in attempts], key=lambda answer: answer.status)
        assert answers == [Answer("applied", 1, 1, True)] + [Answer("duplicate", 1, 1, True)] * 3
        assert await state(store) == (11, 2, True)


@pytest.mark.parametrize("tokens", [(), token("t")], ids=["add", "token"])
@asynchronous
async def test_several_that_create_a_counter_together_count_once(url: str, tokens: tuple[TokenWrite, ...]) -> None:
    """They wait for the one that is inserting; its row is then found, not made again."""
    async with opened(store_at(url)) as store, connected(url) as other:
        async with other.transaction():
            await other.execute(
                f"INSERT INTO {table(url)} VALUES (5, 1, NULL, 0, 1, 0, 0, 0, 0, 0, 0, '{KEY}', '{B}', '{{}}')"
            )
            attempts = [asyncio.ensure_future(apply(store, add(10, tokens=tokens))) for _ in range(4)]
            await waiting_for_locks(url, 4)
        answers = sorted([await attempt for attempt in attempts], key=lambda answer: answer.status)
        assert answers == [Answer("applied", 5, 1, True)] + [Answer("duplicate", 5, 1, True)] * 3
        assert await state(store) == (15, 2, True)


@asynchronous
async def test_a_row_that_is_removed_while_a_batch_waits_for_it_is_a_gap_or_new(url: str) -> None:
    """As the sweeper may: an acknowledged seq is missed, a first one begins the counter anew, and nothing is lost."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await store.apply([add(5, key="default/a"), add(5, key="default/b")])
        async with other.transaction():
            await other.execute(f"DELETE FROM {table(url)}")
            attempt = asyncio.ensure_future(
                store.apply([add(1, seq=2, acked=1, key="default/a"), add(1, seq=2, key="default/b")])
            )
            await waiting_for_locks(url, 1)
        assert list(await attempt) == [Answer("gap", last=0), Answer("applied", 0, 0, False)]
        assert await state(store, "default/a") == (0, 0, False)
        assert await state(store, "default/b") == (1, 1, True)


@asynchronous
async def test_a_row_that_a_batch_waits_for_may_die_meanwhile(url: str) -> None:
    """Its time passed while we waited: others may have seen it dead, so it is not counted on as alive."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await apply(store, add(5, ttl_ms=300))
        async with other.transaction():
            await other.execute(f"SELECT * FROM {table(url)} FOR UPDATE")
            attempt = asyncio.ensure_future(apply(store, add(1, seq=2, acked=1)))
            await waiting_for_locks(url, 1)
            while (await state(store))[2]:
                pass
        assert await attempt == Answer("applied", 0, 1, False)
        assert await state(store) == (1, 2, True)


@asynchronous
async def test_tokens_of_many_writers_on_one_counter(url: str) -> None:
    """Each applied once, and each token recorded with the state it was applied to."""
    writers = [f"writer{number:010}" for number in range(8)]
    async with opened(store_at(url)) as store:

        async def count(writer: str) -> list[int | None]:
            answers = []
            for seq in range(1, 11):
                answer = await apply(
                    store, add(1, seq=seq, acked=seq - 1, writer=writer, tokens=token(f"{writer}{seq}"))
                )
                assert answer.status == "applied"
                answers.append(answer.value)
            return answers

        before = [value for values in await asyncio.gather(*map(count, writers)) for value in values]
        assert sorted(value for value in before if value is not None) == list(range(80))
        assert await state(store) == (80, 80, True)
        async with connected(url) as connection:
            recorded = await connection.fetch(f"SELECT value, revision FROM {table(url, 'tokens')} ORDER BY value")
        assert [tuple(row) for row in recorded] == [(value, value) for value in range(80)]


@asynchronous
async def test_calls_on_the_same_counters_do_not_deadlock(url: str, server: ServerProcess) -> None:
    """Each call takes its locks in the same order, in whatever order its requests come."""
    keys = [f"default/{name}" for name in ("b", "B", "a", "\u00e9", "Z", "\U0001f600", "z", " ")]
    begin = len(server.log())
    async with opened(store_at(url)) as store:

        async def count(number: int) -> None:
            writer = f"writer{number:010}"
            turned = keys[number:] + keys[:number]
            for seq in range(1, 21):
                form = {"tokens": token(f"{writer}{seq}")} if number % 2 else {}
                requests = [add(1, seq=seq, acked=seq - 1, writer=writer, key=key, **form) for key in turned]
                answers = await store.apply(requests)
                assert [getattr(answer, "status", answer) for answer in answers] == ["applied"] * len(keys)

        await asyncio.gather(*(count(number) for number in range(8)))
        assert [(await state(store, key))[0] for key in keys] == [160] * len(keys)
    assert "deadlock detected" not in server.log(begin)


@asynchronous
async def test_writers_mixed_in_one_call(url: str) -> None:
    """The statement is of one writer; what another asks for in the same call is decided beside it."""
    async with opened(store_at(url)) as store:
        keys = [f"default/{number}" for number in range(4)]
        answers = await store.apply([add(1, key=key, writer=(A, B)[number % 2]) for number, key in enumerate(keys)])
        assert list(answers) == [Answer("applied", 0, 0, False)] * 4


# Sessions.


async def make_sessions(url: str, count: int, minutes_old: int) -> None:
    others = {f"writer{number:010}": [1, 0, 0, 1, 0] for number in range(count)}
    async with connected(url) as connection:
        await connection.execute(
            f"UPDATE {table(url)} SET others_count = {count}, others = (SELECT jsonb_object_agg(key, jsonb_set(value,"
            f" '{{4}}', to_jsonb(written_ms - {minutes_old} * 60000))) FROM jsonb_each('{json.dumps(others)}'))"
        )


async def session_count(url: str) -> tuple[int, int]:
    """How many others there are, and how many there should be by the count beside them."""
    async with connected(url) as connection:
        row = await connection.fetchrow(
            f"SELECT (SELECT count(*) FROM jsonb_object_keys(others)), others_count FROM {table(url)}"
        )
        return tuple(row)


@asynchronous
async def test_sessions_older_than_5_minutes_go_when_they_are_too_many(url: str) -> None:
    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        await make_sessions(url, 60, minutes_old=6)
        assert await apply(store, add(1, writer="writer0000000007", seq=2, acked=1)) == Answer("applied", 1, 1, True)
        assert await session_count(url) == (60, 60)
        assert await apply(store, add(1, writer=B)) == Answer("applied", 2, 2, True)
        assert await session_count(url) == (31, 31)
        assert await apply(store, add(1, seq=1)) == Answer("duplicate", 0, 0, False)


@asynchronous
async def test_sessions_younger_than_5_minutes_stay(url: str) -> None:
    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        await make_sessions(url, 60, minutes_old=4)
        assert await apply(store, add(1, writer=B)) == Answer("applied", 1, 1, True)
        assert await session_count(url) == (61, 61)


@asynchronous
async def test_the_count_of_sessions_is_kept(url: str) -> None:
    """The statement prunes nothing, so it has to know how many there are without counting them."""
    async with opened(store_at(url)) as store:
        value = 0
        for seq in (1, 2):
            for number in range(40):
                form = {"tokens": token(f"{seq}/{number}")} if number % 3 == 0 else {}
                request = add(1, seq=seq, acked=seq - 1, writer=f"writer{number:010}", **form)
                assert await apply(store, request) == Answer("applied", value, value, value > 0)
                value += 1
                others = min(value, 40) - 1
                assert await session_count(url) == (others, others)


# Values.


@asynchronous
async def test_text_is_ordered_by_bytes_whatever_the_database_orders_by(url: str, server: ServerProcess) -> None:
    """The database's own order is English, where a comes before B and accents hardly count."""
    async with opened(store_at(url)) as store, connected(url) as connection:
        assert await connection.fetchval("SELECT 'a' < 'B'")
        names = ["B", "a", "b", "\u00e9", "\uffff", "\U0001f600"]
        await store.apply([add(1, key=f"default/{name}") for name in reversed(names)])
        assert list(await listed(store, "default/", 1)) == [f"default/{name}" for name in names]


@asynchronous
async def test_a_time_zone_has_no_say(url: str) -> None:
    """The server lives in Kathmandu: a ttl of a minute is a minute there too."""
    async with opened(store_at(url)) as store, connected(url) as connection:
        assert await connection.fetchval("SHOW timezone") == "Asia/Kathmandu"
        await apply(store, add(1, ttl_ms=60_000))
        left = f"SELECT expires_ms / 1000.0 - extract(epoch FROM clock_timestamp()) FROM {table(url)}"
        assert 30 < await connection.fetchval(left) <= 60
        assert await state(store) == (1, 1, True)
        await connection.execute(f"UPDATE {table(url)} SET expires_ms = expires_ms - 61000")
        assert await state(store) == (0, 1, False)


@asynchronous
async def test_a_sum_beyond_64_bits_is_refused_not_wrapped(url: str) -> None:
    """The combiner's guards exclude it; the statement does not rely on that, and the others are counted."""
    async with opened(store_at(url)) as store:
        await apply(store, add(MAX))
        answers = await store.apply([add(1, seq=2, acked=1), add(1, key="default/other")])
        assert isinstance(answers[0], StoreRefused)
        assert answers[1] == Answer("applied", 0, 0, False)
        assert await state(store) == (MAX, 1, True)


@asynchronous
async def test_sessions_that_are_none_of_ours_are_corrupt_and_the_others_go_on(url: str) -> None:
    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        async with connected(url) as connection:
            await connection.execute(f"""UPDATE {table(url)} SET others = '{{"{B}": ["x"]}}'""")
        answers = await store.apply([add(1, writer=B), add(1, writer=B, key="default/other")])
        assert isinstance(answers[0], CorruptRecord)
        assert answers[1] == Answer("applied", 0, 0, False)
        assert await state(store) == (1, 1, True)


def test_opening_twice_and_closing_twice(url: str) -> None:
    async def twice() -> None:
        store = store_at(url)
        await store.open()
        await store.open()
        await apply(store, add(1))
        await store.close()
        await store.close()
        async with opened(store) as again:
            assert await state(again) == (1, 1, True)

    asyncio.run(twice())
    run(url, f"DROP SCHEMA {schema_of(url)} CASCADE")
