"""The suite on a Redis cluster of three nodes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("redis")

from tests.conformance.suite import ConformanceSuite
from tests.servers.redis import skip_without_redis
from tests.servers.redis_cluster import USERS_URL, own_prefix, shared_url

skip_without_redis(own=USERS_URL is None)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with shared_url() as url:
        yield url


class TestRedisCluster(ConformanceSuite):
    @pytest.fixture
    def store_url(self, cluster: str) -> Iterator[str]:
        yield from own_prefix(cluster)
