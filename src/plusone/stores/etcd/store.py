"""Counters in etcd: one key each, decided in Python and applied by transactions that compare.

What a call last saw of a counter is remembered, so that a counter that nobody else writes takes one round trip. etcd
acknowledges what most members have on disk, and reads are linearizable; transactions see no clock, so that writers'
clocks decide what has expired.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from aetcd import rpc

from plusone.clock import Clock
from plusone.errors import CorruptRecord, OutcomeUnknown, PlusoneError, StoreUnavailable
from plusone.stores import paging
from plusone.stores.etcd import records
from plusone.stores.etcd.attempt import Attempt, transaction
from plusone.stores.etcd.connections import Connections
from plusone.stores.etcd.errors import is_lease_lost, is_out_of_space, out_of_space
from plusone.stores.etcd.leases import Leases
from plusone.stores.etcd.settings import Settings
from plusone.stores.etcd.sweeping import Sweeper
from plusone.stores.protocol import Answer, Capabilities, GuardedAdd, Record
from plusone.stores.recent import Recent
from plusone.stores.registry import StoreURL
from plusone.stores.sweeping import Sweeping

OPERATIONS_MAX: Final = 128
"""etcd's `--max-txn-ops`: so many nested transactions and operations of the longest of them, together."""
BYTES_MAX: Final = 1_000_000
"""Of a transaction; etcd's `--max-request-bytes` is half as much again."""
ROUNDS: Final = 8
"""How often a call decides anew when others were faster; then it answers what it read last."""
_REMEMBERED_VALUES: Final = 20_000
_REMEMBERED_BYTES: Final = 16 * 1024 * 1024
_PAGE_MAX: Final = 500
_READ_AT_ONCE: Final = 120
"""While there are more pages."""

_log = logging.getLogger("plusone.etcd")


class EtcdStore:
    """`etcd://[user:password@]host:port,host:port`. Parameters, all of them optional:

    `tls=yes` speaks TLS; `ca_file` is whom it trusts instead of the system's own, `cert_file` and `key_file` say who we
    are; `prefix` begins every key ("plusone/"); `connect_timeout` (ms, 2,000) is each member's; `connections` (16).
    """

    CAPABILITIES = Capabilities(
        title="etcd",
        schemes=("etcd",),
        durable="what most members have on disk: crash and loss of power of any minority of them",
        linearizable=True,
        survives_failover="all of them are kept, as long as most members keep their disks",
        failover_keeps=True,
        eventual_reads=True,
        lists=True,
        ttl_clock="writer",
        token_retention="kept for the retention, unless their lease is revoked by hand",
        tokens_per_batch=120,
        sessions_kept_minutes=60,
        batches_per_call=120,
        calls_in_flight=4,
        tested_on="etcd 3.4",
    )

    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> EtcdStore:
        return cls(Settings.from_url(url), clock=clock, token_retention_ms=token_retention_ms)

    def __init__(self, settings: Settings, *, clock: Clock, token_retention_ms: int) -> None:
        self.capabilities = self.CAPABILITIES
        self._prefix = settings.prefix
        self._connect_seconds = settings.connect_timeout_ms / 1000
        self._clock = clock
        self._token_retention_ms = token_retention_ms
        self.connections = Connections(settings)
        self._leases = Leases(self.connections, clock, token_retention_ms)
        self._sweeper = Sweeper(self.connections, settings.prefix)
        self._sweeping = Sweeping(lambda: self._sweeper.page(clock.wall_ms()), clock, _log)
        self._recent = Recent[bytes](_REMEMBERED_VALUES, _REMEMBERED_BYTES, len)
        self._opened = False

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        """Nothing: keys are made when they are counted."""
        return ()

    async def open(self) -> None:
        """See that the members can be reached and let us read."""
        if self._opened:
            return
        try:
            await self.check()
        except BaseException:
            # Nobody closes what never was open.
            await self.connections.close()
            raise
        self._opened = True

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        """Several round trips only where the earlier ones applied nothing of what the later ones are about."""
        # One never seen is taken for absent: if it is not, it is read.
        attempts = [Attempt(request, self._prefix, self._recent.get(request.key)) for request in batch]
        pending = attempts
        for turn in range(ROUNDS + 1):
            now_ms = self._clock.wall_ms()
            for attempt in pending:
                attempt.decide(now_ms)
            pending = [attempt for attempt in pending if attempt.answer is None]
            if not pending or turn == ROUNDS:
                break
            chunks = _chunks(pending)
            if len(chunks) == 1:
                await self._send(pending, now_ms)
            else:
                await asyncio.gather(*(self._send(chunk, now_ms) for chunk in chunks))
            pending = [attempt for attempt in pending if attempt.answer is None]
        self._sweeping.if_due()
        return [attempt.answer or _outrun(attempt, self._clock.wall_ms()) for attempt in attempts]

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        values: list[bytes | None] = []
        for start in range(0, len(keys), _READ_AT_ONCE):
            values += await self._values(keys[start : start + _READ_AT_ONCE], strong=strong)
        now_ms = self._clock.wall_ms()
        return [records.decode(key, value).record(now_ms) for key, value in zip(keys, values, strict=True)]

    async def list(
        self, prefix: str, limit: int, page_token: str | None
    ) -> tuple[Sequence[tuple[str, Record]], str | None]:
        """In the order of the keys' bytes. A page token holds the last key, dead or alive."""
        begin = records.counters(self._prefix, prefix)
        end = records.end_of(begin)
        if page_token is not None:
            begin = records.counters(self._prefix, paging.decode_key(page_token, prefix)) + b"\0"
        asked = rpc.RangeRequest(key=begin, range_end=end, limit=min(limit, _PAGE_MAX))
        found = await self.connections.call("Range", asked)
        now_ms = self._clock.wall_ms()
        page: list[tuple[str, Record]] = []
        last = ""
        for counter in found.kvs:
            try:
                last = records.counter_of(self._prefix, counter.key)
            except UnicodeDecodeError:
                _log.warning("%r is left out of a listing: no counter of ours", counter.key)
                continue
            try:
                record = records.decode(last, counter.value).record(now_ms)
            except CorruptRecord as error:
                _log.warning("%r is left out of a listing: %s", last, error)
                continue
            if record.exists:
                page.append((last, record))
        return page, paging.encode_key(last) if found.more else None

    async def check(self) -> None:
        """A linearizable read: most members have to answer."""
        asked = rpc.RangeRequest(key=records.counters(self._prefix), keys_only=True)
        try:
            async with asyncio.timeout(self._connect_seconds * 2):
                await self.connections.call("Range", asked)
        except TimeoutError:
            raise StoreUnavailable("etcd: no answer in time; see that most members run") from None
        except OutcomeUnknown as error:
            raise StoreUnavailable(str(error)) from error

    async def close(self) -> None:
        self._opened = False
        await self._sweeping.close()
        await self.connections.close()

    async def _send(self, attempts: Sequence[Attempt], now_ms: int) -> None:
        """One transaction for these; each has an answer behind it, or knows better."""
        try:
            lease = 0
            tokens = sum(len(attempt.request.tokens) for attempt in attempts if attempt.write is not None)
            if tokens:
                lease = await self._leases.take(tokens)
            until_ms = now_ms + self._token_retention_ms
            operations = [attempt.operation(lease, until_ms) for attempt in attempts]
            answer = await self.connections.call("Txn", transaction(operations, self._prefix))
        except PlusoneError as error:
            if is_lease_lost(error):
                self._leases.forget()
            if is_out_of_space(error):
                await self._tell_apart(attempts, now_ms)
                return
            for attempt in attempts:
                attempt.answer = error
            return
        for attempt, response in zip(attempts, answer.responses, strict=True):
            attempt.take(response.response_txn, now_ms)
            if not isinstance(attempt.answer, CorruptRecord):
                self._remember(attempt.request.key, attempt.seen)

    async def _tell_apart(self, attempts: Sequence[Attempt], now_ms: int) -> None:
        """The database is full, and said so of a request that it executed or did not: its sessions tell."""
        for attempt in attempts:
            try:
                attempt.read(await self._value(attempt.request.key, strong=True))
            except PlusoneError:
                attempt.answer = OutcomeUnknown(str(out_of_space()))
                continue
            answer, _ = attempt.step(now_ms)
            written = isinstance(answer, Answer) and answer.status == "duplicate"
            attempt.answer = answer if written else out_of_space()

    async def _values(self, keys: Sequence[str], *, strong: bool) -> Sequence[bytes | None]:
        """What stands under these, in one round trip where that can be."""
        if len(keys) > 1:
            ranges = [rpc.RequestOp(request_range=self._asked(key, strong=strong)) for key in keys]
            try:
                answer = await self.connections.call("Txn", rpc.TxnRequest(success=ranges))
                return [_first(part.response_range) for part in answer.responses]
            except OutcomeUnknown as error:
                # A full database takes no transaction, one that only reads neither.
                if not is_out_of_space(error):
                    raise
        return [await self._value(key, strong=strong) for key in keys]

    async def _value(self, key: str, *, strong: bool) -> bytes | None:
        return _first(await self.connections.call("Range", self._asked(key, strong=strong)))

    def _asked(self, key: str, *, strong: bool) -> Any:
        return rpc.RangeRequest(key=records.counters(self._prefix, key), serializable=not strong)

    def _remember(self, key: str, value: bytes | None) -> None:
        if value is None:
            self._recent.forget(key)
        else:
            self._recent.put(key, value)


def _chunks(attempts: Sequence[Attempt]) -> Sequence[Sequence[Attempt]]:
    """Parts of which each is a transaction that etcd takes."""
    chunks: list[list[Attempt]] = []
    size = longest = 0
    for attempt in attempts:
        size += attempt.size
        longest = max(longest, attempt.operations)
        if not chunks or size > BYTES_MAX or len(chunks[-1]) + 1 + longest > OPERATIONS_MAX:
            chunks.append([])
            size, longest = attempt.size, attempt.operations
        chunks[-1].append(attempt)
    return chunks


def _outrun(attempt: Attempt, now_ms: int) -> Answer | PlusoneError:
    """Others were faster every time: a miss with the state that was read last."""
    record = records.decode(attempt.request.key, attempt.seen).record(now_ms)
    return Answer("missed", record.value, record.revision, record.exists)


def _first(found: Any) -> bytes | None:
    return bytes(found.kvs[0].value) if found.kvs else None
