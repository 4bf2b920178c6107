"""Counters in a Redis cluster: keys and script as on one server, each counter at whoever has its slot."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableSequence, Sequence
from typing import Any

import msgspec
from redis.exceptions import TryAgainError

from plusone.clock import Clock
from plusone.errors import CorruptRecord, PlusoneError, StoreUnavailable
from plusone.stores.protocol import Answer, Capabilities, GuardedAdd, Record
from plusone.stores.redis import listing
from plusone.stores.redis.cluster import Call, Cluster
from plusone.stores.redis.connections import command
from plusone.stores.redis.errors import translate
from plusone.stores.redis.info import check_version, fact, parse_info, warn_of_losses
from plusone.stores.redis.keys import counter_key
from plusone.stores.redis.packing import pack_call, unpack_answers
from plusone.stores.redis.replies import definite, milliseconds, record, sound, with_replicas
from plusone.stores.redis.settings import Settings
from plusone.stores.redis.slots import slot_of
from plusone.stores.redis.store import SCRIPT, SCRIPT_ID
from plusone.stores.registry import StoreURL


class RedisClusterStore:
    """`redis+cluster://[user:password@]host:port,host:port`, and `rediss+cluster://` with TLS: some of the nodes.

    The others are asked of them. Parameters, all of them optional: `wait`, `wait_timeout`, `prefix`, `ca_file` and
    `connections` (to each node) as for one server; `node_timeout` (ms, 1,000) is how long a node may take to connect,
    and to answer; with `eventual=replica` replicas answer eventual reads.
    """

    CAPABILITIES = Capabilities(
        title="Redis Cluster",
        schemes=("redis+cluster", "rediss+cluster"),
        durable="what the nodes' persistence survives: with appendfsync everysec all but the last second",
        linearizable=False,  # within one primary it is; one that was cut off goes on answering for the node timeout
        survives_failover="the last acknowledged ones may be lost (wait=N narrows that); a primary that was cut off may"
        " answer reads from before, for seconds",
        eventual_reads=False,
        lists=True,
        ttl_clock="datastore",
        token_retention="kept for the retention, unless a node's maxmemory-policy evicts them",
        sessions_kept_minutes=5,
        batches_per_call=256,
        calls_in_flight=2,
        tested_on="Redis 7.0, a cluster of three; ElastiCache and Valkey were not run",
    )

    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> RedisClusterStore:
        return cls(Settings.from_url(url), token_retention_ms=token_retention_ms)

    def __init__(self, settings: Settings, *, token_retention_ms: int) -> None:
        self.capabilities = msgspec.structs.replace(self.CAPABILITIES, eventual_reads=settings.eventual_from_replicas)
        self.cluster = Cluster(settings)
        self._settings = settings
        self._token_retention_ms = token_retention_ms
        self._tail = command("WAIT", settings.wait, settings.wait_timeout_ms) if settings.wait else b""
        self._opened = False

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        """Nothing: keys are made when they are counted, and the script is loaded by whoever needs it."""
        return ()

    async def open(self) -> None:
        """Raises `StoreRefused` for nodes that are too old, and `StoreUnavailable` if there is none.

        Warns of nodes that may lose what they acknowledged.
        """
        if self._opened:
            return
        try:
            found = await self._ask_primaries(command("INFO") + command("SCRIPT", "LOAD", SCRIPT), 2)
            nodes: list[Mapping[str, str]] = []
            for replies in found.values():
                if isinstance(replies, PlusoneError):
                    continue  # a node that is away keeps nobody from counting on the others
                facts = parse_info(replies[0])
                check_version(facts)
                definite(replies[1])
                nodes.append(facts)
            warn_of_losses(nodes)
        except BaseException:
            await self.cluster.close()
            raise
        self._opened = True

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        """One call of the script for each slot, all those for a node in one exchange."""
        by_slot: dict[int, list[int]] = {}
        for index, request in enumerate(batch):
            by_slot.setdefault(slot_of(request.key), []).append(index)
        answers: list[Answer | PlusoneError] = [StoreUnavailable("Redis: not asked")] * len(batch)
        apart = await self._evaluate(list(by_slot.items()), batch, answers)
        if apart:
            await self._evaluate(apart, batch, answers)
        return answers

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        replica = self._settings.eventual_from_replicas and not strong
        return sound(keys, await self._read(keys, replica=replica))

    async def list(
        self, prefix: str, limit: int, page_token: str | None
    ) -> tuple[Sequence[tuple[str, Record]], str | None]:
        """One primary's SCAN after the other's. It is complete if no slot moves from one to another meanwhile.

        A slot that has moved between two pages is noticed, and the listing begins anew.
        """
        layout = await self.cluster.layout(fresh=True)
        servers = [self.cluster.primary(shard.primary) for shard in layout.shards]
        keys, following = await listing.page(
            servers, layout.fingerprint, self._settings.prefix, prefix, limit, page_token
        )
        return listing.living(keys, await self._read(keys)), following

    async def check(self) -> None:
        """Whether every node is there, serves, and has as many replicas as `wait` asks for."""
        found = await self._ask_primaries(command("CLUSTER", "INFO") + command("INFO", "replication"), 2, fresh=True)
        wait = self._settings.wait
        for (host, port), replies in found.items():
            if isinstance(replies, PlusoneError):
                raise replies
            state = fact(parse_info(replies[0]), "cluster_state")
            if state != "ok":
                raise StoreUnavailable(f"Redis: {host}:{port} says cluster_state:{state}; see CLUSTER INFO there")
            if wait and (replicas := int(fact(parse_info(replies[1]), "connected_slaves"))) < wait:
                raise StoreUnavailable(
                    f"Redis: {host}:{port} has {replicas} replicas connected, and wait={wait}: connect more"
                )

    async def close(self) -> None:
        self._opened = False
        await self.cluster.close()

    async def _evaluate(
        self,
        groups: Sequence[tuple[int, Sequence[int]]],
        batch: Sequence[GuardedAdd],
        answers: MutableSequence[Answer | PlusoneError],
    ) -> Sequence[tuple[int, Sequence[int]]]:
        """Run the script once for each group of a slot; returns the groups that have to be taken apart.

        While a slot moves, keys of it that are already there and keys that are still here cannot go in one call.
        """
        settings = self._settings
        parts = [[batch[index] for index in indexes] for _, indexes in groups]
        calls: list[Call] = []
        for (slot, _), part in zip(groups, parts, strict=True):
            keys, packed = pack_call(
                part, prefix=settings.prefix, waits=settings.wait > 0, token_retention_ms=self._token_retention_ms
            )
            calls.append(Call(slot, command("EVALSHA", SCRIPT_ID, len(keys), *keys, packed)))
        apart: list[tuple[int, Sequence[int]]] = []
        replies = await self.cluster.ask(calls, tail=self._tail, script=SCRIPT)
        for (slot, indexes), part, reply in zip(groups, parts, replies, strict=True):
            if isinstance(reply.answer, TryAgainError) and len(indexes) > 1:
                apart += [(slot, [index]) for index in indexes]
                continue
            found: Sequence[Answer | PlusoneError]
            if isinstance(reply.answer, Exception):
                found = [translate(reply.answer)] * len(indexes)
            else:
                found = unpack_answers(reply.answer, part)
                if settings.wait:
                    found = with_replicas(found, reply.tail, settings.wait)
            for index, answer in zip(indexes, found, strict=True):
                answers[index] = answer
        return apart

    async def _read(self, keys: Sequence[str], *, replica: bool = False) -> Sequence[Record | CorruptRecord]:
        prefix = self._settings.prefix
        calls = [Call(slot_of(key), command("HGET", counter_key(prefix, key), "s")) for key in keys]
        # The time first: a record that was alive then, and is found unchanged, was alive during this call.
        replies = await self.cluster.ask(calls, head=command("TIME"), replica=replica)
        return [
            record(reply.answer, 0 if isinstance(reply.answer, Exception) else milliseconds(reply.head))
            for reply in replies
        ]

    async def _ask_primaries(
        self, commands: bytes, replies: int, *, fresh: bool = False
    ) -> Mapping[tuple[str, int], Sequence[Any] | PlusoneError]:
        """What each primary says, or why it does not; raises if none does, or one never will."""
        layout = await self.cluster.layout(fresh=fresh)

        async def ask(address: tuple[str, int]) -> Sequence[Any] | PlusoneError:
            try:
                return await self.cluster.primary(address).exchange(commands, replies)
            except StoreUnavailable as error:
                return error

        addresses = [shard.primary for shard in layout.shards]
        found = dict(zip(addresses, await asyncio.gather(*map(ask, addresses)), strict=True))
        failures = [error for error in found.values() if isinstance(error, PlusoneError)]
        if len(failures) == len(found):
            raise failures[0]
        return found
