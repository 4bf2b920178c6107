"""Real Redis clusters for tests, or the user's own at `PLUSONE_TEST_REDIS_CLUSTER_URL`."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from functools import partial
from typing import Any, Final, Self
from urllib.parse import urlsplit

from redis.cluster import ClusterNode, RedisCluster

from plusone.lab.faults import Event, Faults
from plusone.lab.proxy import Proxy
from plusone.stores.redis.cluster_store import RedisClusterStore
from plusone.stores.registry import StoreURL
from tests.conformance.harness import store_of
from tests.servers.available import shared, users_url
from tests.servers.process import STARTS_WITHIN_SECONDS, ServerProcess, free_port
from tests.servers.redis import answers, ask, own_prefix_of, server_command

USERS_URL: Final = users_url("REDIS_CLUSTER")
store_at: Final = partial(store_of, RedisClusterStore)
_SLOTS: Final = 16_384
_LOOPBACK_ADDRESSES: Final = itertools.cycle(range(2, 255))


class RedisNode(ServerProcess):
    """A Redis that is one node of a cluster."""

    def __init__(self, *options: str) -> None:
        self.bus_port = free_port()
        cluster = (
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port), "--cluster-node-timeout", "5000"),
            # Nodes tell their ports only: who reaches one by another address reaches all of them by it.
            *("--cluster-preferred-endpoint-type", "unknown-endpoint"),
        )
        super().__init__("redis-node", lambda port, folder: server_command(port, folder, (*cluster, *options)), answers)

    def ask(self, *command: str | int) -> Any:
        """What it says to a command; bytes are decoded."""
        return ask(self, *command)

    @property
    def node_id(self) -> str:
        found: str = self.ask("CLUSTER", "MYID")
        return found

    def status(self) -> dict[str, str]:
        return dict(line.split(":", 1) for line in self.ask("CLUSTER", "INFO").split())


@contextmanager
def redis_cluster(nodes: int = 3, *options: str) -> Iterator[Sequence[RedisNode]]:
    """A cluster of so many primaries, each with its share of the slots."""
    with ExitStack() as stack:
        found = [stack.enter_context(RedisNode(*options)) for _ in range(nodes)]
        edges = [number * _SLOTS // nodes for number in range(nodes + 1)]
        for number, node in enumerate(found):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.ask("CLUSTER", "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
            if number:
                node.ask("CLUSTER", "MEET", "127.0.0.1", found[0].port, found[0].bus_port)
        until(lambda: all(is_whole(node, nodes) for node in found))
        yield found


@contextmanager
def replica_of(node: RedisNode, cluster: Sequence[RedisNode]) -> Iterator[RedisNode]:
    """One more node, which has what `node` has; behind this the others have forgotten it."""
    with RedisNode() as replica:
        replica.ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        until(lambda: is_whole(replica, len(cluster) + 1))
        replica.ask("CLUSTER", "REPLICATE", node.node_id)
        until(lambda: all(f", {replica.port}, " in str(each.ask("CLUSTER", "SLOTS")) for each in cluster))
        until(lambda: "master_link_status:up" in replica.ask("INFO", "replication"))
        try:
            yield replica
        finally:
            gone = replica.node_id
            for each in cluster:
                each.ask("CLUSTER", "FORGET", gone)


def is_whole(node: RedisNode, nodes: int) -> bool:
    status = node.status()
    return status["cluster_state"] == "ok" and status["cluster_known_nodes"] == str(nodes)


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


def until(holds: Callable[[], bool]) -> None:
    """Ask until it holds."""
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "the servers did not get there in time"
        time.sleep(0.01)


def url_of(nodes: Sequence[RedisNode], **parameters: str | int) -> str:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"redis+cluster://{hosts}" + (f"?{query}" if query else "")


class Together:
    """Servers that stand still, and crash, at the same time."""

    def __init__(self, servers: Sequence[ServerProcess]) -> None:
        self._servers = servers

    def pause(self) -> None:
        for server in self._servers:
            server.pause()

    def resume(self) -> None:
        for server in self._servers:
            server.resume()

    def restart(self) -> None:
        for server in self._servers:
            server.kill()
        for server in self._servers:
            server.start()


class ClusterProxy:
    """Every node of a cluster by way of a proxy, all with the same faults and one count of them.

    The proxies have the nodes' own ports, on an address of loopback that nobody else has: what the nodes tell of
    themselves, which is their ports, leads to the proxies again.
    """

    def __init__(self, target: str, faults: Faults) -> None:
        parts = urlsplit(target)
        self._host = f"127.0.0.{next(_LOOPBACK_ADDRESSES)}"
        nodes = StoreURL.parse(target).hosts(6_379)
        self._proxies = [Proxy(f"redis://{host}:{port}", faults, listen=(self._host, port)) for host, port in nodes]
        self.counts: Counter[Event] = Counter()
        for proxy in self._proxies:
            proxy.counts = self.counts
        self.url = parts._replace(netloc=",".join(f"{self._host}:{port}" for _, port in nodes)).geturl()

    @property
    def in_flight(self) -> int:
        return sum(proxy.in_flight for proxy in self._proxies)

    def deliver(self) -> None:
        for proxy in self._proxies:
            proxy.deliver()

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        for proxy in self._proxies:
            await self._stack.enter_async_context(proxy)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()


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
