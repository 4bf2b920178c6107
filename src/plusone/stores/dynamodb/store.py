"""Counters in DynamoDB: an item each, and the protocol's one step as one conditional statement on it.

Up to 25 counters travel in one call, each with its own condition and answer. DynamoDB's expressions know no clock, so
the writers' clocks decide what has expired.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from plusone.clock import Clock
from plusone.errors import CorruptRecord, PlusoneError
from plusone.stores.dynamodb import reading, table
from plusone.stores.dynamodb.applying import Applying
from plusone.stores.dynamodb.item import before
from plusone.stores.dynamodb.keys import counter_key
from plusone.stores.dynamodb.settings import Settings
from plusone.stores.dynamodb.step import SESSIONS_KEPT
from plusone.stores.dynamodb.wire import Wire
from plusone.stores.protocol import Answer, Capabilities, GuardedAdd, Record
from plusone.stores.registry import StoreURL

_PROBE: Final = ("/", "/")
"""The key of an item that no counter has, for none has an empty account."""

_log = logging.getLogger("plusone.dynamodb")


class DynamoDBStore:
    """`dynamodb://[key:secret@]table`, with the credentials that AWS programs find if the URL has none. Parameters,
    all of them optional:

    `region` (the AWS environment's); `endpoint=http://host:port`, where another DynamoDB is than Amazon's; `ca_file`,
    whom TLS trusts instead of the system's own; `connect_timeout` (ms, 2,000); `connections` (32) is how many there may
    be at once.
    """

    CAPABILITIES = Capabilities(
        title="DynamoDB",
        schemes=("dynamodb",),
        durable="the loss of a zone: a write is in two of three before it is acknowledged",
        linearizable=True,
        survives_failover="all of them, within a region; global tables lose counts unless one region writes",
        failover_keeps=True,
        eventual_reads=True,
        lists=True,
        ttl_clock="writer",
        token_retention="kept for the retention",
        tokens_per_batch=99,
        pins_tokens=True,
        sessions_kept_minutes=60,
        sessions_kept=SESSIONS_KEPT,
        batches_per_call=25,
        calls_in_flight=4,
        tested_on="DynamoDB Local 3.1.0; Amazon's own was not run",
    )

    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> DynamoDBStore:
        return cls(Settings.from_url(url), clock=clock, token_retention_ms=token_retention_ms)

    def __init__(self, settings: Settings, *, clock: Clock, token_retention_ms: int) -> None:
        self.capabilities = self.CAPABILITIES
        self._settings = settings
        self._clock = clock
        self._opened = False
        self.wire = Wire(settings)
        self._applying = Applying(self.wire, settings.table, token_retention_ms)

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        """The table, paid by the request, and its removal of what is long dead."""
        wire = Wire(self._settings)
        try:
            await wire.open()
            return await table.prepare(wire, self._settings.table, dry_run=dry_run)
        finally:
            await wire.close()

    async def open(self) -> None:
        """Makes the table if the endpoint is on this machine; elsewhere it costs money, and `plusone setup` does."""
        if self._opened:
            return
        try:
            await self.wire.open()
            if self._settings.is_local:
                await table.prepare(self.wire, self._settings.table, dry_run=False)
            else:
                await table.require(self.wire, self._settings.table)
        except BaseException:
            # Nobody closes what never was open.
            await self.wire.close()
            raise
        self._opened = True

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        if not batch:
            return []
        return await self._applying.apply(batch, self._clock.wall_ms())

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        now_ms = self._clock.wall_ms()
        places = [counter_key(key) for key in keys]
        found = await reading.items(self.wire, self._settings.table, places, strong=strong, sessions=False)
        return [
            before(found[place], key).record(now_ms) if place in found else Record(0, 0, False, None)
            for key, place in zip(keys, places, strict=True)
        ]

    async def list(
        self, prefix: str, limit: int, page_token: str | None
    ) -> tuple[Sequence[tuple[str, Record]], str | None]:
        """Asks the account's 16 partitions one after the other, and reads nothing of other accounts."""
        now_ms = self._clock.wall_ms()
        items, following = await reading.page(self.wire, self._settings.table, prefix, limit, page_token, now_ms)
        found: list[tuple[str, Record]] = []
        for key, raw in items:
            try:
                found.append((key, before(raw, key).record(now_ms)))
            except CorruptRecord as error:
                _log.warning("%r is left out of a listing: %s", key, error)
        return found, following

    async def check(self) -> None:
        """Whether the table answers."""
        await reading.items(self.wire, self._settings.table, [_PROBE], strong=True, sessions=False)

    async def close(self) -> None:
        self._opened = False
        await self.wire.close()
