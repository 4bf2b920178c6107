"""Every server that the lab starts, and all the harm that it does to them: nothing acknowledged is lost but by design.

The servers that are not installed here are skipped by name, as everywhere.
"""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import pytest

pytest.importorskip("redis")
pytest.importorskip("asyncpg")
pytest.importorskip("asyncmy")

import plusone
from plusone import Counters
from plusone.clock import Clock
from plusone.errors import ConfigurationError
from plusone.lab import processes
from plusone.lab.programs import ServerFailed
from plusone.lab.servers import SERVERS, Started, etcd, missing, start
from plusone.lab.servers.started import ServerFault
from plusone.statistics import Limits
from plusone.stores.registry import StoreURL, make_store
from tests.conformance.harness import DAY_MS

pytestmark = pytest.mark.filterwarnings(
    # PyMongo leaves a socket to the garbage collector when its server is killed while it connects.
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)

TITLES: Final = {
    "redis": r"Redis \d+\.\d+\.\d+, every write flushed",
    "redis-cluster": r"Redis Cluster \d+\.\d+\.\d+, three primaries with a replica each, every write flushed",
    "redis-sentinel": r"Redis Sentinel \d+\.\d+\.\d+, a primary and two replicas, every write flushed",
    "dynamodb": r"DynamoDB Local \d+\.\d+\.\d+, on disk",
    "mongodb": r"mongo-java-server \d+\.\d+\.\d+, every write in its file",
    "mariadb": r"MariaDB \d+\.\d+\.\d+, every transaction flushed",
    "tidb": r"TiDB \(its main branch of \d{4}-\d\d-\d\d\), embedded storage",
    "postgresql": r"PostgreSQL \d+\.\d+, every commit flushed",
    "momento": "an emulator of Momento, in memory",
    "etcd": r"etcd \d+\.\d+\.\d+, three members",
}


@contextmanager
def started(name: str, *, keeps: bool = True, faults: Collection[ServerFault] = ()) -> Iterator[Started]:
    """The server, with its tables made."""
    if reason := missing(name):
        pytest.skip(reason)
    with start(name, keeps=keeps, faults=faults) as found:
        asyncio.run(make_store(found.url, clock=Clock(), token_retention_ms=DAY_MS).setup(dry_run=False))
        yield found


async def five(counters: Counters) -> list[int]:
    return [(await counters.increment("lab")).value for _ in range(5)]


def counts(url: str) -> list[int]:
    """What five increments are answered by someone who was not there before."""

    async def count() -> list[int]:
        async with plusone.open(url, timeout=30) as counters:
            return await five(counters)

    return asyncio.run(count())


@pytest.mark.parametrize("name", SERVERS)
def test_what_is_started_counts_stands_still_and_is_killed(name: str) -> None:
    with started(name) as server:
        assert (server.name, StoreURL.parse(server.url).scheme) == (name, SERVERS[name].scheme)
        assert re.fullmatch(TITLES[name], server.title)
        assert server.faults >= {"kill", "pause"}
        assert server.keeps == (name != "momento")
        asyncio.run(_through_a_pause_and_a_crash(server))


async def _through_a_pause_and_a_crash(server: Started) -> None:
    store = make_store(server.url, clock=Clock(), token_retention_ms=DAY_MS)
    async with Counters(store, limits=Limits(timeout=60, attempt_timeout=2)) as counters:
        assert await five(counters) == [1, 2, 3, 4, 5]
        await asyncio.to_thread(server.pause)
        waiting = asyncio.create_task(counters.increment("lab"))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done, waiting
        await asyncio.to_thread(server.resume)
        assert (await waiting).value == 6
        await asyncio.to_thread(server.kill)
        assert await five(counters) == ([7, 8, 9, 10, 11] if server.keeps else [1, 2, 3, 4, 5])
        assert counters.statistics.gaps_total == (0 if server.keeps else 1)


@pytest.mark.parametrize(("name", "waits"), [("etcd", ""), ("postgresql", ""), ("redis-sentinel", "?wait=1")])
def test_another_takes_over_and_knows_what_was_acknowledged(name: str, waits: str) -> None:
    """Twice, so that the one that had led takes over again."""
    with started(name, faults={"failover"}) as server:
        url = server.url + waits
        assert counts(url) == [1, 2, 3, 4, 5]
        told = server.begin("failover")
        assert re.match("SIGKILL to the (leader|primary)", told)
        assert counts(url) == [6, 7, 8, 9, 10]
        server.end("failover")
        assert counts(url) == [11, 12, 13, 14, 15]
        assert server.failover() != told
        assert counts(url) == [16, 17, 18, 19, 20]
        server.kill()
        assert counts(url) == [21, 22, 23, 24, 25]


def test_a_replica_of_one_of_a_clusters_primaries_takes_over() -> None:
    with started("redis-cluster", faults={"failover"}) as server:
        url = server.url + "?wait=1"
        assert counts(url) == [1, 2, 3, 4, 5]
        assert re.fullmatch(r"SIGKILL to the primary at \d+; its replica at \d+ was promoted", server.begin("failover"))
        assert counts(url) == [6, 7, 8, 9, 10]
        server.end("failover")
        assert counts(url) == [11, 12, 13, 14, 15]


def test_a_leader_that_is_cut_off_does_not_serve_and_the_others_do() -> None:
    with started("etcd", faults={"partition"}) as server:
        assert counts(server.url) == [1, 2, 3, 4, 5]
        assert sorted(map(is_healthy, members(server))) == [True, True, True]
        assert re.fullmatch(
            r"the leader, (member-\d), was cut off from the others; (?!\1)member-\d was elected",
            server.begin("partition"),
        )
        assert sorted(map(is_healthy, members(server))) == [False, True, True]
        assert counts(server.url) == [6, 7, 8, 9, 10]
        server.end("partition")
        assert sorted(map(is_healthy, members(server))) == [True, True, True]
        assert counts(server.url) == [11, 12, 13, 14, 15]


def members(server: Started) -> list[str]:
    return urlsplit(server.url).netloc.split(",")


def is_healthy(member: str) -> bool:
    """Whether a linearizable read is possible there."""
    try:
        with urllib.request.urlopen(f"http://{member}/health", timeout=10) as answer:
            return b'"true"' in answer.read()
    except urllib.error.HTTPError:
        return False


@pytest.mark.parametrize("name", ["redis", "mariadb", "postgresql"])
def test_a_full_disk_loses_nothing_that_was_acknowledged(name: str) -> None:
    with started(name, faults={"disk_full"}) as server:
        assert counts(server.url) == [1, 2, 3, 4, 5]
        assert re.match("no space left for ", server.begin("disk_full"))
        asyncio.run(WRITES_UNTIL_REFUSED[name](server.url))
        server.end("disk_full")
        assert counts(server.url) == [6, 7, 8, 9, 10]
        server.kill()
        assert counts(server.url) == [11, 12, 13, 14, 15]


async def _redis_refuses(url: str) -> None:
    """With every write flushed, it ends when it cannot: what it had answered until then is in its file."""
    from redis.asyncio import Redis
    from redis.exceptions import ConnectionError as Lost

    async def write(redis: Redis) -> None:
        while True:
            await redis.set("large", b"x" * 1_000_000)

    async with Redis.from_url(url.partition("?")[0]) as redis:
        with pytest.raises(Lost):
            await write(redis)


async def _mariadb_refuses(url: str) -> None:
    from asyncmy.errors import Error

    from tests.servers.mysql import executed

    with pytest.raises(Error, match=r"is full|No space left|Errcode: 28"):
        await executed(
            url, "CREATE TABLE large (text LONGBLOB)", *["INSERT INTO large VALUES (REPEAT('x', 4000000))"] * 60
        )


async def _postgresql_refuses(url: str) -> None:
    import asyncpg

    from tests.servers.postgresql import connected

    async with connected(url) as connection:
        with pytest.raises((asyncpg.DiskFullError, asyncpg.PostgresConnectionError, ConnectionError)):
            await connection.execute(
                "CREATE TABLE large AS SELECT repeat(md5(n::text), 100) FROM generate_series(1, 100000) n"
            )


WRITES_UNTIL_REFUSED: Final = {"redis": _redis_refuses, "mariadb": _mariadb_refuses, "postgresql": _postgresql_refuses}


def test_a_redis_that_keeps_nothing_says_so() -> None:
    with started("redis", keeps=False) as server:
        assert (server.keeps, server.title.rpartition(", ")[2]) == (False, "in memory")
        assert counts(server.url) == [1, 2, 3, 4, 5]
        server.kill()
        assert counts(server.url) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "title"), [("postgresql", "commits flushed later"), ("mariadb", "flushed once a second")]
)
def test_one_that_may_lose_the_last_says_so(name: str, title: str) -> None:
    with started(name, keeps=False) as server:
        assert (server.keeps, server.title.partition(", ")[2]) == (False, title)


def test_what_the_lab_cannot_do_names_what_it_can() -> None:
    with pytest.raises(ConfigurationError, match=r"no server named 'oracle'; it starts redis, redis-cluster, "):
        missing("oracle")
    with (
        pytest.raises(
            ConfigurationError, match=r"faults: failover is not offered on redis; disk_full, kill, pause are$"
        ),
        start("redis", faults={"failover"}),
    ):
        pass


def test_a_fault_that_a_server_was_not_started_for_is_refused() -> None:
    with started("redis") as server:
        assert server.faults == {"kill", "pause"}
        with pytest.raises(
            ConfigurationError, match="disk_full is not offered on redis as it was started; kill, pause are"
        ):
            server.begin("disk_full")


def test_a_server_that_is_not_there_is_an_error_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("plusone.lab.servers.available.SYSTEM_PATH", "/nowhere")
    assert missing("redis") == "redis-server is not installed: apt-get install redis-server"
    with pytest.raises(ConfigurationError, match=r"^redis: redis-server is not installed: apt-get"), start("redis"):
        pass


def test_a_driver_that_is_not_there_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert missing("momento") == "its driver is not installed: pip install 'plusone[momento]'"


def test_without_a_leader_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STARTS_WITHIN_SECONDS", 0.1)
    with pytest.raises(ServerFailed, match="in vain for etcd to elect a leader"):
        etcd._elected([])
