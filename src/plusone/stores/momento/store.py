"""Counters in Momento: one item each, and a conditional write that says which item it follows.

Momento runs no code of ours and has no transactions: the step is decided here, on the item as it was last seen, and
written by SetIf on the condition that the item is still that one (`equal`, byte by byte) or still is not there
(`absent`). Where another writer was faster nothing was written; the item is read and the step decided again. A `Get`
and a plain `Set` behind it, or a condition on anything less than the whole item, would lose updates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from plusone.clock import Clock
from plusone.errors import PlusoneError, StoreUnavailable
from plusone.stores.momento import blob
from plusone.stores.momento.connections import Connection, Connections
from plusone.stores.momento.control import Control
from plusone.stores.momento.errors import translate, while_connecting
from plusone.stores.momento.settings import TTL_MAX_SECONDS, Settings
from plusone.stores.momento.wire import cache, common
from plusone.stores.protocol import Answer, Capabilities, GuardedAdd, Record
from plusone.stores.recent import Recent
from plusone.stores.registry import StoreURL

TURNS_MAX: Final = 4
"""So often a step is decided anew within a call because others were faster; then they are reported as a miss."""
READS_AT_ONCE: Final = 256
_REMEMBERED_ITEMS: Final = 8_192
_REMEMBERED_BYTES: Final = 4 * 1024 * 1024
_ABSENT: Final = common.Absent()


class MomentoStore:
    """`momento://cache`; the API key is in the environment variable MOMENTO_API_KEY. Parameters, all of them optional:

    `endpoint` names the region where the key does not (`host:port` for an emulator); `api_key_from` is another
    variable to take the key from; `ttl` (seconds, 86,400) is how long an item outlives its last write; `prefix` begins
    every key ("plusone:"); `tls=no` is for an endpoint on this machine, and the default there; `ca_file` is whom TLS
    trusts instead of the system's own; `connect_timeout` is in ms (2,000).
    """

    CAPABILITIES = Capabilities(
        title="Momento",
        schemes=("momento",),
        durable="nothing: it is a cache. A counter unwritten for 24 h is gone, whatever its ttl, as is an evicted one",
        linearizable=False,  # of the emulator it is true, of Momento's cloud it is not known
        survives_failover="what a cache node loses is gone",
        eventual_reads=False,
        lists=False,
        ttl_clock="writer",
        token_retention="24 h at most after the counter's last write; gone with its item, if that is evicted",
        tokens_per_counter=blob.TOKENS_MAX,
        tokens_per_batch=256,
        sessions_kept_minutes=60,
        batches_per_call=256,
        calls_in_flight=4,  # each waits for the slowest of its requests, and the others go on meanwhile
        tested_on="an emulator with the real wire types; Momento's cloud was not run",
    )

    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> MomentoStore:
        return cls(Settings.from_url(url), clock=clock, token_retention_ms=token_retention_ms)

    def __init__(self, settings: Settings, *, clock: Clock, token_retention_ms: int) -> None:
        self.capabilities = _capabilities(settings.ttl_ms, self.CAPABILITIES)
        self._settings = settings
        self._clock = clock
        self._token_retention_ms = token_retention_ms
        self._prefix = settings.prefix.encode()
        self._connections = Connections(lambda: Connection(settings))
        self._recent = Recent[bytes](_REMEMBERED_ITEMS, _REMEMBERED_BYTES, len)

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        """Create the cache, if there is none of its name."""
        async with Control(self._settings) as control:
            if self._settings.cache in await control.caches():
                return ()
            if not dry_run:
                await control.create(self._settings.cache)
        return (f"CreateCache {self._settings.cache}",)

    async def open(self) -> None:
        """Raises `StoreRefused` where the key is not accepted or the cache is missing: `setup` would create it."""
        await self._connections.ready()

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        if not batch:
            return []
        connection = await self._connections.ready()
        answers: dict[str, Answer | PlusoneError] = {}
        writes, doubtful = self._guess(batch)
        for turn in range(TURNS_MAX, -1, -1):
            doubtful += await self._write(connection, writes, answers)
            if not doubtful:
                break
            writes = await self._look(connection, doubtful, answers, last=turn == 0)
            doubtful = []
        return [answers[request.key] for request in batch]

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        """Every read asks for Momento's strongest consistency."""
        if not keys:
            return []
        connection = await self._connections.ready()
        records: list[Record] = []
        for start in range(0, len(keys), READS_AT_ONCE):
            part = keys[start : start + READS_AT_ONCE]
            responses = await connection.exchange([connection.get(self._key(key)) for key in part])
            now_ms = self._clock.wall_ms()
            records += [blob.record(self._item(found), key, now_ms) for key, found in zip(part, responses, strict=True)]
        return records

    async def check(self) -> None:
        connection = await self._connections.ready()
        [response] = await connection.exchange([connection.get(self._key("?"))])
        self._item(response)

    async def close(self) -> None:
        await self._connections.close()

    def _guess(self, batch: Sequence[GuardedAdd]) -> tuple[list[_Write], list[GuardedAdd]]:
        """What the items as they were last seen let be written, and the requests for which they have to be read.

        Only a write can be risked on a guess, for it says what it is based on. All other answers need to be true.
        """
        writes: list[_Write] = []
        doubtful: list[GuardedAdd] = []
        now_ms = self._clock.wall_ms()
        for request in batch:
            item = self._recent.get(request.key)
            if item is None and request.acked:
                # There is one, unless it was lost, and both have to be seen.
                doubtful.append(request)
                continue
            decision = blob.decide(item, request, now_ms, self._token_retention_ms)
            if isinstance(decision, blob.Change):
                writes.append(_Write(request, item, decision))
            else:
                doubtful.append(request)
        return writes, doubtful

    async def _write(
        self, connection: Connection, writes: Sequence[_Write], answers: dict[str, Answer | PlusoneError]
    ) -> list[GuardedAdd]:
        """Write what still follows the item that it was decided on; the requests of the others, for which nothing was.

        Nothing may be sent for a request in this call once a write of it has come to nothing but an error.
        """
        if not writes:
            return []
        beaten: list[GuardedAdd] = []
        responses = await connection.exchange([connection.set_if(self._request(write)) for write in writes])
        for write, response in zip(writes, responses, strict=True):
            key = write.request.key
            if isinstance(response, Exception):
                self._recent.forget(key)
                answers[key] = self._failure(response)
            elif response.HasField("stored"):
                self._recent.put(key, write.change.item)
                answers[key] = write.change.answer
            else:
                self._recent.forget(key)
                beaten.append(write.request)
        return beaten

    async def _look(
        self,
        connection: Connection,
        requests: Sequence[GuardedAdd],
        answers: dict[str, Answer | PlusoneError],
        *,
        last: bool,
    ) -> list[_Write]:
        """Read the items and decide on them; what then is to be written. With `last` that is answered as a miss."""
        writes: list[_Write] = []
        responses = await connection.exchange([connection.get(self._key(request.key)) for request in requests])
        now_ms = self._clock.wall_ms()
        for request, response in zip(requests, responses, strict=True):
            try:
                item = self._item(response)
            except PlusoneError as error:
                answers[request.key] = error
                continue
            if item is not None:
                self._recent.put(request.key, item)
            decision = blob.decide(item, request, now_ms, self._token_retention_ms)
            if not isinstance(decision, blob.Change):
                answers[request.key] = decision
            elif last:
                answers[request.key] = msgspec.structs.replace(decision.answer, status="missed")
            else:
                writes.append(_Write(request, item, decision))
        return writes

    def _request(self, write: _Write) -> cache._SetIfRequest:
        key, item, ttl_ms = self._key(write.request.key), write.change.item, self._settings.ttl_ms
        if write.follows is None:
            return cache._SetIfRequest(cache_key=key, cache_body=item, ttl_milliseconds=ttl_ms, absent=_ABSENT)
        equal = common.Equal(value_to_check=write.follows)
        return cache._SetIfRequest(cache_key=key, cache_body=item, ttl_milliseconds=ttl_ms, equal=equal)

    def _failure(self, error: Exception) -> PlusoneError:
        return error if isinstance(error, PlusoneError) else translate(error, self._settings.key_from)

    def _item(self, response: Any) -> bytes | None:
        """The item that a Get found. Raises definite errors: a question changes nothing, however it fails."""
        if isinstance(response, PlusoneError):
            raise StoreUnavailable(str(response))
        if isinstance(response, Exception):
            raise while_connecting(response, self._settings.key_from) from response
        if response.result == cache.Hit:
            body: bytes = response.cache_body
            return body
        if response.result == cache.Miss:
            return None
        raise StoreUnavailable(f"Momento: a Get was answered with {response.result} {response.message}")

    def _key(self, key: str) -> bytes:
        return self._prefix + key.encode()


class _Write(msgspec.Struct, gc=False):
    request: GuardedAdd
    follows: bytes | None
    """The item that it was decided on; None: there was none."""
    change: blob.Change


def _capabilities(ttl_ms: int, default: Capabilities) -> Capabilities:
    """What the store promises with another ttl than the longest."""
    if ttl_ms == TTL_MAX_SECONDS * 1000:
        return default
    return msgspec.structs.replace(
        default,
        durable=default.durable.replace("24 h", f"{ttl_ms // 1000} s"),
        token_retention=default.token_retention.replace("24 h", f"{ttl_ms // 1000} s"),
    )
