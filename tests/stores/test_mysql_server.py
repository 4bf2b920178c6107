"""What the store asks of MySQL, MariaDB and TiDB when it is opened: what they are, and what they acknowledge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("asyncmy")

from plusone.lab.servers.mariadb import mariadb_server, url_of
from tests.conformance.harness import asynchronous, opened
from tests.servers.mariadb import skip_without_mariadb
from tests.servers.mysql import executed, own_database, store_at


@contextmanager
def mariadb_url(*options: str) -> Iterator[str]:
    skip_without_mariadb(own=True)
    with mariadb_server(*options) as server, own_database(url_of(server)) as url:
        yield url


@asynchronous
async def test_a_binary_log_that_is_written_late_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Without a binary log, as in the tests of failures, `sync_binlog` says nothing."""
    with mariadb_url("--log-bin") as url:
        async with opened(store_at(url)):
            pass
        [record] = [record for record in caplog.records if record.name == "plusone.stores.mysql"]
        assert record.getMessage().startswith("sync_binlog is 0, and there is a binary log: ")
        await executed(url, "SET GLOBAL sync_binlog = 1")
        caplog.clear()
        async with opened(store_at(url)):
            assert caplog.records == []
