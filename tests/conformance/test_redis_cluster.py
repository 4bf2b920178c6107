"""The suite on a Redis cluster of three nodes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("redis")

from plusone.lab.processes import Together
from plusone.lab.servers.redis_cluster import redis_cluster, url_of
from tests.conformance.crashes import Crashing, CrashSuite
from tests.conformance.faults import FaultSuite, IsApply
from tests.conformance.suite import ConformanceSuite
from tests.servers.redis import HAS_REDIS_SERVER, skip_without_redis
from tests.servers.redis_cluster import USERS_URL, own_prefix, shared_url

skip_without_redis(own=USERS_URL is None)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with shared_url() as url:
        yield url


@pytest.fixture
def is_apply() -> IsApply:
    return lambda request: b"EVALSHA" in request[:64]


class TestRedisCluster(ConformanceSuite, FaultSuite):
    @pytest.fixture
    def store_url(self, cluster: str) -> Iterator[str]:
        yield from own_prefix(cluster)


if HAS_REDIS_SERVER:  # a user's cluster may not be killed

    class TestRedisClusterThatKeeps(CrashSuite):
        @pytest.fixture
        def crashing(self) -> Iterator[Crashing]:
            with redis_cluster(3, "--appendonly", "yes", "--appendfsync", "always") as nodes:
                yield Crashing(url_of(nodes), Together(nodes), keeps=True)

    class TestRedisClusterThatForgets(CrashSuite):
        @pytest.fixture
        def crashing(self) -> Iterator[Crashing]:
            with redis_cluster(3) as nodes:
                yield Crashing(url_of(nodes), Together(nodes), keeps=False)
