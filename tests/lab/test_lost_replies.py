"""The headline: a twentieth of Redis's replies is lost after Redis acted, and 100,000 increments are 100,000."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("redis")

import plusone
from plusone.lab.faults import Faults
from plusone.lab.proxy import Proxy
from plusone.lab.servers.redis import redis_server, url_of
from tests.servers.redis import skip_without_redis

skip_without_redis(own=True)

INCREMENTS = 100_000
CALLERS = 32
"""So few that a batch has 32 increments at most: no fewer than 3,125 requests, of which a twentieth is 156."""


def test_100_000_increments_while_a_twentieth_of_the_replies_is_lost() -> None:
    """At least 100 cuts, the counter exactly 100,000, every value once, and no error to any caller."""
    faults = Faults(rates={"cut_after_request": 0.05}, seed=1, matcher=lambda request: b"EVALSHA" in request[:64])

    async def count(url: str) -> None:
        async with Proxy(url, faults) as proxy, plusone.open(proxy.url) as counters:

            async def caller() -> list[int]:
                return [(await counters.increment("votes")).value for _ in range(INCREMENTS // CALLERS)]

            answers = await asyncio.gather(*(caller() for _ in range(CALLERS)))
            statistics = counters.statistics
            async with plusone.open(url) as direct:
                counter = await direct.get("votes")

            assert proxy.counts["cut_after_request"] >= 100
            assert (counter.value, counter.revision) == (INCREMENTS, INCREMENTS)
            assert sorted(value for values in answers for value in values) == list(range(1, INCREMENTS + 1))
            assert statistics.ambiguous_total >= proxy.counts["cut_after_request"]
            assert (statistics.unknown_total, statistics.gaps_total) == (0, 0)

    with redis_server() as server:
        asyncio.run(count(url_of(server)))
