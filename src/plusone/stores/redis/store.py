"""Counters in Redis or Valkey: one hash each, and one Lua script that is the protocol's one step.

The server's clock decides what has expired. Acknowledged operations are as durable as the server's persistence and
replication make them; with `wait=N` in the URL an operation is acknowledged when N replicas have it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import NoScriptError

from plusone.clock import Clock
from plusone.errors import CorruptRecord, PlusoneError, StoreUnavailable
from plusone.stores import resources
from plusone.stores.protocol import Answer, Capabilities, GuardedAdd, Record
from plusone.stores.redis import listing
from plusone.stores.redis.connections import Connections, command
from plusone.stores.redis.errors import no_answer, translate
from plusone.stores.redis.info import check_mode, check_version, fact, parse_info, warn_of_losses
from plusone.stores.redis.keys import counter_key
from plusone.stores.redis.packing import pack_call, unpack_answers
from plusone.stores.redis.replies import definite, milliseconds, record, sound, with_replicas
from plusone.stores.redis.settings import Settings
from plusone.stores.registry import StoreURL

SCRIPT: Final = resources.text(__package__, "step.lua").encode()
SCRIPT_ID: Final = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()


class RedisStore:
    """`redis://[user:password@]host:port/db`, and `rediss://` with TLS. Parameters, all of them optional:

    `wait=N` acknowledges what N replicas have, within `wait_timeout` (ms, 1,000); `replica=host:port` is where eventual
    reads go; `prefix` begins every key ("plusone:"); `ca_file` is whom TLS trusts besides the system's own;
    `connect_timeout` (ms, 2,000); `connections` (32) is how many there may be at once.
    """

    CAPABILITIES = Capabilities(
        title="Redis, Valkey",
        schemes=("redis", "rediss"),
        durable="what the server's persistence survives: with appendfsync everysec all but the last second",
        linearizable=True,
        survives_failover="the last acknowledged ones may be lost; wait=N narrows that",
        eventual_reads=False,
        lists=True,
        ttl_clock="datastore",
        token_retention="kept for the retention, unless the server's maxmemory-policy evicts them",
        sessions_kept_minutes=5,
        batches_per_call=256,
        calls_in_flight=2,
        tested_on="Redis 7.0, one server and a replica; ElastiCache and Valkey were not run",
    )

    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> RedisStore:
        return cls(Settings.from_url(url), token_retention_ms=token_retention_ms)

    def __init__(self, settings: Settings, *, token_retention_ms: int) -> None:
        eventual_reads = settings.replica is not None or settings.eventual_from_replicas
        self.capabilities = msgspec.structs.replace(self.CAPABILITIES, eventual_reads=eventual_reads)
        self._settings = settings
        self._token_retention_ms = token_retention_ms
        self.primary = Connections.to(settings.connector(*settings.hosts[0]), settings.connections)
        self.replica = self.primary
        if settings.replica is not None:
            self.replica = Connections.to(settings.connector(*settings.replica), settings.connections)
        self._opened = False

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        """Nothing: keys are made when they are counted, and the script is loaded by whoever needs it."""
        return ()

    async def open(self) -> None:
        """Raises `StoreRefused` for a server that is too old; warns of one that may lose what it acknowledged."""
        if self._opened:
            return
        try:
            await self._prepare()
        except BaseException:
            # Nobody closes what never was open.
            await self._disconnect()
            raise
        self._opened = True

    async def _prepare(self) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_timeout_ms * len(self._settings.hosts) / 1000):
                info, loaded = await self.primary.exchange(command("INFO") + command("SCRIPT", "LOAD", SCRIPT), 2)
        except TimeoutError:
            raise no_answer(tls=self._settings.tls) from None
        facts = parse_info(info)
        check_version(facts)
        check_mode(facts)
        definite(loaded)
        warn_of_losses([facts])

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        if not batch:
            return []
        settings = self._settings
        keys, packed = pack_call(
            batch,
            prefix=settings.prefix,
            waits=settings.wait > 0,
            token_retention_ms=self._token_retention_ms,
        )
        replies = await self._evaluate("EVALSHA", SCRIPT_ID, keys, packed)
        if isinstance(replies[0], NoScriptError):
            # The server forgot its scripts (a restart, a failover): it ran nothing, so this repeats nothing.
            replies = await self._evaluate("EVAL", SCRIPT, keys, packed)
        if isinstance(replies[0], Exception):
            raise translate(replies[0])
        answers = unpack_answers(replies[0], batch)
        if settings.wait:
            return with_replicas(answers, replies[1], settings.wait)
        return answers

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        return sound(keys, await self._read(keys, self.primary if strong else self.replica))

    async def list(
        self, prefix: str, limit: int, page_token: str | None
    ) -> tuple[Sequence[tuple[str, Record]], str | None]:
        """Goes by SCAN: its cost grows with everything in the database, and other programs' keys make pages short."""
        servers = [self.primary]
        keys, following = await listing.page(servers, "", self._settings.prefix, prefix, limit, page_token)
        return listing.living(keys, await self._read(keys, self.primary)), following

    async def check(self) -> None:
        """Whether the server is a primary, and has as many replicas as `wait` asks for."""
        [reply] = await self.primary.exchange(command("INFO", "replication"))
        facts = parse_info(reply)
        if fact(facts, "role") != "master":
            raise StoreUnavailable(
                "Redis: the server is a replica; operations need the primary: name it in the store URL"
            )
        wait = self._settings.wait
        if wait and (replicas := int(fact(facts, "connected_slaves"))) < wait:
            raise StoreUnavailable(f"Redis: {replicas} replicas are connected, and wait={wait}: connect more")

    async def close(self) -> None:
        self._opened = False
        await self._disconnect()

    async def _disconnect(self) -> None:
        await self.primary.close()
        if self.replica is not self.primary:
            await self.replica.close()

    async def _evaluate(self, how: str, script: str | bytes, keys: Sequence[str], packed: bytes) -> Sequence[Any]:
        """Run the script, and have WAIT speak for it on the same connection."""
        call = command(how, script, len(keys), *keys, packed)
        settings = self._settings
        if settings.wait:
            return await self.primary.exchange(call + command("WAIT", settings.wait, settings.wait_timeout_ms), 2)
        return await self.primary.exchange(call)

    async def _read(self, keys: Sequence[str], server: Connections) -> Sequence[Record | CorruptRecord]:
        if not keys:
            return []
        prefix = self._settings.prefix
        # The time first: a record that was alive then, and is found unchanged, was alive during this call.
        commands = [command("TIME"), *(command("HGET", counter_key(prefix, key), "s") for key in keys)]
        time, *states = await server.exchange(b"".join(commands), len(commands))
        now_ms = milliseconds(time)
        return [record(state, now_ms) for state in states]
