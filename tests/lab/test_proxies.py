"""Proxies before real servers: counting through every condition, and datastores of several addresses."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

pytest.importorskip("redis")

import msgspec
import redis.asyncio

import plusone
from plusone import Counters
from plusone.errors import ConfigurationError
from plusone.lab.faults import Condition, Event, Fault, Faults
from plusone.lab.proxies import Proxies, proxied
from plusone.lab.servers import etcd, redis_cluster, redis_sentinel
from plusone.lab.servers.redis import ask, redis_server, url_of
from plusone.statistics import Limits
from tests.conformance.faults import count, store_at
from tests.servers.redis import skip_without_redis

skip_without_redis(own=True)

INCREMENTS = 2_000
CALLERS = 4
FAULT_BESIDE: Final[Mapping[Condition, Fault]] = {"slow_close": "half_open"}
"""A fault at which the client gives a connection up; at others the proxy does, and new ones are made."""
LOST_REPLIES = Faults(rates={"cut_after_request": 0.05}, seed=3, matcher=lambda request: b"EVALSHA" in request)


@asynccontextmanager
async def counting(proxies: Proxies) -> AsyncIterator[Counters]:
    limits = Limits(timeout=60, attempt_timeout=0.3)
    async with Counters(store_at(proxies.url), limits=limits) as counters:
        yield counters


async def counts_once(counters: Counters, url: str) -> None:
    """Every value is answered once, and the counter has them all."""
    values = await count(counters, "votes", callers=CALLERS, each=INCREMENTS // CALLERS)
    assert values == list(range(1, INCREMENTS + 1))
    async with plusone.open(url) as direct:
        counter = await direct.get("votes")
    assert (counter.value, counter.revision) == (INCREMENTS, INCREMENTS)


def test_a_connection_that_is_cut_before_it_leads_anywhere() -> None:
    """In the same turn of the loop in which it was made; the proxy's end waits for the end of all connections."""

    async def connect_and_cut(url: str) -> None:
        def cut(event: Event) -> None:
            if event == "connections":
                asyncio.get_running_loop().call_soon(proxies.cut)

        async with asyncio.timeout(10):
            async with proxied(url, Faults(), notice=cut) as proxies:
                _, port = proxies.url.removesuffix("/0").rsplit(":", 1)
                reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()

    with redis_server() as server:
        asyncio.run(connect_and_cut(url_of(server)))


@pytest.mark.parametrize(
    "condition", ["partition_to_server", "partition_to_client", "throttle", "refuse", "slow_close"]
)
def test_counting_through_a_condition_on_redis(condition: Condition) -> None:
    """It begins when a quarter is counted and ends when it was met: nothing is lost, and nothing counted twice."""
    met = asyncio.Event()

    def notice(event: Event) -> None:
        if event == condition:
            met.set()

    async def main(url: str) -> None:
        faults = msgspec.structs.replace(LOST_REPLIES, rates={FAULT_BESIDE.get(condition, "cut_after_request"): 0.02})
        async with proxied(url, faults, notice=notice) as proxies, counting(proxies) as counters:
            work = asyncio.create_task(counts_once(counters, url))
            while (await counters.get("votes")).value < INCREMENTS // 4:
                pass
            proxies.begin(condition)
            await met.wait()
            proxies.end(condition)
            await work
            assert proxies.counts[condition] >= 1
            assert counters.statistics.unknown_total == 0

    with redis_server() as server:
        run(main(url_of(server)))


def test_a_line_that_sends_twice_does_not_make_plusone_count_twice() -> None:
    """docs/protocol.md does not promise it. Sessions make it so as long as the copy comes within minutes."""

    async def main(url: str) -> None:
        async with proxied(url) as proxies:
            proxies.begin("duplicate")
            async with counting(proxies) as counters:
                await counts_once(counters, url)
            # A batch has as many increments as there are callers; copies that wait for one another are counted as one.
            assert proxies.counts["duplicate"] >= INCREMENTS // CALLERS // 2

            async with redis.asyncio.from_url(proxies.url) as plain, redis.asyncio.from_url(url) as direct:
                for _ in range(100):
                    await plain.incr("plain")
                while proxies.in_flight:
                    await direct.ping()
                assert await direct.get("plain") == b"200"

    with redis_server() as server:
        run(main(url_of(server)))


async def counts_while_replies_are_lost(url: str, matcher: Callable[[bytes], bool]) -> None:
    faults = Faults(rates={"cut_after_request": 0.05}, seed=3, matcher=matcher)
    async with proxied(url, faults) as proxies, counting(proxies) as counters:
        await counts_once(counters, url)
    assert proxies.counts["cut_after_request"] >= 10
    assert not proxies.in_flight


def run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


@pytest.mark.skipif(etcd.missing() is not None, reason="etcd is not installed")
def test_every_member_of_an_etcd_is_behind_a_proxy() -> None:
    with etcd.etcd_cluster() as members:
        url = etcd.url_of(*members)
        run(counts_while_replies_are_lost(url, lambda request: b"/c/default/" in request and b"[1," in request))


@pytest.mark.parametrize("endpoints", ["unknown-endpoint", "ip"])
def test_every_node_of_a_cluster_is_behind_a_proxy(endpoints: str) -> None:
    """Those too that the URL does not name, whether the nodes tell their addresses or their ports only."""

    async def main(nodes: Sequence[redis_cluster.RedisNode]) -> None:
        url = redis_cluster.url_of(nodes[:1])
        async with proxied(url, LOST_REPLIES) as proxies, counting(proxies) as counters:
            for name in ("a", "b", "c", "d", "e", "f"):
                assert await count(counters, name, callers=2, each=100) == list(range(1, 201))
        # Two hundred increments of each counter by two callers are a hundred batches at least, on three nodes.
        assert proxies.counts["requests"] >= 600
        assert proxies.counts["cut_after_request"] >= 10

    with redis_cluster.redis_cluster(3, "--cluster-preferred-endpoint-type", endpoints) as nodes:
        run(main(nodes))


def test_a_failover_of_sentinels_does_not_lead_past_the_proxies() -> None:
    async def main(watched: redis_sentinel.SentinelSet) -> None:
        url = watched.url()
        async with proxied(url, LOST_REPLIES) as proxies, counting(proxies) as counters:
            assert await count(counters, "votes", callers=2, each=200) == list(range(1, 401))
            before = proxies.counts["requests"]
            await asyncio.to_thread(ask, watched.sentinels[0], "SENTINEL", "FAILOVER", redis_sentinel.PRIMARY_NAME)
            while await asyncio.to_thread(primary_of, watched) == watched.primary.port:
                await counters.get("votes")
            values = await count(counters, "votes", callers=2, each=200)
            # What was acknowledged and not yet replicated may be lost with the old primary; nothing counts twice.
            assert len(values) == 400
            assert values[-1] <= 800
            assert before >= 200
            assert proxies.counts["requests"] >= 400
            assert proxies.counts["cut_after_request"] >= 10

    with redis_sentinel.sentinel_set() as watched:
        run(main(watched))


def primary_of(watched: redis_sentinel.SentinelSet) -> int:
    question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", redis_sentinel.PRIMARY_NAME)
    return int(ask(watched.sentinels[0], *question)[1])


@pytest.mark.parametrize(
    ("url", "through"),
    [
        ("redis://user:se%2Fcret@localhost/3?wait=1", "redis://user:se%2Fcret@127.0.0.1:PORT/3?wait=1"),
        ("postgresql://localhost/counters", "postgresql://127.0.0.1:PORT/counters"),
        ("mysql://u:p@[::1]/counters", "mysql://u:p@127.0.0.1:PORT/counters"),
        ("http://localhost/v1", "http://127.0.0.1:PORT/v1"),
        ("etcd://u:p@a,b:1?prefix=x", "etcd://u:p@127.0.0.1:PORT,127.0.0.1:PORT?prefix=x"),
        ("redis+sentinel://a,b/mymaster/0", "redis+sentinel://127.0.0.1:PORT,127.0.0.1:PORT/mymaster/0"),
        ("rediss://127.0.0.1:6380/0", "redis://127.0.0.1:PORT/0"),
        ("rediss://u:p@redis.example:6380/1?wait=1&replica=a:1", "redis://u:p@127.0.0.1:PORT/1?wait=1"),
        ("dynamodb://t?endpoint=http://localhost", "dynamodb://t?endpoint=http%3A%2F%2F127.0.0.1%3APORT"),
        ("momento://c?endpoint=localhost:8080", "momento://c?endpoint=127.0.0.1%3APORT"),
    ],
)
def test_the_url_leads_to_the_proxies(url: str, through: str) -> None:
    async def main() -> None:
        async with proxied(url) as proxies:
            assert re.sub(r"127\.0\.0\.1(:|%3A)\d+", r"127.0.0.1\1PORT", proxies.url) == through

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://", "no way to put a proxy before it"),
        ("sqlite:counters.db", "no way to put a proxy before it"),
        ("redis://a,b", "malformed|one host"),
        ("rediss://redis.example:6380?ca_file=none", "ca_file 'none' is no file"),
        ("rediss+cluster://127.0.0.1:7000", "certificate"),
        ("mongodb+srv://cluster.example/counters", "certificate"),
        ("documentdb://cluster.example/counters", "certificate"),
        ("postgresql://db.example/counters?sslmode=verify-full", "certificate"),
        ("mysql://u:p@db.example/counters?tls=yes", "certificate"),
        ("mongodb://a,b/counters", "several hosts"),
        ("dynamodb://counters?region=eu-central-1", "needs an endpoint"),
        ("dynamodb://counters?endpoint=https://db.example", "certificate"),
        ("momento://counters", "needs an endpoint"),
        ("nonsense", "no scheme"),
    ],
)
def test_where_a_proxy_would_be_gone_around_there_is_none(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        proxied(url)
