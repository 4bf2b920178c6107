"""What the store asks of MySQL, MariaDB and TiDB when it is opened: what they are, and what they acknowledge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("asyncmy")

from plusone.errors import StoreRefused
from plusone.lab.servers.mariadb import mariadb_server, url_of
from plusone.lab.servers.tidb import tidb_server
from plusone.lab.servers.tidb import url_of as tidb_url_of
from plusone.stores.protocol import Answer
from tests.conformance.harness import add, apply, asynchronous, opened
from tests.servers.mariadb import skip_without_mariadb
from tests.servers.mysql import executed, own_database, store_at
from tests.servers.tidb import skip_without_tidb


@contextmanager
def url_of_a(server: str) -> Iterator[str]:
    """Of a TiDB, of a MariaDB, or of a MariaDB that says that it is this version."""
    if server == "tidb":
        skip_without_tidb(own=True)
        with tidb_server() as tidb, own_database(tidb_url_of(tidb)) as url:
            yield url
    else:
        skip_without_mariadb(own=True)
        options = () if server == "mariadb" else (f"--version={server}",)
        with mariadb_server(*options) as mariadb, own_database(url_of(mariadb)) as url:
            yield url


# What it is.


@pytest.mark.parametrize(
    ("server", "scheme", "message"),
    [
        ("mariadb", "tidb", r"^TiDB: the server is MariaDB \(1\d\..*\); let the store URL begin with mariadb://$"),
        ("8.0.39", "mariadb", r"^MariaDB: the server is MySQL \(8\.0\.39\); let the store URL begin with mysql://$"),
        ("5.7.44-log", "mysql", r"^MySQL: the server is MySQL 5\.7\.44-log; plusone needs 8\.0 or later$"),
        (
            "10.4.34-MariaDB",
            "mariadb",
            r"^MariaDB: the server is MariaDB 10\.4\.34-MariaDB; .* needs 10\.5 or later$",
        ),
        ("tidb", "mysql", r"^MySQL: the server is TiDB \(.*TiDB.*\); let the store URL begin with tidb://$"),
    ],
)
@asynchronous
async def test_a_server_that_the_scheme_is_not_for_is_refused(server: str, scheme: str, message: str) -> None:
    """By opening and by setup, before anything is made there."""
    with url_of_a(server) as url:
        theirs = f"{scheme}://{url.partition('://')[2]}"
        for dry_run in (True, False):
            with pytest.raises(StoreRefused, match=message):
                await store_at(theirs).setup(dry_run=dry_run)
        with pytest.raises(StoreRefused, match=message):
            await store_at(theirs).open()
        assert await executed(url, "SHOW TABLES") == [()]


@asynchronous
async def test_mysql_s_statements_count_on_mariadb() -> None:
    with url_of_a("mariadb") as url:
        async with opened(store_at(url.replace("mariadb://", "mysql://"))) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
            assert await apply(store, add(2, seq=2, acked=1)) == Answer("applied", 1, 1, True)


@asynchronous
async def test_a_tidb_locks_what_it_counts_on_at_once() -> None:
    """Whatever the server's own setting is: an optimistic transaction would fail at COMMIT instead of waiting."""
    with url_of_a("tidb") as url:
        await executed(url, "SET GLOBAL tidb_txn_mode = 'optimistic'")
        async with opened(store_at(url)) as store:
            assert await store.server.exchange(["SELECT @@tidb_txn_mode"]) == [(("pessimistic",),)]


# What it acknowledges.


@asynchronous
async def test_a_binary_log_that_is_written_late_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Without a binary log, as in the tests of failures, `sync_binlog` says nothing."""
    skip_without_mariadb(own=True)
    with mariadb_server("--log-bin") as server, own_database(url_of(server)) as url:
        async with opened(store_at(url)):
            pass
        [record] = [record for record in caplog.records if record.name == "plusone.stores.mysql"]
        assert record.getMessage().startswith("MariaDB: sync_binlog is 0, and there is a binary log: ")
        await executed(url, "SET GLOBAL sync_binlog = 1")
        caplog.clear()
        async with opened(store_at(url)):
            assert caplog.records == []
