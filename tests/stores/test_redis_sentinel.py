"""What is Redis Sentinel's own in the Redis store, on real sets: who is asked, and a promotion that loses counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

pytest.importorskip("redis")

from plusone import Counters
from plusone.errors import AcknowledgedDataLost, StoreRefused, StoreUnavailable
from plusone.lab.processes import ServerProcess, until
from plusone.lab.servers.redis import ask, redis_server
from plusone.lab.servers.redis import url_of as url_of_single
from plusone.lab.servers.redis_sentinel import SentinelSet, sentinel_set
from plusone.statistics import Limits
from plusone.stores.protocol import Answer
from plusone.stores.redis.settings import Settings
from plusone.stores.registry import StoreURL
from tests.conformance.harness import add, apply, asynchronous, opened, state
from tests.servers.redis import skip_without_redis
from tests.servers.redis import store_at as single_store_at
from tests.servers.redis_sentinel import own_prefix, store_at

skip_without_redis(own=True)


@pytest.fixture(scope="module")
def watched() -> Iterator[SentinelSet]:
    with sentinel_set() as found:
        yield found


@pytest.fixture
def url(watched: SentinelSet) -> Iterator[str]:
    yield from own_prefix(watched.url())


# A promotion.


async def count(counters: Counters, name: str, times: int) -> list[int]:
    """One after another, so that each is a batch of its own."""
    return [(await counters.increment(name)).value for _ in range(times)]


def lose_what_comes(watched: SentinelSet) -> None:
    """From here on the primary acknowledges what no replica will ever have.

    To let the replicas stand still is not enough: what is sent to them meanwhile waits in the kernel, and they would
    read it when they go on. So the primary cuts their links too, which they notice when it is gone.
    """
    for replica in watched.replicas:
        replica.pause()
    ask(watched.primary, "CLIENT", "KILL", "TYPE", "replica")
    until(lambda: "connected_slaves:0" in ask(watched.primary, "INFO", "replication"))


def fail_over(watched: SentinelSet) -> None:
    watched.primary.kill()
    for replica in watched.replicas:
        replica.resume()


def test_a_promotion_that_loses_acknowledged_counts(caplog: pytest.LogCaptureFixture) -> None:
    """It is found by the session, reported with its numbers, and counted on from exactly there; or stopped at."""
    caplog.set_level(logging.ERROR, logger="plusone.combiner")

    async def run(watched: SentinelSet) -> None:
        going_on, stopping = Limits(timeout=60, attempt_timeout=1), Limits(timeout=60, attempt_timeout=1, on_gap="stop")
        async with (
            Counters(store_at(watched.url()), limits=going_on) as one,
            Counters(store_at(watched.url()), limits=stopping) as other,
        ):
            assert await count(one, "votes", 10) == list(range(1, 11))
            assert await count(one, "untouched", 3) == [1, 2, 3]
            assert await count(other, "votes-2", 4) == [1, 2, 3, 4]
            assert ask(watched.primary, "WAIT", 2, 10_000) == 2
            lose_what_comes(watched)
            assert await count(one, "votes", 7) == list(range(11, 18))
            assert await count(other, "votes-2", 2) == [5, 6]
            await asyncio.to_thread(fail_over, watched)

            # 17 were acknowledged, and 7 of them are lost; what comes now is the 11th, and nothing is missing behind.
            assert await count(one, "votes", 20) == list(range(11, 31))
            assert (await one.get("votes")).value == 30
            statistics = one.statistics
            assert statistics.gaps_total == 1
            [gap] = statistics.recent_gaps
            assert (gap.key, gap.acked, gap.last) == ("default/votes", 20, 10)
            assert statistics.unknown_total == 0
            # A counter whose every batch was replicated has no gap.
            assert await count(one, "untouched", 2) == [4, 5]
            assert one.statistics.gaps_total == 1

            for _ in range(2):
                with pytest.raises(AcknowledgedDataLost):
                    await other.increment("votes-2")
            assert (await other.get("votes-2")).value == 4
            assert {(gap.key, gap.acked, gap.last) for gap in other.statistics.recent_gaps} == {
                ("default/votes-2", 6, 4)
            }
            assert await count(other, "new", 3) == [1, 2, 3]

    with sentinel_set(down_after_ms=500) as watched:
        asyncio.run(run(watched))
    messages = {record.getMessage() for record in caplog.records if record.name == "plusone.combiner"}
    lost = "the datastore lost acknowledged operations on"
    assert messages == {
        f"{lost} 'default/votes': it had acknowledged batch 20 of this writer, and the last that it has is 10",
        f"{lost} 'default/votes-2': it had acknowledged batch 6 of this writer, and the last that it has is 4",
    }


def test_a_promotion_that_loses_nothing() -> None:
    """Under load, with wait=2: what no replica had was not acknowledged, so every value is answered once."""

    async def run(watched: SentinelSet) -> None:
        url = watched.url(wait=2, wait_timeout=500)
        started, promoted = asyncio.Event(), asyncio.Event()

        async def caller(counters: Counters) -> list[int]:
            values: list[int] = []
            while not promoted.is_set():
                values += await count(counters, "votes", 1)
                if values[-1] >= 500:
                    started.set()
            return values

        async with Counters(store_at(url), limits=Limits(timeout=60, attempt_timeout=1)) as counters:
            callers = [asyncio.ensure_future(caller(counters)) for _ in range(16)]
            await started.wait()
            ask(watched.sentinels[0], "SENTINEL", "FAILOVER", "mymaster")
            await asyncio.to_thread(until, lambda: leads_elsewhere(watched))
            await asyncio.to_thread(until, lambda: asyncio.run(is_ready(watched)))
            promoted.set()
            values = sorted(value for each in await asyncio.gather(*callers) for value in each)
            assert values == list(range(1, len(values) + 1))
            assert (await counters.get("votes")).value == len(values)
            assert counters.statistics.gaps_total == 0

    with sentinel_set(down_after_ms=5_000) as watched:
        asyncio.run(run(watched))


def leads_elsewhere(watched: SentinelSet) -> bool:
    ports = {ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")[1] for sentinel in watched.sentinels}
    return len(ports) == 1 and str(watched.primary.port) not in ports


async def is_ready(watched: SentinelSet) -> bool:
    try:
        async with opened(store_at(watched.url(wait=2))) as store:
            await store.check()
    except StoreUnavailable:
        return False
    return True


# Who is asked.


@asynchronous
async def test_one_sentinel_that_answers_is_enough(watched: SentinelSet, url: str) -> None:
    """One is not there, one stands still, one answers; and is asked first from then on."""
    prefix = StoreURL.parse(url).query["prefix"]
    hosts = f"127.0.0.1:1,127.0.0.1:{watched.sentinels[0].port},127.0.0.1:{watched.sentinels[1].port}"
    with watched.sentinels[0].paused():
        async with opened(store_at(f"redis+sentinel://{hosts}/mymaster?prefix={prefix}&connect_timeout=300")) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
            async with asyncio.timeout(0.3):
                assert await store.sentinels.primary() == ("127.0.0.1", watched.primary.port)
            assert await state(store) == (1, 1, True)


@asynchronous
async def test_no_sentinel_that_answers_is_definite() -> None:
    store = store_at("redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster")
    with pytest.raises(StoreUnavailable):
        await store.open()
    with pytest.raises(StoreUnavailable):
        await apply(store, add(1))
    await store.close()


@asynchronous
async def test_a_primary_that_no_sentinel_knows_is_refused(watched: SentinelSet) -> None:
    with pytest.raises(StoreRefused, match="knows no primary 'other'; correct the store URL"):
        await store_at(watched.url("other")).open()


@asynchronous
async def test_a_server_that_is_no_sentinel_is_refused(watched: SentinelSet) -> None:
    with pytest.raises(StoreRefused):
        await store_at(f"redis+sentinel://127.0.0.1:{watched.primary.port}/mymaster").open()


@asynchronous
async def test_a_sentinel_is_no_single_server(watched: SentinelSet) -> None:
    with pytest.raises(StoreRefused, match=r"let the store URL begin with redis\+sentinel://"):
        await single_store_at(url_of_single(watched.sentinels[0])).open()


@asynchronous
async def test_who_is_named_but_is_no_primary_is_not_taken(watched: SentinelSet) -> None:
    """A sentinel may not have heard yet: it is doubted, nothing is sent, and another one is asked the next time."""
    with sentinel_set(replicas=0, sentinels=1) as other, redis_server() as its_primary:
        ask(other.primary, "REPLICAOF", "127.0.0.1", its_primary.port)
        hosts = f"127.0.0.1:{other.sentinels[0].port},127.0.0.1:{watched.sentinels[0].port}"
        store = store_at(f"redis+sentinel://{hosts}/mymaster")
        with pytest.raises(StoreUnavailable, match="is no primary yet, or no longer"):
            await store.open()
        async with opened(store):
            await store.check()


@asynchronous
async def test_a_primary_that_stands_still_is_left_for_the_next(url: str) -> None:
    """Idle connections to it are not tried one after the other: when one does not answer, none is taken again."""
    with sentinel_set(replicas=0, sentinels=1) as watched:
        async with opened(store_at(watched.url())) as store:
            await asyncio.gather(*(store.read(["default/counter"], strong=True) for _ in range(5)))
            assert len(store.primary.idle) == 5
            with watched.primary.paused():
                under_way = asyncio.ensure_future(apply(store, add(1)))
                done, _ = await asyncio.wait([under_way], timeout=0.05)
                assert not done
                under_way.cancel()
                await asyncio.wait([under_way])
                assert store.primary.idle == []
            assert await apply(store, add(1)) == Answer("duplicate", 0, 0, False)


@asynchronous
async def test_eventual_reads_go_to_a_replica(watched: SentinelSet, url: str) -> None:
    async with opened(store_at(f"{url}&eventual=replica&wait=2")) as store:
        assert store.capabilities.eventual_reads is True
        await apply(store, add(5))
        with watched.primary.paused():
            [record] = await store.read(["default/counter"], strong=False)
        assert (record.value, record.revision, record.exists) == (5, 1, True)
        assert await state(store) == (5, 1, True)
    with sentinel_set(replicas=0, sentinels=1) as alone:
        async with opened(store_at(alone.url(eventual="replica"))) as store:
            await apply(store, add(5))
            [record] = await store.read(["default/counter"], strong=False)
            assert record.value == 5


# Credentials, and the driver.


def guarded(server: ServerProcess) -> None:
    ask(server, "ACL", "SETUSER", "writer", "on", ">p@ss", "~*", "&*", "+@all")


@asynchronous
async def test_sentinels_get_the_password_only_where_it_is_theirs_too(watched: SentinelSet, url: str) -> None:
    hosts = url.removeprefix("redis+sentinel://")
    guarded(watched.primary)
    async with opened(store_at(f"redis+sentinel://writer:p%40ss@{hosts}")) as store:
        assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
    with pytest.raises(StoreRefused):
        await store_at(f"redis+sentinel://writer:p%40ss@{hosts}&sentinel_credentials=same").open()
    for sentinel in watched.sentinels:
        guarded(sentinel)
    async with opened(store_at(f"redis+sentinel://writer:p%40ss@{hosts}&sentinel_credentials=same")) as store:
        assert await state(store) == (1, 1, True)
    with pytest.raises(StoreRefused):
        await store_at(f"redis+sentinel://writer:wrong@{hosts}").open()


def test_the_driver_repeats_nothing() -> None:
    """We own retries: redis-py's own are off, towards sentinels as well."""
    found = Settings.from_url(StoreURL.parse("redis+sentinel://me:secret@h/main/3"))
    connection = found.connector("h", 1, sentinel=True)()
    assert connection.retry.get_retries() == 0
    assert connection.retry_on_error == []
    assert connection.retry_on_timeout is False
    assert connection.health_check_interval == 0
    assert (connection.db, connection.username, connection.password) == (0, None, None)
    assert found.connector("h", 1)().db == 3
