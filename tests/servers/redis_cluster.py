"""Redis clusters for tests, or the user's own at `PLUSONE_TEST_REDIS_CLUSTER_URL`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from redis.cluster import ClusterNode, RedisCluster

from plusone.lab.servers.redis_cluster import RedisNode, redis_cluster, url_of
from plusone.stores.redis.cluster_store import RedisClusterStore
from plusone.stores.registry import StoreURL
from tests.conformance.harness import store_of
from tests.servers.available import shared, users_url
from tests.servers.redis import own_prefix_of

USERS_URL: Final = users_url("REDIS_CLUSTER")
store_at: Final = partial(store_of, RedisClusterStore)


def begin_move(slot: int, source: RedisNode, target: RedisNode) -> None:
    """From here on keys of the slot are on either of the two."""
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id)


def move_keys(slot: int, source: RedisNode, target: RedisNode, *, at_most: int = 1_000) -> int:
    """Move keys of the slot; how many there were."""
    keys = source.ask("CLUSTER", "GETKEYSINSLOT", slot, at_most)
    if keys:
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)
    return len(keys)


def end_move(slot: int, source: RedisNode, target: RedisNode) -> None:
    while move_keys(slot, source, target):
        pass
    for node in (target, source):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.node_id)


def all_know(slot: int, owner: RedisNode, nodes: Sequence[RedisNode]) -> bool:
    """Whether every node has heard by now whose the slot is."""
    return all(_owner_of(slot, node) == owner.port for node in nodes)


def _owner_of(slot: int, asked: RedisNode) -> int:
    [port] = [primary[1] for first, last, primary, *_ in asked.ask("CLUSTER", "SLOTS") if first <= slot <= last]
    return int(port)


def shared_url() -> AbstractContextManager[str]:
    """The URL of a cluster for many tests: the user's, or one that is started."""
    return shared("REDIS_CLUSTER", redis_cluster, url_of)


def own_prefix(url: str) -> Iterator[str]:
    """The URL with a key prefix of its own; behind it, what stands under that prefix is removed."""
    return own_prefix_of(url, client)


def client(url: str) -> RedisCluster:
    """redis-py's own client, for what a test does beside the store."""
    parsed = StoreURL.parse(url)
    nodes = [ClusterNode(host, port) for host, port in parsed.hosts(6_379)]  # type: ignore[no-untyped-call]
    return RedisCluster(
        startup_nodes=nodes,
        username=parsed.parts.username,
        password=parsed.parts.password,
        ssl=parsed.scheme.startswith("rediss"),
        protocol=2,
    )
