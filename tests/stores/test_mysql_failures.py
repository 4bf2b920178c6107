"""How the store fails on MariaDB and TiDB: servers that refuse, go, or are full, transactions in each other's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("asyncmy")

from plusone.errors import StoreRefused, StoreUnavailable
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.mariadb import mariadb_server
from plusone.lab.servers.mariadb import url_of as mariadb_url_of
from plusone.lab.servers.tidb import tidb_server
from plusone.lab.servers.tidb import url_of as tidb_url_of
from plusone.stores.mysql.store import MySQLStore
from plusone.stores.protocol import Answer
from tests.conformance.harness import add, apply, asynchronous, opened, state
from tests.servers import mariadb, tidb
from tests.servers.mysql import connected, executed, own_database, own_place, store_at

AVAILABLE = [name for name, has in (("mariadb", mariadb.HAS_MARIADB), ("tidb", tidb.HAS_TIDB)) if has]
if not AVAILABLE:
    mariadb.skip_without_mariadb(own=True)
only_mariadb = pytest.mark.parametrize(
    "scheme", [name for name in AVAILABLE if name == "mariadb"], indirect=True, scope="module"
)
"""For settings that TiDB does not have, and locks that it takes otherwise."""


@pytest.fixture(scope="module", params=AVAILABLE)
def scheme(request: pytest.FixtureRequest) -> str:
    """Which server it is."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(scheme: str) -> Iterator[ServerProcess]:
    with mariadb_server() if scheme == "mariadb" else tidb_server() as server:
        yield server


def url_of(scheme: str, server: ServerProcess) -> str:
    return mariadb_url_of(server) if scheme == "mariadb" else tidb_url_of(server)


@pytest.fixture(scope="module")
def database(scheme: str, server: ServerProcess) -> Iterator[str]:
    with own_database(url_of(scheme, server)) as url:
        yield url


@pytest.fixture
def url(database: str, server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_place(database)


@asynccontextmanager
async def as_a_user(url: str) -> AsyncIterator[str]:
    """The URL of one who may do everything to the database, and nothing to the server."""
    name = url.partition("?")[0].rpartition("/")[2]
    await executed(
        url,
        "CREATE USER 'someone'@'%' IDENTIFIED BY 'p@ss'",
        f"GRANT ALL ON {name}.* TO 'someone'@'%'",
    )
    try:
        yield url.replace("root@", "someone:p%40ss@")
    finally:
        await executed(url, "DROP USER 'someone'@'%'")


# Who is not let in.


@asynchronous
async def test_a_wrong_password_is_refused(url: str) -> None:
    async with as_a_user(url) as theirs:
        with pytest.raises(StoreRefused, match=r"Access denied.*\(1045\); correct user and password in the store URL"):
            await store_at(theirs.replace("p%40ss", "secret")).open()
        with pytest.raises(StoreRefused) as refused:
            await store_at(theirs.replace("p%40ss", "secret")).setup(dry_run=True)
        assert "secret" not in str(refused.value)


@asynchronous
async def test_an_unknown_database_is_refused(url: str) -> None:
    with pytest.raises(StoreRefused, match="create the database, or name another one in the store URL"):
        await store_at(url + "_unknown").open()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:3306"])
@asynchronous
async def test_nobody_there_is_definite(scheme: str, address: str) -> None:
    with pytest.raises(StoreUnavailable, match="see that the server runs, and that host and port in the store URL"):
        await store_at(f"{scheme}://root@{address}/d").open()


@asynchronous
async def test_a_server_that_does_not_answer_is_definite(url: str, server: ServerProcess) -> None:
    with server.paused(), pytest.raises(StoreUnavailable, match="no connection in time; see that the server runs"):
        await store_at(url + "?connect_timeout=100").open()


@asynchronous
async def test_a_full_server_is_definite_and_says_what_to_do(scheme: str) -> None:
    """And when connections are given up, counting goes on."""
    full = {
        "mariadb": partial(mariadb_server, "--max-connections=10"),
        "tidb": partial(tidb_server, "[instance]", "max_connections = 10"),
    }
    with full[scheme]() as server, own_database(url_of(scheme, server)) as url:
        async with as_a_user(url) as theirs:
            async with AsyncExitStack() as stack:
                for _ in range(10):
                    await stack.enter_async_context(connected(theirs))
                with pytest.raises(StoreUnavailable, match=r"\(1040\); raise max_connections on the server, or lower"):
                    await store_at(theirs).open()
            async with opened(await _with_room(theirs)) as store:
                assert await apply(store, add(1)) == Answer("applied", 0, 0, False)


async def _with_room(url: str) -> MySQLStore:
    """A store, once the server has noticed that others are gone."""
    async with asyncio.timeout(20):
        while True:
            try:
                await store_at(url).setup(dry_run=True)
            except StoreUnavailable as error:
                if "(1040)" not in str(error):
                    raise
            else:
                return store_at(url)


# A server that changes.


@only_mariadb
@asynchronous
async def test_a_read_only_server_is_definite_and_says_what_to_do(url: str) -> None:
    """What a primary becomes that was demoted; and the connection is not kept, for its name may lead elsewhere soon."""
    async with as_a_user(url) as theirs, opened(store_at(theirs)) as store:
        await apply(store, add(1))
        await executed(url, "SET GLOBAL read_only = 1")
        try:
            with pytest.raises(StoreUnavailable, match=r"read-only.*let the store URL name the primary"):
                await apply(store, add(1, seq=2, acked=1))
            with pytest.raises(StoreUnavailable, match="let the store URL name the primary"):
                await store.check()
            assert store.server._idle == []
            assert await state(store) == (1, 1, True)
        finally:
            await executed(url, "SET GLOBAL read_only = 0")
        await store.check()
        assert await apply(store, add(1, seq=2, acked=1)) == Answer("applied", 1, 1, True)


@only_mariadb
@asynchronous
async def test_a_restarted_server_is_found_again(scheme: str) -> None:
    """The idle connections of the old one are not used: nothing is ambiguous, and nothing is lost."""
    with mariadb_server() as server, own_database(url_of(scheme, server)) as url:
        async with opened(store_at(url)) as store:
            await apply(store, add(1))
            await asyncio.to_thread(server.kill)
            with pytest.raises(StoreUnavailable):
                await apply(store, add(1, seq=2, acked=1))
            await asyncio.to_thread(server.start)
            assert await apply(store, add(1, seq=2, acked=1)) == Answer("applied", 1, 1, True)


@only_mariadb
@asynchronous
async def test_a_server_that_flushes_late_is_warned_of(url: str, caplog: pytest.LogCaptureFixture) -> None:
    await executed(url, "SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        async with opened(store_at(url)):
            pass
    finally:
        await executed(url, "SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    [record] = [record for record in caplog.records if record.name == "plusone.stores.mysql"]
    assert record.getMessage().startswith("MariaDB: innodb_flush_log_at_trx_commit is 2: ")
    caplog.clear()
    async with opened(store_at(url)):
        assert caplog.records == []


# Transactions in each other's way.


@only_mariadb
@asynchronous
async def test_a_deadlock_is_definite(url: str) -> None:
    """1213: the server rolled the whole call back, so that it is sent again as if for the first time."""
    async with opened(store_at(url)) as store, connected(url) as other:
        await store.apply([add(1, key="default/a"), add(1, key="default/b")])
        under_way = await _deadlocked(
            url, other, store.apply([add(1, key="default/a", seq=2), add(1, key="default/b", seq=2)])
        )
        with pytest.raises(StoreUnavailable, match="Deadlock found"):
            await under_way
        await other.query("ROLLBACK")
        assert await state(store, "default/a") == (1, 1, True)
        answers = await store.apply([add(1, key="default/a", seq=2), add(1, key="default/b", seq=2)])
        assert answers == [Answer("applied", 1, 1, True)] * 2


async def _deadlocked(url: str, other: Any, call: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """Cross the call's locks with those of a transaction that has done more, so that the call is the one to go."""
    query = other.query
    await query("BEGIN")
    heavy = ",".join(f"('heavy/{number}')" for number in range(100))
    await query(f"INSERT INTO plusone_counters (counter) VALUES {heavy}")
    await query("SELECT * FROM plusone_counters WHERE counter = 'default/b' FOR UPDATE")
    under_way = asyncio.ensure_future(call)
    async with asyncio.timeout(20):
        waiting = 0
        while not waiting:
            assert not under_way.done()
            found = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
            [[[waiting]]] = await executed(url, found)
    await query("SELECT * FROM plusone_counters WHERE counter = 'default/a' FOR UPDATE")
    return under_way


# TLS.


@asynchronous
async def test_tls_takes_the_certificate_that_is_trusted_and_named_so(
    scheme: str, certificate: tuple[Path, Path]
) -> None:
    key, trusted = certificate
    secure = {
        "mariadb": partial(mariadb_server, f"--ssl-cert={trusted}", f"--ssl-key={key}"),
        "tidb": partial(tidb_server, "[security]", f'ssl-cert = "{trusted}"', f'ssl-key = "{key}"'),
    }
    with secure[scheme]() as server, own_database(url_of(scheme, server)) as plain:
        named = plain.replace("127.0.0.1", "localhost")
        async with opened(store_at(f"{named}?tls=yes&ca_file={trusted}")) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
            [[[cipher]]] = [await store.server.exchange(["SHOW STATUS LIKE 'Ssl_cipher'"])]
            assert cipher[1]
        for refused in (f"{plain}?tls=yes&ca_file={trusted}", f"{named}?tls=yes"):
            with pytest.raises(StoreRefused, match="must be a name in the server's certificate, and ca_file must"):
                await store_at(refused).open()


@asynchronous
async def test_without_tls_at_the_server_nothing_is_sent_in_the_clear(url: str) -> None:
    with pytest.raises(StoreRefused, match=r"speaks no TLS.*switch it on there, or write tls=no in the store URL"):
        await store_at(url + "?tls=yes").open()
