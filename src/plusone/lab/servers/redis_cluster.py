"""Redis clusters."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from plusone.lab.processes import ServerProcess, all_of, free_port, until
from plusone.lab.servers.available import with_parameters
from plusone.lab.servers.redis import (
    answers,
    ask,
    durability,
    durability_in_words,
    follows,
    missing,
    server_command,
    version,
)
from plusone.lab.servers.started import Harm, ServerFault, Started, and_then, to_all

__all__ = ["RedisNode", "is_whole", "missing", "redis_cluster", "replica_of", "start", "url_of"]

NODE_TIMEOUT_MS: Final = 5_000
"""A node that stands still for less is not replaced."""
_SLOTS: Final = 16_384


class RedisNode(ServerProcess):
    """A Redis that is one node of a cluster."""

    def __init__(self, *options: str) -> None:
        self.bus_port = free_port()
        cluster = (
            *(
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                str(self.bus_port),
                "--cluster-node-timeout",
                str(NODE_TIMEOUT_MS),
            ),
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
def start(*, keeps: bool, faults: frozenset[ServerFault]) -> Iterator[Started]:
    options = durability(keeps)
    with redis_cluster(3, *options) as primaries, all_of([RedisNode(*options) for _ in primaries]) as replicas:
        nodes = [*primaries, *replicas]
        # Nodes tell one another all they know every half of their timeout.
        for node in nodes:
            node.ask("CONFIG", "SET", "cluster-node-timeout", 500)
        for primary, replica in zip(primaries, replicas, strict=True):
            replica.ask("CLUSTER", "MEET", "127.0.0.1", primary.port, primary.bus_port)
        until(lambda: all(is_whole(node, len(nodes)) for node in nodes), "the nodes to know one another")
        for primary, replica in zip(primaries, replicas, strict=True):
            replica.ask("CLUSTER", "REPLICATE", primary.node_id)
        until(lambda: all(follows(*pair) for pair in zip(replicas, primaries, strict=True)), "the replicas to follow")
        until(lambda: all(_knows_replicas(node, len(replicas)) for node in nodes), "the nodes to know the replicas")
        for node in nodes:
            node.ask("CONFIG", "SET", "cluster-node-timeout", NODE_TIMEOUT_MS)
        harms = to_all(nodes)
        harms["kill"] = and_then(
            harms["kill"],
            lambda: until(lambda: all(is_whole(node, len(nodes)) for node in nodes), "the nodes to agree"),
        )
        harms["failover"] = _failover(nodes)
        title = f"Redis Cluster {version()}, three primaries with a replica each, {durability_in_words(keeps)}"
        yield Started(name="redis-cluster", title=title, url=url_of(nodes), keeps=keeps, harms=harms)


def _failover(nodes: Sequence[RedisNode]) -> Harm:
    """Of one of the primaries that has a replica; which one changes with each."""
    killed: list[tuple[RedisNode, RedisNode]] = []
    turns = itertools.count()

    def begin() -> str:
        pairs = [(one, other) for one in nodes for other in nodes if one is not other and follows(other, one)]
        primary, replica = pairs[next(turns) % len(pairs)]
        primary.kill()
        killed.append((primary, replica))
        alive = [node for node in nodes if node.runs]
        until(lambda: replica.ask("ROLE")[0] == "master", "a replica to be promoted")
        until(lambda: all(is_whole(node, len(nodes)) for node in alive), "the nodes to agree")
        return f"SIGKILL to the primary at {primary.port}; its replica at {replica.port} was promoted"

    def end() -> None:
        while killed:
            old, new = killed.pop()
            old.start()
            until(lambda: follows(old, new), "the old primary to follow")  # noqa: B023  # called at once
        until(lambda: all(is_whole(node, len(nodes)) for node in nodes), "the nodes to agree")

    return Harm(begin, end)


def _knows_replicas(node: RedisNode, replicas: int) -> bool:
    roles = [line.split()[2].split(",") for line in str(node.ask("CLUSTER", "NODES")).splitlines()]
    return sum("slave" in role for role in roles) == replicas


@contextmanager
def redis_cluster(nodes: int = 3, *options: str) -> Iterator[Sequence[RedisNode]]:
    """A cluster of so many primaries, each with its share of the slots."""
    with ExitStack() as stack:
        found = stack.enter_context(all_of([RedisNode(*options) for _ in range(nodes)]))
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


def url_of(nodes: Sequence[RedisNode], **parameters: str | int) -> str:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    return with_parameters(f"redis+cluster://{hosts}", parameters)
