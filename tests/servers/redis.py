"""Redis for tests: what they do beside the store, and the user's own at `PLUSONE_TEST_REDIS_URL`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from redis import Redis, RedisCluster

from plusone.lab.servers.redis import missing, redis_server, url_of
from plusone.stores.redis.store import RedisStore
from tests.conformance.harness import store_of
from tests.servers.available import shared, skip_without

HAS_REDIS_SERVER: Final = missing() is None
skip_without_redis: Final = partial(skip_without, "REDIS", missing())
store_at: Final = partial(store_of, RedisStore)


def shared_url() -> AbstractContextManager[str]:
    """The URL of a server for many tests: the user's, or one that is started."""
    return shared("REDIS", redis_server, url_of)


def own_prefix(url: str) -> Generator[str]:
    """The URL with a key prefix of its own; behind it, what stands under that prefix is removed."""
    return own_prefix_of(url, client)


def own_prefix_of(url: str, client: Callable[[str], Redis | RedisCluster]) -> Generator[str]:
    prefix = f"test-{secrets.token_hex(8)}:"
    yield url + ("&" if "?" in url else "?") + f"prefix={prefix}"
    with client(url) as redis:
        for key in list(redis.scan_iter(match=prefix + "*", count=1_000)):
            redis.delete(key)


def client(url: str) -> Redis:
    """redis-py's own client, for what a test does beside the store."""
    address, _, _ = url.partition("?")
    return Redis.from_url(address, protocol=2)
