"""The suite on PostgreSQL: as it is installed, and without prepared statements as a pooler by transaction needs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("asyncpg")

from plusone.lab.servers.postgresql import postgresql_server, url_of
from tests.conformance.crashes import Crashing, CrashSuite
from tests.conformance.faults import FaultSuite, IsApply
from tests.conformance.suite import ConformanceSuite
from tests.servers.postgresql import (
    HAS_POSTGRESQL_SERVER,
    own_schema,
    shared_url,
    skip_without_postgresql,
)

skip_without_postgresql()


@pytest.fixture(scope="module")
def one_server() -> Iterator[str]:
    with shared_url() as url:
        yield url


@pytest.fixture
def is_apply() -> IsApply:
    """The message that binds arguments to the statements that write; the one that prepares them begins otherwise."""
    return lambda request: request[:1] == b"B" and (b"plusone_add" in request[:32] or b"plusone_write" in request[:32])


class TestPostgreSQL(ConformanceSuite, FaultSuite):
    @pytest.fixture
    def store_url(self, one_server: str) -> Iterator[str]:
        yield from own_schema(one_server)


class TestPostgreSQLWithoutPreparedStatements(ConformanceSuite):
    @pytest.fixture
    def store_url(self, one_server: str) -> Iterator[str]:
        for url in own_schema(one_server):
            yield url + "&statement_cache_size=0"


if HAS_POSTGRESQL_SERVER:  # a server of the user's alone is not ours to stop

    class TestPostgreSQLCrashes(CrashSuite):
        @pytest.fixture
        def crashing(self) -> Iterator[Crashing]:
            with postgresql_server() as server, server.shown():
                yield Crashing(url_of(server), server, keeps=True)
