"""What a network that fails at a bad moment does to the PostgreSQL store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("asyncpg")

import plusone
from plusone.lab.faults import Faults
from plusone.lab.processes import ServerProcess
from plusone.lab.proxy import Proxy
from plusone.lab.servers.postgresql import postgresql_server, url_of
from tests.conformance.harness import asynchronous
from tests.servers.postgresql import own_schema, skip_without_postgresql

skip_without_postgresql(own=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with postgresql_server() as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_schema(url_of(server, sslmode="disable", connect_timeout=500))


@asynchronous
async def test_a_connection_that_goes_dead_between_its_handshake_and_its_first_statement(url: str) -> None:
    """It is given up like one that cannot be made: the calls behind it do not wait for it until their deadlines."""
    faults = Faults(schedule={1: "half_open"}, matcher=lambda request: b"plusone_add" in request)
    async with Proxy(url, faults) as proxy, plusone.open(proxy.url, timeout=20) as counters:
        assert (await counters.increment("votes")).value == 1
        assert proxy.counts["half_open"] == 1
        assert counters.statistics.unknown_total == 0
