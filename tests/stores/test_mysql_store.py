"""What only the MySQL store's own tables and connections show, on MariaDB and on TiDB."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import msgspec
import pytest

pytest.importorskip("asyncmy")

from plusone.errors import CorruptRecord, StoreRefused, StoreUnavailable
from plusone.lab.servers.mariadb import mariadb_server
from plusone.lab.servers.tidb import tidb_server
from plusone.stores.mysql.store import SWEEP_ROWS
from plusone.stores.protocol import Answer, Record, TokenWrite
from tests.conformance.harness import A, B, C, add, apply, asynchronous, delete, known_tokens, opened, read, state
from tests.servers import mariadb, tidb
from tests.servers.mysql import connected, execute, executed, own_database, own_place, store_at

SERVERS = {"mariadb": mariadb, "tidb": tidb}
AVAILABLE = [name for name, has in (("mariadb", mariadb.HAS_MARIADB), ("tidb", tidb.HAS_TIDB)) if has]
if not AVAILABLE:
    mariadb.skip_without_mariadb(own=True)
NOW = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000"
HOUR_MS = 3_600_000


@pytest.fixture(scope="module", params=AVAILABLE)
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server's URL, with a database that is not for counting."""
    module = SERVERS[request.param]
    start = mariadb_server if request.param == "mariadb" else tidb_server
    with start() as server:
        yield module.url_of(server)


@pytest.fixture(scope="module")
def database(server_url: str) -> Iterator[str]:
    with own_database(server_url) as url:
        yield url


@pytest.fixture
def url(database: str) -> Iterator[str]:
    yield from own_place(database)


@pytest.fixture
def empty(server_url: str) -> Iterator[str]:
    """A database without our tables."""
    with own_database(server_url) as url:
        yield url


# Setup.


def test_setup_says_what_it_would_do_and_does_it_once(empty: str) -> None:
    store = store_at(empty)
    planned = asyncio.run(store.setup(dry_run=True))
    assert ["CREATE TABLE IF NOT EXISTS plusone_" in step for step in planned] == [True, True, True, False]
    assert execute(empty, "SHOW TABLES") == [()]
    assert asyncio.run(store.setup(dry_run=False)) == planned
    assert asyncio.run(store.setup(dry_run=False)) == []
    assert asyncio.run(store.setup(dry_run=True)) == []
    [tables] = execute(empty, "SHOW TABLES")
    assert sorted(name for [name] in tables) == ["plusone_counters", "plusone_schema", "plusone_tokens"]


@pytest.mark.parametrize(
    ("lost", "step"),
    [
        ("TABLE plusone_tokens", "CREATE TABLE IF NOT EXISTS plusone_tokens"),
        ("TABLE plusone_counters", "CREATE TABLE IF NOT EXISTS plusone_counters"),
        (
            "INDEX plusone_tokens_expiring ON plusone_tokens",
            "CREATE INDEX plusone_tokens_expiring ON plusone_tokens (expires_ms)",
        ),
        (
            "INDEX plusone_counters_expiring ON plusone_counters",
            "CREATE INDEX plusone_counters_expiring ON plusone_counters (expires_ms)",
        ),
    ],
)
@asynchronous
async def test_what_is_missing_is_made_again(empty: str, lost: str, step: str) -> None:
    """By setup and by opening, whatever the version says; and the rest stays as it is."""
    async with opened(store_at(empty)) as store:
        await apply(store, add(1, key="default/kept"))
    kept = lost != "TABLE plusone_counters"
    for by in ("setup", "open"):
        await executed(empty, f"DROP {lost}")
        [planned] = await store_at(empty).setup(dry_run=True)
        assert step in planned
        if by == "setup":
            assert await store_at(empty).setup(dry_run=False) == [planned]
        async with AsyncExitStack() as stack:
            stores = [store_at(empty) for _ in range(3)]
            await asyncio.gather(*(stack.enter_async_context(opened(store)) for store in stores))
            assert list(await stores[0].setup(dry_run=True)) == []
            tokens = (TokenWrite(by, "notes"),)
            assert (await apply(stores[0], add(1, key=f"default/{by}", tokens=tokens))).status == "applied"
            assert await state(stores[0], "default/kept") == ((1, 1, True) if kept else (0, 0, False))


@pytest.mark.parametrize("lost", ["DROP TABLE plusone_schema", "DELETE FROM plusone_schema"])
@asynchronous
async def test_a_version_that_went_is_written_again(empty: str, lost: str) -> None:
    """The tables that are there are kept, with what was counted."""
    async with opened(store_at(empty)) as store:
        await apply(store, add(1))
    await executed(empty, lost)
    async with opened(store_at(empty)) as store:
        assert list(await store.setup(dry_run=True)) == []
        assert await state(store) == (1, 1, True)


@asynchronous
async def test_several_that_open_an_empty_database_at_once_all_do(empty: str) -> None:
    async with AsyncExitStack() as stack:
        stores = [store_at(empty) for _ in range(6)]
        await asyncio.gather(*(store.open() for store in stores))
        for store in stores:
            stack.push_async_callback(store.close)
        assert await apply(stores[0], add(1)) == Answer("applied", 0, 0, False)
        assert await apply(stores[5], add(1, writer=B)) == Answer("applied", 1, 1, True)


@asynchronous
async def test_tables_of_a_newer_version_are_left_alone(empty: str) -> None:
    await store_at(empty).setup(dry_run=False)
    await executed(empty, "INSERT INTO plusone_schema (version) VALUES (99)")
    with pytest.raises(StoreRefused, match=r"newer plusone \(version 99, this one knows 1\); update plusone"):
        await store_at(empty).open()


@asynchronous
async def test_who_may_not_make_tables_counts_in_those_that_are_there(empty: str) -> None:
    name = empty.rpartition("/")[2]
    await executed(
        empty,
        "CREATE USER 'counting'@'%' IDENTIFIED BY 'p@ss'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO 'counting'@'%'",
    )
    theirs = empty.replace("root@", "counting:p%40ss@")
    try:
        with pytest.raises(StoreRefused, match=r"grant the user.*run plusone setup as a user who may CREATE and INDEX"):
            await store_at(theirs).open()
        await store_at(empty).setup(dry_run=False)
        async with opened(store_at(theirs)) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
            await store.check()
        await executed(empty, f"REVOKE UPDATE, DELETE ON {name}.* FROM 'counting'@'%'")
        async with opened(store_at(theirs)) as store:
            with pytest.raises(StoreRefused, match="grant the user SELECT, INSERT, UPDATE and DELETE"):
                await apply(store, add(1, seq=2))
            with pytest.raises(StoreRefused, match="grant the user"):
                await store.check()
            assert await state(store) == (1, 1, True)
    finally:
        await executed(empty, "DROP USER 'counting'@'%'")


# Settings of the server that must not matter.


@asynchronous
async def test_no_setting_of_the_server_changes_what_is_counted(server_url: str, empty: str) -> None:
    """Time zone, SQL mode, isolation and collation are the session's or the column's own."""
    kept = await executed(server_url, "SELECT @@GLOBAL.time_zone, @@GLOBAL.sql_mode")
    [[[time_zone, sql_mode]]] = kept
    name = empty.rpartition("/")[2]
    await executed(
        server_url,
        f"ALTER DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "SET GLOBAL time_zone = '+09:00'",
        "SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
        "SET GLOBAL TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    )
    try:
        async with opened(store_at(empty)) as store:
            requests = [add(number, key=f"default/{key}") for number, key in enumerate(("v", "V", "v ", "\\'", '"'))]
            assert {answer.status for answer in await store.apply(requests) if isinstance(answer, Answer)} == {
                "applied"
            }
            records = await store.read([request.key for request in requests], strong=True)
            assert [record.value for record in records] == [0, 1, 2, 3, 4]
            now_ms = time.time() * 1000
            assert all(abs((record.updated_ms or 0) - now_ms) < 60_000 for record in records)
            await apply(store, add(1, ttl_ms=HOUR_MS))
            assert await state(store) == (1, 1, True)
            [[[left]]] = await executed(
                empty, f"SELECT expires_ms - ({NOW}) FROM plusone_counters WHERE counter = 'default/counter'"
            )
            assert HOUR_MS - 60_000 < left <= HOUR_MS
    finally:
        await executed(server_url, f"SET GLOBAL time_zone = '{time_zone}'", f"SET GLOBAL sql_mode = '{sql_mode}'")


# Sessions.


@pytest.mark.parametrize("writer", ["-AAAAAAAAAAAAAAA", "_AAAAAAAAAAAAAAA", "0AAAAAAAAAAAAAA-", "----------------"])
@asynchronous
async def test_a_writer_s_id_is_no_path(url: str, writer: str) -> None:
    """MariaDB does not find a quoted key that begins with "-": such a writer's repetition would have counted twice."""
    async with opened(store_at(url)) as store:
        await apply(store, add(1, writer=writer))
        await apply(store, add(1, writer=B))
        assert await apply(store, add(1, writer=writer)) == Answer("duplicate", 0, 0, False)
        assert await apply(store, add(1, seq=2, acked=1, writer=writer)) == Answer("applied", 2, 2, True)
        assert await apply(store, add(1, writer=B)) == Answer("duplicate", 1, 1, True)


@asynchronous
async def test_old_sessions_make_room_for_new_ones(url: str) -> None:
    """From 32 on those go that were not used for 5 minutes, oldest first; younger ones stay."""
    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        for number in range(31):
            await apply(store, add(1, writer=f"{number:016}"))
        [[[others]]] = await executed(url, "SELECT JSON_LENGTH(others) FROM plusone_counters")
        assert others == 31
        await apply(store, add(1, writer=B))
        [[[others]]] = await executed(url, "SELECT JSON_LENGTH(others) FROM plusone_counters")
        assert others == 32
        path = f"'$.\"w{A}\"[4]', 1, '$.\"w{7:016}\"[4]', 2, '$.\"w{8:016}\"[4]', 3"
        await executed(url, f"UPDATE plusone_counters SET others = JSON_SET(others, {path})")
        await apply(store, add(1, writer=C))
        [[[others]]] = await executed(url, "SELECT JSON_LENGTH(others) FROM plusone_counters")
        assert others == 31
        assert await apply(store, add(1, seq=2, acked=1)) == Answer("gap", last=0)
        assert await apply(store, add(1, writer=f"{9:016}")) == Answer("duplicate", 10, 10, True)
        assert await apply(store, add(1, writer=B)) == Answer("duplicate", 32, 32, True)


@asynchronous
async def test_above_a_thousand_young_sessions_new_writers_are_refused(url: str) -> None:
    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        crowd = ",".join(f'"w{number:016}":[1,0,0,0,9999999999999]' for number in range(998))
        await executed(url, f"UPDATE plusone_counters SET others = '{{{crowd}}}'")
        assert await apply(store, add(1, writer=B)) == Answer("applied", 1, 1, True)
        with pytest.raises(StoreUnavailable, match="1,000 writers"):
            await apply(store, add(1, writer=C))
        assert await apply(store, add(1, seq=2, acked=1)) == Answer("applied", 2, 2, True)


@asynchronous
async def test_sessions_that_are_none_of_ours_are_no_absent_ones(url: str) -> None:
    """One bad record fails alone, and is not taken for a counter without sessions."""
    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        await executed(url, "UPDATE plusone_counters SET others = 'nonsense'")
        answers = await store.apply([add(1, writer=B), add(1, key="default/other", writer=B)])
        assert isinstance(answers[0], CorruptRecord)
        assert answers[1] == Answer("applied", 0, 0, False)
        assert await state(store) == (1, 1, True)


# Sweeping.


@asynchronous
async def test_the_long_dead_are_removed_and_nothing_else(url: str) -> None:
    async with opened(store_at(url, token_retention_ms=1)) as short, opened(store_at(url)) as store:
        for name in ("long dead", "lately dead", "with a token"):
            await apply(store, add(1, key=f"default/{name}"))
            await apply(store, delete(key=f"default/{name}", seq=2, acked=1))
        await apply(store, add(1, key="default/alive"))
        await apply(store, add(0, key="default/with a token", seq=3, applied=0, tokens=(TokenWrite("t", "n"),)))
        await apply(short, add(1, key="default/alive", seq=2, acked=1, tokens=(TokenWrite("short", "n"),)))
        old = f"UPDATE plusone_counters SET written_ms = ({NOW}) - {HOUR_MS} - 1 WHERE counter <> 'default/lately dead'"
        await executed(url, old)
        await _until_expired(url)
        await store.sweep()
        counters, tokens = await executed(
            url, "SELECT counter FROM plusone_counters ORDER BY counter", "SELECT token FROM plusone_tokens"
        )
        assert [name for [name] in counters] == [b"default/alive", b"default/lately dead", b"default/with a token"]
        assert [token for [token] in tokens] == [b"t"]
        assert await read(store, "default/long dead") == Record(0, 0, False, None)


@asynchronous
async def test_a_sweep_goes_on_until_all_is_gone(url: str) -> None:
    rows = ",".join(f"('c', 't{number}', '', 1)" for number in range(2 * SWEEP_ROWS + 5))
    async with opened(store_at(url)) as store:
        await executed(url, f"INSERT INTO plusone_tokens (counter, token, asked, expires_ms) VALUES {rows}")
        await store.sweep()
        [[[left]]] = await executed(url, "SELECT COUNT(*) FROM plusone_tokens")
        assert left == 0


async def _until_expired(url: str) -> None:
    async with asyncio.timeout(10):
        while True:
            [[[left]]] = await executed(
                url, f"SELECT COUNT(*) FROM plusone_tokens WHERE token = 'short' AND expires_ms > {NOW}"
            )
            if not left:
                return


# Calls.


@asynchronous
async def test_a_call_with_more_tokens_than_a_statement_takes(url: str) -> None:
    many = tuple(TokenWrite(f"t{number}", "n") for number in range(800))
    async with opened(store_at(url)) as store:
        keys = ["default/counter", "default/a", "default/b"]
        answers = await store.apply([add(800, key=key, applied=800, tokens=many) for key in keys])
        assert answers == [Answer("applied", 0, 0, False)] * 3
        assert await known_tokens(store, "t0", "t799", "t800") == ["t0", "t799"]


@asynchronous
async def test_a_token_counts_once_on_a_counter_that_several_make_at_once(url: str) -> None:
    """A row that is absent cannot be locked: so it is made and locked before any token is looked up."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(store_at(url))) for _ in range(5)]
        for number in range(40):
            request = add(1, key=f"default/{number}", tokens=(TokenWrite("t", "n"),))
            requests = [msgspec.structs.replace(request, writer=writer * 16) for writer in "ABCDE"]
            answers = await asyncio.gather(
                *(apply(store, request) for store, request in zip(stores, requests, strict=True))
            )
            assert sorted(answer.status for answer in answers) == ["applied", *["missed"] * 4]
            assert await state(stores[0], request.key) == (1, 1, True)


@asynchronous
async def test_a_connection_that_the_server_closed_is_not_used(url: str) -> None:
    """A pooled one that went stale is replaced before anything is sent: nothing is ambiguous."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await apply(store, add(1))
        idle = list(store.server._idle)
        for connection in idle:
            await other.query(f"KILL {connection.thread_id()}")
            async with asyncio.timeout(10):
                await connection._proto.wait_closed()
        assert await apply(store, add(1, seq=2, acked=1)) == Answer("applied", 1, 1, True)
        [used] = store.server._idle
        assert used not in idle


@asynchronous
async def test_a_cancelled_call_leaves_no_reply_behind(url: str) -> None:
    """Its connection is closed, so no later call reads the reply that is still to come."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await apply(store, add(1))
        await other.query("BEGIN")
        await other.query("SELECT * FROM plusone_counters WHERE counter = 'default/counter' FOR UPDATE")
        under_way = asyncio.ensure_future(store.apply([add(2, seq=2, acked=1)]))
        done, _ = await asyncio.wait([under_way], timeout=0.1)
        assert not done
        [used] = store.server._in_use
        under_way.cancel()
        with pytest.raises(asyncio.CancelledError):
            await under_way
        assert used not in store.server._idle
        assert not used.connected
        await other.query("COMMIT")
        answer = await apply(store, add(2, seq=2, acked=1))
        assert answer in (Answer("duplicate", 1, 1, True), Answer("applied", 1, 1, True))
        assert await state(store) == (3, 2, True)


@asynchronous
async def test_a_lock_that_is_not_had_in_time_is_definite(url: str) -> None:
    """Lock wait timeout (1205): of the call nothing is applied, the counters that were not locked included."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await store.apply([add(1, key="default/a"), add(1, key="default/b")])
        await other.query("BEGIN")
        await other.query("SELECT * FROM plusone_counters WHERE counter = 'default/b' FOR UPDATE")
        with pytest.raises(StoreUnavailable, match=r"[Ll]ock wait timeout"):
            await store.apply([add(1, key="default/a", seq=2), add(1, key="default/b", seq=2)])
        assert await state(store, "default/a") == (1, 1, True)
        await other.query("COMMIT")
        answers = await store.apply([add(1, key="default/a", seq=2), add(1, key="default/b", seq=2)])
        assert answers == [Answer("applied", 1, 1, True)] * 2
