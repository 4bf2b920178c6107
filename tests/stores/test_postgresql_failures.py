"""How the PostgreSQL store fails, on real servers: what ends, cannot go on, or is a standby."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

pytest.importorskip("asyncpg")

from plusone.errors import OutcomeUnknown, StoreUnavailable
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.postgresql import USER, postgresql_server, postgresql_standby, url_of
from plusone.stores.postgresql.store import PostgreSQLStore
from plusone.stores.protocol import Answer, GuardedAdd, TokenWrite
from tests.conformance.harness import B, add, apply, asynchronous, delete, opened, read, restart, state
from tests.servers.postgresql import connected, own_schema, schema_of, skip_without_postgresql, store_at

skip_without_postgresql(own=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with postgresql_server("deadlock_timeout=2s") as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_schema(url_of(server))


async def waiting_for_a_lock(url: str) -> int:
    """The process of the server that waits for a lock, as soon as there is one."""
    async with connected(url) as connection:
        while True:
            process: int | None = await connection.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            )
            if process is not None:
                return process


async def attempt(store: PostgreSQLStore, request: GuardedAdd) -> Answer | StoreUnavailable:
    """The answer, or why there is none yet."""
    try:
        return await apply(store, request)
    except StoreUnavailable as error:
        return error


# The server ends what is under way.


@pytest.mark.parametrize("request_", [add(2, seq=2, acked=1), restart(3, seq=2, acked=1)], ids=["add", "set"])
@asynchronous
async def test_a_connection_that_the_server_ends_is_ambiguous(url: str, request_: GuardedAdd) -> None:
    """57P01 while the batch waits for a lock: it may have been committed, for all that we know."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await apply(store, add(1))
        async with other.transaction():
            await other.execute(f"SELECT * FROM {schema_of(url)}.counters FOR UPDATE")
            attempted = asyncio.ensure_future(apply(store, request_))
            await other.execute("SELECT pg_terminate_backend($1)", await waiting_for_a_lock(url))
            with pytest.raises(OutcomeUnknown, match=r"^PostgreSQL: "):
                await attempted
        assert (await apply(store, request_)).status == "applied"
        assert await state(store) == (3, 2, True)


@asynchronous
async def test_idle_connections_that_the_server_ended_are_not_used(url: str) -> None:
    """A stale pooled connection: nothing is sent on it, so nothing is ambiguous."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await asyncio.gather(*(apply(store, add(1, key=f"default/{number}")) for number in range(4)))
        idle = list(store.primary.idle)
        assert len(idle) == 4
        await other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'plusone'")
        while not all(link.driver.is_closed() for link in idle):
            await other.fetchval("SELECT 1")
        assert await apply(store, add(1, seq=2, acked=1, key="default/0")) == Answer("applied", 1, 1, True)


@asynchronous
async def test_a_statement_that_takes_too_long_is_definite(url: str) -> None:
    """57014: the server's own limit for statements ended it, and rolled it back."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await apply(store, add(1))
        await other.execute(f"ALTER ROLE {USER} SET statement_timeout = '50ms'")
        try:
            async with opened(store_at(url)) as limited, other.transaction():
                await other.execute(f"SELECT * FROM {schema_of(url)}.counters FOR UPDATE")
                with pytest.raises(StoreUnavailable, match="57014"):
                    await apply(limited, add(1, seq=2, acked=1))
        finally:
            await other.execute(f"ALTER ROLE {USER} RESET statement_timeout")
        assert await apply(store, add(1, seq=2, acked=1)) == Answer("applied", 1, 1, True)


@asynchronous
async def test_a_deadlock_is_definite(url: str) -> None:
    """40P01: with others, who take locks in an order of their own. The connection goes on."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await store.apply([add(1, key="default/a"), add(1, key="default/b")])
        lock = f"SELECT * FROM {schema_of(url)}.counters WHERE key = $1 FOR UPDATE"
        [before] = store.primary.idle
        async with other.transaction():
            await other.execute("SET LOCAL deadlock_timeout = '1min'")
            await other.fetch(lock, "default/b")
            attempted = asyncio.ensure_future(
                store.apply([add(1, seq=2, acked=1, key="default/a"), add(1, seq=2, acked=1, key="default/b")])
            )
            await waiting_for_a_lock(url)
            blocked = asyncio.ensure_future(other.fetch(lock, "default/a"))
            with pytest.raises(StoreUnavailable, match="40P01"):
                await attempted
            await blocked
        assert store.primary.idle == [before]
        assert await state(store, "default/a") == await state(store, "default/b") == (1, 1, True)


@asynchronous
async def test_serialization_failures_are_definite_and_counting_goes_on(url: str) -> None:
    """40001: a database whose transactions are serializable by default answers with it wherever two meet."""
    async with connected(url) as other:
        await other.execute("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'")
        try:
            async with opened(store_at(url)) as store:
                refused = 0

                async def count(number: int) -> None:
                    nonlocal refused
                    for seq in range(1, 21):
                        request = add(1, seq=seq, acked=seq - 1, writer=f"writer{number:010}")
                        while isinstance(answer := await attempt(store, request), StoreUnavailable):
                            assert "40001" in str(answer)
                            refused += 1
                        assert isinstance(answer, Answer)
                        assert answer.status == "applied"

                await apply(store, add(0, writer=B))
                await asyncio.gather(*(count(number) for number in range(4)))
                assert refused > 0
                assert await state(store) == (80, 81, True)
        finally:
            await other.execute("ALTER DATABASE postgres RESET default_transaction_isolation")


@asynchronous
async def test_a_cancelled_call_leaves_no_reply_and_no_statement_behind(url: str) -> None:
    """Its connection is closed, and the server told to give up; so nobody goes on waiting for the lock."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await apply(store, add(1))
        async with other.transaction():
            await other.execute(f"SELECT * FROM {schema_of(url)}.counters FOR UPDATE")
            attempted = asyncio.ensure_future(apply(store, add(2, seq=2, acked=1)))
            await waiting_for_a_lock(url)
            attempted.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempted
        assert store.primary.idle == []
        answer = await apply(store, add(2, seq=2, acked=1))
        assert answer in (Answer("applied", 1, 1, True), Answer("duplicate", 1, 1, True))
        assert await state(store) == (3, 2, True)


@asynchronous
async def test_a_connection_in_the_making_outlives_the_call_it_was_for(url: str) -> None:
    """Where connecting takes longer than a call may, the next call finds it made."""
    async with opened(store_at(url)) as store:
        assert store.primary.idle == []
        attempted = asyncio.ensure_future(apply(store, add(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        attempted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempted
        [connecting] = store.primary.connecting
        await asyncio.wait([connecting])
        [made] = store.primary.idle
        assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        assert store.primary.idle == [made]


# Standbys.


@pytest.fixture(scope="module")
def primary_and_standby() -> Iterator[tuple[ServerProcess, ServerProcess]]:
    with postgresql_server() as primary, postgresql_standby(primary) as standby:
        yield primary, standby


@pytest.fixture
def primary_url(primary_and_standby: tuple[ServerProcess, ServerProcess]) -> Iterator[str]:
    yield from own_schema(url_of(primary_and_standby[0]))


@asynchronous
async def test_a_standby_is_no_place_to_count(
    primary_and_standby: tuple[ServerProcess, ServerProcess], primary_url: str
) -> None:
    """Where a name leads to a standby after a failover: nothing is written, and no strong read is answered from it."""
    primary, standby = primary_and_standby
    async with opened(store_at(primary_url)) as store:
        await apply(store, add(5))
        await until_replayed(primary, standby)
        store.primary.arguments = {**store.primary.arguments, "port": standby.port}
        await store.primary.close()
        calls = (
            apply(store, add(1, seq=2, acked=1)),
            apply(store, restart(1, seq=2, acked=1)),
            apply(store, delete(seq=2, acked=1, tokens=(TokenWrite("t", "notes"),))),
            read(store),
            store.list("default/", 10, None),
            store.check(),
        )
        for call in calls:
            with pytest.raises(StoreUnavailable, match="standby"):
                await call
        # A connection to it is not kept: the name may lead to the primary next time. Nor where each fails for itself.
        mixed = await store.apply([add(1, seq=2, acked=1), restart(1, seq=2, acked=1, key="default/other")])
        assert [type(answer) for answer in mixed] == [StoreUnavailable] * 2
        assert store.primary.idle == []
        with pytest.raises(StoreUnavailable, match="25006"):
            await apply(store, add(1, seq=2, acked=1))
        with pytest.raises(StoreUnavailable, match="standby"):
            await store_at(url_of(standby, schema=schema_of(primary_url))).open()
        assert store.primary.idle == []
        store.primary.arguments = {**store.primary.arguments, "port": primary.port}
        assert await apply(store, add(1, seq=2, acked=1)) == Answer("applied", 5, 1, True)


@asynchronous
async def test_eventual_reads_go_to_the_replica(
    primary_and_standby: tuple[ServerProcess, ServerProcess], primary_url: str
) -> None:
    primary, standby = primary_and_standby
    async with opened(store_at(f"{primary_url}&replica=127.0.0.1:{standby.port}")) as store:
        assert store.capabilities.eventual_reads is True
        await apply(store, add(5))
        await until_replayed(primary, standby)
        with primary.paused():
            [record] = await store.read(["default/counter"], strong=False)
        assert (record.value, record.revision, record.exists) == (5, 1, True)


async def until_replayed(primary: ServerProcess, standby: ServerProcess) -> None:
    """Return when the standby has what the primary has now."""
    async with connected(url_of(primary)) as ahead, connected(url_of(standby)) as behind:
        position = await ahead.fetchval("SELECT pg_current_wal_lsn()::text")
        while not await behind.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position):
            pass


@asynchronous
async def test_a_primary_that_was_set_read_only(url: str) -> None:
    async with opened(store_at(url)) as store, connected(url) as other:
        await apply(store, add(1))
        await other.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
        try:
            await store.primary.close()
            with pytest.raises(StoreUnavailable, match=r"read-only.*name the primary"):
                await apply(store, add(1, seq=2, acked=1))
            with pytest.raises(StoreUnavailable, match="read-only"):
                await store.check()
            assert await state(store) == (1, 1, True)
            await store.primary.close()
        finally:
            await other.execute("BEGIN READ WRITE; ALTER DATABASE postgres RESET default_transaction_read_only; COMMIT")
        await store.check()
        assert await apply(store, add(1, seq=2, acked=1)) == Answer("applied", 1, 1, True)


# The driver.


@asynchronous
async def test_the_driver_repeats_nothing(url: str) -> None:
    """What it would send again, a statement whose plan is outdated, fails; the store's next call has a new plan."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await apply(store, add(1))
        [link] = store.primary.idle
        assert link.driver._config.command_timeout is None
        assert link.driver._params.target_session_attrs.value == "any"
        await other.execute(f"ALTER TABLE {schema_of(url)}.counters ALTER COLUMN position TYPE bigint")
        with pytest.raises(StoreUnavailable, match="cached statement plan is invalid"):
            await apply(store, add(1, seq=2, acked=1))
        assert link.driver.is_closed()
        assert await apply(store, add(1, seq=2, acked=1)) == Answer("applied", 1, 1, True)
