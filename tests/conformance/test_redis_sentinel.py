"""The suite on a Redis primary that sentinels watch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("redis")

from tests.conformance.faults import FaultSuite, IsApply
from tests.conformance.suite import ConformanceSuite
from tests.servers.redis import skip_without_redis
from tests.servers.redis_sentinel import USERS_URL, own_prefix, shared_url

skip_without_redis(own=USERS_URL is None)


@pytest.fixture(scope="module")
def sentinels() -> Iterator[str]:
    with shared_url() as url:
        yield url


@pytest.fixture
def is_apply() -> IsApply:
    return lambda request: b"EVALSHA" in request[:64]


class TestRedisSentinel(ConformanceSuite, FaultSuite):
    @pytest.fixture
    def store_url(self, sentinels: str) -> Iterator[str]:
        yield from own_prefix(sentinels)
