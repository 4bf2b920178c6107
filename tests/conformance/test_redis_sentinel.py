"""The suite on a Redis primary that sentinels watch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

pytest.importorskip("redis")

from plusone.lab.servers.redis_sentinel import SentinelProxy, SentinelSet, sentinel_set
from tests.conformance.faults import FaultSuite, IsApply, Proxied
from tests.conformance.suite import ConformanceSuite
from tests.servers.redis import skip_without_redis
from tests.servers.redis_sentinel import USERS_URL, own_prefix, shared_url

skip_without_redis(own=USERS_URL is None)


@pytest.fixture(scope="module")
def sentinels() -> Iterator[str]:
    with shared_url() as url:
        yield url


@pytest.fixture(scope="module")
def alone() -> Iterator[SentinelSet]:
    with sentinel_set(replicas=0, sentinels=1) as found:
        yield found


@pytest.fixture
def is_apply() -> IsApply:
    return lambda request: b"EVALSHA" in request[:64]


class TestRedisSentinel(ConformanceSuite):
    @pytest.fixture
    def store_url(self, sentinels: str) -> Iterator[str]:
        yield from own_prefix(sentinels)


if USERS_URL is None:  # a sentinel of the user's is not told what to watch

    class TestRedisSentinelThroughFaults(FaultSuite):
        @pytest.fixture
        def store_url(self, alone: SentinelSet) -> Iterator[str]:
            yield from own_prefix(alone.url())

        @pytest.fixture
        def proxied(self, alone: SentinelSet) -> Proxied:
            return partial(SentinelProxy, alone)
