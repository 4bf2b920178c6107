"""A standby takes over that lacks what the primary acknowledged last: replication was asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("asyncpg")

from plusone import Counters
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.postgresql import postgresql_server, postgresql_standby, url_of
from tests.conformance.harness import asynchronous
from tests.servers.postgresql import connected, skip_without_postgresql, store_at

skip_without_postgresql(own=True)


@pytest.fixture
def primary_and_standby() -> Iterator[tuple[ServerProcess, ServerProcess]]:
    with postgresql_server() as primary, postgresql_standby(primary) as standby:
        yield primary, standby


@asynchronous
async def test_what_a_failover_lost_is_noticed(primary_and_standby: tuple[ServerProcess, ServerProcess]) -> None:
    """The same writer goes on at the name's new address: the counter that lost is reported, and only that one."""
    primary, standby = primary_and_standby
    store = store_at(url_of(primary))
    async with Counters(store) as counters, connected(url_of(standby)) as behind:
        await counters.increment("kept", 7)
        await counters.increment("votes")
        await _until(behind, "SELECT sum(value) = 8 FROM plusone.counters")
        await behind.execute("ALTER SYSTEM SET primary_conninfo = ''")
        await behind.execute("SELECT pg_reload_conf()")
        await _until(behind, "SELECT count(*) = 0 FROM pg_stat_wal_receiver")
        assert [(await counters.increment("votes")).value for _ in range(2)] == [2, 3]

        await asyncio.to_thread(primary.kill)
        assert await behind.fetchval("SELECT pg_promote()")
        store.primary.arguments = {**store.primary.arguments, "port": standby.port}

        assert (await counters.increment("kept")).value == 8
        assert counters.statistics.gaps_total == 0
        assert (await counters.increment("votes")).value == 2
        [gap] = counters.statistics.recent_gaps
        assert (gap.key, gap.acked - gap.last) == ("default/votes", 2)
        assert (await counters.increment("votes")).value == 3
        assert counters.statistics.gaps_total == 1


async def _until(connection: Any, question: str) -> None:
    """Return when the server answers yes."""
    async with asyncio.timeout(20):
        while not await connection.fetchval(question):
            pass
