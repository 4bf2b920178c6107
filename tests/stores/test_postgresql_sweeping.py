"""What the PostgreSQL store removes from the server, and what it must not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

pytest.importorskip("asyncpg")

from plusone.clock import Clock
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.postgresql import postgresql_server, url_of
from plusone.stores.postgresql.store import PostgreSQLStore
from plusone.stores.postgresql.sweeping import sweep
from plusone.stores.protocol import TokenWrite
from tests.conformance.harness import (
    KEY,
    add,
    apply,
    asynchronous,
    delete,
    known_tokens,
    opened,
)
from tests.servers.postgresql import connected, own_schema, schema_of, skip_without_postgresql, store_at

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


def token(name: str) -> tuple[TokenWrite, ...]:
    return (TokenWrite(name, "notes"),)


async def age(url: str, hours: float) -> None:
    """Let everything have been written, have died, and expire, so much earlier."""
    async with connected(url) as connection:
        earlier = int(hours * HOUR_MS)
        await connection.execute(
            f"UPDATE {table(url)} SET written_ms = written_ms - {earlier},"
            f" expires_ms = expires_ms - CASE WHEN expires_ms = 0 THEN 0 ELSE {earlier} END"
        )
        await connection.execute(f"UPDATE {table(url, 'tokens')} SET expires_ms = expires_ms - {earlier}")


async def keys(url: str) -> set[str]:
    async with connected(url) as connection:
        return {key for [key] in await connection.fetch(f"SELECT key FROM {table(url)}")}


async def fill(store: PostgreSQLStore) -> None:
    await store.apply([add(1, key=f"default/{name}") for name in ("alive", "deleted", "tokens")])
    await store.apply(
        [
            add(1, key="default/expired", ttl_ms=1),
            add(1, key="default/long", ttl_ms=100 * HOUR_MS),
            delete(key="default/deleted", seq=2, acked=1),
            delete(key="default/tokens", seq=2, acked=1, tokens=token("t")),
        ]
    )


@asynchronous
async def test_what_is_dead_for_an_hour_goes_unless_it_holds_tokens(url: str) -> None:
    async with opened(store_at(url)) as store:
        await fill(store)
        everything = {f"default/{name}" for name in ("alive", "deleted", "tokens", "expired", "long")}
        await age(url, 0.99)
        await sweep(store.primary)
        assert await keys(url) == everything
        await age(url, 0.02)
        await sweep(store.primary)
        assert await keys(url) == everything - {"default/deleted", "default/expired"}
        await age(url, 23)
        await sweep(store.primary)
        assert await keys(url) == {"default/alive", "default/long"}
        async with connected(url) as connection:
            assert await connection.fetchval(f"SELECT count(*) FROM {table(url, 'tokens')}") == 0


@asynchronous
async def test_sweeping_goes_through_more_than_a_statement_takes(url: str) -> None:
    async with opened(store_at(url)) as store:
        names = [f"default/{number:04}" for number in range(2_500)]
        for start in range(0, 2_500, 500):
            await store.apply([delete(key=key) for key in names[start : start + 500]])
        await apply(store, delete(key="default/9999", tokens=token("t")))
        await age(url, 2)
        await sweep(store.primary)
        assert await keys(url) == {"default/9999"}


@asynchronous
async def test_a_dead_counter_that_is_revived_while_it_is_swept_stays(url: str) -> None:
    """A locked row is left alone; one that was written since it was looked at is looked at again."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await apply(store, delete(key="default/a"))
        await apply(store, delete(key="default/b"))
        await age(url, 2)
        async with other.transaction():
            await other.execute(f"UPDATE {table(url)} SET expires_ms = NULL WHERE key = 'default/a'")
            await sweep(store.primary)
        assert await keys(url) == {"default/a"}


@asynchronous
async def test_counting_while_it_is_swept_loses_nothing(url: str) -> None:
    """Counters that die at once, and are removed as soon as they are dead, beside those who count on them."""
    async with opened(store_at(url)) as store, connected(url) as other:
        run_on = True

        async def remove() -> int:
            removed = 0
            while run_on:
                await other.execute(f"UPDATE {table(url)} SET written_ms = 0 WHERE expires_ms = 0")
                await sweep(store.primary)
                removed += 1
            return removed

        async def count(writer: str) -> int:
            """Apply, die, begin again, with no seq remembered; the value says how much of it there was."""
            for seq in range(1, 61):
                answer = await apply(store, add(1, seq=2 * seq, writer=writer, key=f"default/{writer}"))
                assert (answer.status, answer.value, answer.exists) == ("applied", 0, False)
                answer = await apply(store, delete(seq=2 * seq + 1, writer=writer, key=f"default/{writer}"))
                assert (answer.status, answer.value, answer.exists) == ("applied", 1, True)
            return seq

        sweeping = asyncio.ensure_future(remove())
        assert await asyncio.gather(*(count(f"writer{number:010}") for number in range(4))) == [60] * 4
        run_on = False
        assert await sweeping > 0


@asynchronous
async def test_a_sweep_is_begun_by_counting_when_it_is_time(url: str) -> None:
    now = 1_000.0
    async with opened(store_at(url, clock=Clock(monotonic=lambda: now))) as store:
        await apply(store, delete())
        await age(url, 2)
        now += 120
        await apply(store, add(1, key="default/other"))
        while KEY in await keys(url):
            pass


@asynchronous
async def test_tokens_are_kept_for_the_retention(url: str) -> None:
    async with opened(store_at(url)) as store:
        await apply(store, add(1, tokens=token("t")))
        await age(url, 23.99)
        await sweep(store.primary)
        assert await known_tokens(store, "t") == ["t"]
        await age(url, 0.02)
        assert await known_tokens(store, "t") == []
