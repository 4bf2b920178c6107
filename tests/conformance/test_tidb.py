"""The suite on TiDB: one server, one database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("asyncmy")

from plusone.lab.servers.tidb import tidb_server, url_of
from tests.conformance.crashes import Crashing, CrashSuite
from tests.conformance.faults import FaultSuite, IsApply
from tests.conformance.suite import ConformanceSuite
from tests.servers.mysql import own_database, own_place
from tests.servers.tidb import HAS_TIDB, shared_url, skip_without_tidb

skip_without_tidb()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with shared_url() as url:
        yield url


@pytest.fixture
def is_apply() -> IsApply:
    return lambda request: b"BEGIN" in request[:16]


class TestTiDB(ConformanceSuite, FaultSuite):
    @pytest.fixture
    def store_url(self, database: str) -> Iterator[str]:
        yield from own_place(database)


if HAS_TIDB:  # a server of the user's alone is not ours to stop

    class TestTiDBCrashes(CrashSuite):
        @pytest.fixture
        def crashing(self) -> Iterator[Crashing]:
            with tidb_server() as server, server.shown(), own_database(url_of(server)) as url:
                yield Crashing(url, server, keeps=True)
