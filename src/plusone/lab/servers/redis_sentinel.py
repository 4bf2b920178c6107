"""A Redis primary, its replicas, and the sentinels that watch them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from plusone.lab.processes import ServerProcess, all_of, until
from plusone.lab.programs import ServerFailed
from plusone.lab.servers.available import with_parameters
from plusone.lab.servers.redis import (
    answers,
    ask,
    durability,
    durability_in_words,
    follows,
    missing,
    reaches,
    server_command,
    version,
)
from plusone.lab.servers.started import Harm, ServerFault, Started, and_then, to_all

__all__ = ["PRIMARY_NAME", "SentinelSet", "missing", "sentinel_set", "start"]

_DOWN_AFTER_MS: Final = 5_000
"""A server of the lab's that stands still for less is not replaced."""

_LAG_SECONDS: Final = 0.3
"""How far the replicas are behind a primary that is lost."""
_NOBODY: Final = 1
"""A port at which nobody listens."""

PRIMARY_NAME: Final = "mymaster"
_CONFIGURATION: Final = "redis.conf"


class SentinelSet(msgspec.Struct, frozen=True):
    """A primary, its replicas, and those who watch them."""

    primary: ServerProcess
    replicas: Sequence[ServerProcess]
    sentinels: Sequence[ServerProcess]

    def url(self, name: str = PRIMARY_NAME, **parameters: str | int) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return with_parameters(f"redis+sentinel://{hosts}/{name}/0", parameters)

    @property
    def servers(self) -> Sequence[ServerProcess]:
        return (self.primary, *self.replicas)

    @property
    def leader(self) -> ServerProcess | None:
        """Whom all sentinels name as the primary, and who is it; None while there is no such server."""
        addresses = {
            ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY_NAME)[1] for sentinel in self.sentinels
        }
        named = [server for server in self.servers if {str(server.port)} == addresses and server.runs]
        return next((server for server in named if ask(server, "ROLE")[0] == "master"), None)

    @property
    def is_whole(self) -> bool:
        """Whether all servers and sentinels are there, and know of one another."""
        leader = self.leader
        followers = [server for server in self.servers if server is not leader]
        return (
            leader is not None
            and all(_knows(sentinel, len(self.replicas), len(self.sentinels)) for sentinel in self.sentinels)
            and all(follows(server, leader) for server in followers)
        )


@contextmanager
def sentinel_set(
    *options: str, replicas: int = 2, sentinels: int = 3, down_after_ms: int = 30_000
) -> Iterator[SentinelSet]:
    """A set that all of its sentinels know; `options` are those of its servers."""
    with ExitStack() as stack:
        primary = stack.enter_context(_server(None, options))
        followers = stack.enter_context(all_of([_server(primary.port, options) for _ in range(replicas)]))
        until(lambda: reaches(primary, replicas), "writes to reach every replica")
        quorum = sentinels // 2 + 1
        watchers = [_sentinel(primary.port, quorum, down_after_ms) for _ in range(sentinels)]
        stack.enter_context(all_of(watchers))
        until(lambda: all(_knows(sentinel, replicas, sentinels) for sentinel in watchers), "the sentinels to agree")
        yield SentinelSet(primary, followers, watchers)


@contextmanager
def start(*, keeps: bool, faults: frozenset[ServerFault]) -> Iterator[Started]:
    with sentinel_set(*durability(keeps), down_after_ms=_DOWN_AFTER_MS) as watched:
        harms = to_all(watched.servers)
        harms["kill"] = and_then(harms["kill"], lambda: until(lambda: watched.is_whole, "the sentinels to agree"))
        harms["failover"] = _failover(watched)
        title = f"Redis Sentinel {version()}, a primary and two replicas, {durability_in_words(keeps)}"
        yield Started(name="redis-sentinel", title=title, url=watched.url(), keeps=keeps, harms=harms)


def _failover(watched: SentinelSet) -> Harm:
    killed: list[ServerProcess] = []

    def begin() -> str:
        before = watched.leader
        if before is None:
            raise ServerFailed("the sentinels name no primary that could be killed; let the last fault end first")
        # Replication is asynchronous: what the replicas have not received by now is lost. On one machine that would be
        # next to nothing, so that they are cut off from the primary first, as by a network that fails before it does.
        for replica in watched.servers:
            if replica is not before:
                ask(replica, "REPLICAOF", "127.0.0.1", _NOBODY)
        time.sleep(_LAG_SECONDS)
        before.kill()
        killed.append(before)
        until(lambda: watched.leader is not None, "the sentinels to promote a replica")
        after = watched.leader
        return (
            f"SIGKILL to the primary at {before.port}, whose replicas were cut off {_LAG_SECONDS} s before; "
            f"the one at {after.port if after else '?'} was promoted"
        )

    def end() -> None:
        while killed:
            server, leader = killed.pop(), watched.leader
            assert leader is not None
            # As whoever operates it would start it again. By itself it would be a second primary until, after 8 s, the
            # sentinels made it a replica.
            with (server.folder / _CONFIGURATION).open("a") as configuration:
                configuration.write(f"\nreplicaof 127.0.0.1 {leader.port}\n")
            server.start()
        until(lambda: watched.is_whole, "the old primary to follow")

    return Harm(begin, end)


def _server(primary_port: int | None, options: Sequence[str]) -> ServerProcess:
    """A server whose role stands in its configuration's file, where the sentinels' decisions are written as well."""

    def command(port: int, folder: Path) -> Sequence[str]:
        configuration = folder / _CONFIGURATION
        if not configuration.exists():
            role = "" if primary_port is None else f"replicaof 127.0.0.1 {primary_port}\n"
            configuration.write_text(role, encoding="utf-8")
        program, *rest = server_command(port, folder, options)
        return (program, str(configuration), *rest)

    return ServerProcess("redis-server", command, answers)


def _sentinel(primary_port: int, quorum: int, down_after_ms: int) -> ServerProcess:
    def command(port: int, folder: Path) -> Sequence[str]:
        configuration = folder / "sentinel.conf"
        if not configuration.exists():  # it writes what it learns into it
            lines = [
                f"port {port}",
                "bind 127.0.0.1",
                f"dir {folder}",
                f"sentinel monitor {PRIMARY_NAME} 127.0.0.1 {primary_port} {quorum}",
                f"sentinel down-after-milliseconds {PRIMARY_NAME} {down_after_ms}",
                f"sentinel failover-timeout {PRIMARY_NAME} 3000",
            ]
            configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return ("redis-server", str(configuration), "--sentinel")

    return ServerProcess("redis-sentinel", command, answers)


def _knows(sentinel: ServerProcess, replicas: int, sentinels: int) -> bool:
    known = _fields(ask(sentinel, "SENTINEL", "MASTER", PRIMARY_NAME))
    found = map(_fields, ask(sentinel, "SENTINEL", "REPLICAS", PRIMARY_NAME))
    ready = [each for each in found if each["flags"] == "slave" and each["master-link-status"] == "ok"]
    return len(ready) == replicas and int(known["num-other-sentinels"]) == sentinels - 1


def _fields(reply: Sequence[str]) -> dict[str, str]:
    return dict(zip(reply[::2], reply[1::2], strict=True))
