"""The suite on Redis: one server, one with a replica that every write must reach, and two that are killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("redis")

from plusone.lab.servers.redis import redis_replica, redis_server, url_of
from tests.conformance.crashes import Crashing, CrashSuite
from tests.conformance.faults import FaultSuite, IsApply
from tests.conformance.suite import ConformanceSuite
from tests.servers.redis import HAS_REDIS_SERVER, own_prefix, shared_url, skip_without_redis

skip_without_redis()


@pytest.fixture(scope="module")
def one_server() -> Iterator[str]:
    with shared_url() as url:
        yield url


@pytest.fixture(scope="module")
def with_a_replica() -> Iterator[str]:
    with redis_server() as primary, redis_replica(primary):
        yield url_of(primary, wait=1)


@pytest.fixture
def is_apply() -> IsApply:
    return lambda request: b"EVALSHA" in request[:64]


class TestRedis(ConformanceSuite, FaultSuite):
    @pytest.fixture
    def store_url(self, one_server: str) -> Iterator[str]:
        yield from own_prefix(one_server)


if HAS_REDIS_SERVER:  # a server of the user's has no replica that the tests know of, and may not be killed

    class TestRedisWithAReplica(ConformanceSuite):
        @pytest.fixture
        def store_url(self, with_a_replica: str) -> Iterator[str]:
            yield from own_prefix(with_a_replica)

    class TestRedisThatKeeps(CrashSuite):
        @pytest.fixture
        def crashing(self) -> Iterator[Crashing]:
            with redis_server("--appendonly", "yes", "--appendfsync", "always") as server, server.shown():
                yield Crashing(url_of(server), server, keeps=True)

    class TestRedisThatForgets(CrashSuite):
        @pytest.fixture
        def crashing(self) -> Iterator[Crashing]:
            with redis_server() as server, server.shown():
                yield Crashing(url_of(server), server, keeps=False)
