"""A Redis primary, its replicas, and the sentinels that watch them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import msgspec

from plusone.lab.faults import Faults
from plusone.lab.processes import ServerProcess, until
from plusone.lab.proxy import Proxy
from plusone.lab.servers.available import with_parameters
from plusone.lab.servers.redis import answers, ask, missing, redis_replica, redis_server, url_of

__all__ = ["PRIMARY_NAME", "SentinelProxy", "SentinelSet", "missing", "sentinel_set"]

PRIMARY_NAME: Final = "mymaster"


class SentinelSet(msgspec.Struct, frozen=True):
    """A primary, its replicas, and those who watch them."""

    primary: ServerProcess
    replicas: Sequence[ServerProcess]
    sentinels: Sequence[ServerProcess]

    def url(self, name: str = PRIMARY_NAME, **parameters: str | int) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return with_parameters(f"redis+sentinel://{hosts}/{name}/0", parameters)


@contextmanager
def sentinel_set(
    *options: str, replicas: int = 2, sentinels: int = 3, down_after_ms: int = 30_000
) -> Iterator[SentinelSet]:
    """A set that all of its sentinels know; `options` are the primary's."""
    with ExitStack() as stack:
        primary = stack.enter_context(redis_server(*options))
        followers = [stack.enter_context(redis_replica(primary, number + 1)) for number in range(replicas)]
        quorum = sentinels // 2 + 1
        watchers = [stack.enter_context(_sentinel(primary.port, quorum, down_after_ms)) for _ in range(sentinels)]
        until(lambda: all(_knows(sentinel, replicas, sentinels) for sentinel in watchers))
        yield SentinelSet(primary, followers, watchers)


class SentinelProxy:
    """A primary without replicas by way of a proxy, which its one sentinel is told to watch under another name.

    Replicas would be told by the sentinel to follow the proxy.
    """

    def __init__(self, watched: SentinelSet, target: str, faults: Faults) -> None:
        [self._sentinel] = watched.sentinels
        self._name = f"proxied-{secrets.token_hex(4)}"
        self._proxy = Proxy(url_of(watched.primary), faults)
        self.counts = self._proxy.counts
        self.url = urlsplit(target)._replace(path=f"/{self._name}/0").geturl()

    @property
    def in_flight(self) -> int:
        return self._proxy.in_flight

    def deliver(self) -> None:
        self._proxy.deliver()

    async def __aenter__(self) -> Self:
        await self._proxy.__aenter__()
        monitor = ("SENTINEL", "MONITOR", self._name, "127.0.0.1", self._proxy.port, 1)
        await asyncio.to_thread(ask, self._sentinel, *monitor)
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(ask, self._sentinel, "SENTINEL", "REMOVE", self._name)
        await self._proxy.__aexit__(None, None, None)


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
