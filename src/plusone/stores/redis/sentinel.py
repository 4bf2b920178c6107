"""Counters on the primary that Redis Sentinel names, wherever it goes."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import msgspec
from redis.asyncio import Connection

from plusone.clock import Clock
from plusone.errors import StoreRefused, StoreUnavailable
from plusone.stores.redis.connections import Address, Connections, ask_any, command
from plusone.stores.redis.settings import Settings
from plusone.stores.redis.store import RedisStore
from plusone.stores.registry import StoreURL


class Sentinels:
    """Who knows where the primary is. Who did not answer, or was wrong, is asked last the next time."""

    def __init__(self, settings: Settings) -> None:
        self._name = settings.primary_name
        self._addresses = list(settings.hosts)
        self._connections = {
            host: Connections.to(
                settings.connector(*host, sentinel=True), 4, answer_timeout=settings.connect_timeout_ms / 1000
            )
            for host in settings.hosts
        }

    async def primary(self) -> Address:
        """Raises `StoreUnavailable` if no sentinel answers, and `StoreRefused` if none knows the primary's name."""
        question = command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
        return await ask_any(self._addresses, self._connections.__getitem__, question, self._read_primary)

    async def replica(self) -> Address | None:
        """Any of the replicas that are up and have the primary's data; None if there is none."""
        question = command("SENTINEL", "REPLICAS", self._name)
        found = await ask_any(self._addresses, self._connections.__getitem__, question, _read_replicas)
        return random.choice(found) if found else None

    def doubt(self) -> None:
        """What the last one said turned out to be wrong."""
        self._addresses.append(self._addresses.pop(0))

    async def close(self) -> None:
        for connections in self._connections.values():
            await connections.close()

    def _read_primary(self, reply: Any, asked: str) -> Address:
        if reply is None:
            raise StoreRefused(f"Redis: the sentinel at {asked} knows no primary {self._name!r}; correct the store URL")
        host, port = reply
        return host.decode(), int(port)


def _read_replicas(reply: Any, asked: str) -> list[Address]:
    replicas = [dict(zip(fields[::2], fields[1::2], strict=True)) for fields in reply]
    return [
        (fields[b"ip"].decode(), int(fields[b"port"]))
        for fields in replicas
        if fields[b"flags"] == b"slave" and fields[b"master-link-status"] == b"ok"
    ]


class PrimaryConnections(Connections):
    """To the primary that the sentinels name when a connection is made, if it takes itself for one too."""

    GREETING: ClassVar[bytes] = command("ROLE")

    def __init__(self, settings: Settings, sentinels: Sentinels) -> None:
        async def find() -> Connection:
            return settings.connector(*await sentinels.primary())()

        super().__init__(find, settings.connections)
        self._sentinels = sentinels

    def _check_greeting(self, reply: Any) -> None:
        if reply[0] != b"master":
            self._sentinels.doubt()
            raise StoreUnavailable(
                "Redis: the server that the sentinels name is no primary yet, or no longer; they are asked again"
            )

    async def _distrust(self) -> None:
        # The idle ones lead to the same server, which may be gone without a word.
        await self.close(gently=True)


class ReplicaConnections(Connections):
    """To one of the replicas that the sentinels name when a connection is made, or to the primary without any."""

    def __init__(self, settings: Settings, sentinels: Sentinels) -> None:
        async def find() -> Connection:
            return settings.connector(*(await sentinels.replica() or await sentinels.primary()))()

        super().__init__(find, settings.connections)

    async def _distrust(self) -> None:
        await self.close(gently=True)


class RedisSentinelStore(RedisStore):
    """`redis+sentinel://[user:password@]sentinel:port,sentinel:port/primary/db`. Parameters, all of them optional:

    `wait`, `wait_timeout`, `prefix`, `connect_timeout` and `connections` as for one server; with `eventual=replica`
    replicas answer eventual reads; with `sentinel_credentials=same` the sentinels get the user and password too.
    """

    CAPABILITIES = msgspec.structs.replace(
        RedisStore.CAPABILITIES,
        title="Redis Sentinel",
        schemes=("redis+sentinel",),
        linearizable=False,  # within one primary it is; one that was cut off goes on answering whoever is connected
        survives_failover="the last acknowledged ones may be lost (wait=N narrows that); a primary that was cut off may"
        " answer reads from before, until a sentinel reaches it",
        tested_on="Redis 7.0, a primary, two replicas and three sentinels; Valkey was not run",
    )

    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> RedisSentinelStore:
        return cls(Settings.from_url(url), token_retention_ms=token_retention_ms)

    def __init__(self, settings: Settings, *, token_retention_ms: int) -> None:
        super().__init__(settings, token_retention_ms=token_retention_ms)
        self.sentinels = Sentinels(settings)
        self.primary = PrimaryConnections(settings, self.sentinels)
        self.replica = self.primary
        if settings.eventual_from_replicas:
            self.replica = ReplicaConnections(settings, self.sentinels)

    async def _disconnect(self) -> None:
        await super()._disconnect()
        await self.sentinels.close()
