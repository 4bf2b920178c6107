"""Sentinel sets for tests, or the user's own at `PLUSONE_TEST_REDIS_SENTINEL_URL`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from redis import Redis, Sentinel

from plusone.lab.servers.redis_sentinel import SentinelSet, sentinel_set
from plusone.stores.redis.sentinel import RedisSentinelStore
from plusone.stores.registry import StoreURL
from tests.conformance.harness import store_of
from tests.servers.available import shared, users_url
from tests.servers.redis import own_prefix_of

USERS_URL: Final = users_url("REDIS_SENTINEL")
store_at: Final = partial(store_of, RedisSentinelStore)


def shared_url() -> AbstractContextManager[str]:
    """The URL of a set for many tests: the user's, or one that is started."""
    return shared("REDIS_SENTINEL", sentinel_set, SentinelSet.url)


def own_prefix(url: str) -> Iterator[str]:
    """The URL with a key prefix of its own; behind it, what stands under that prefix is removed."""
    return own_prefix_of(url, client)


def client(url: str) -> Redis:
    """redis-py's own client of the primary, for what a test does beside the store."""
    parsed = StoreURL.parse(url)
    name, _, database = parsed.parts.path.removeprefix("/").partition("/")
    credentials = {"username": parsed.parts.username, "password": parsed.parts.password, "db": int(database or 0)}
    found: Redis = Sentinel(parsed.hosts(26_379), protocol=2).master_for(name, **credentials)  # type: ignore[no-untyped-call]
    return found
