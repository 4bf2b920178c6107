"""The reference: the protocol's one step, written to be read. Nothing outlives the process."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from plusone.clock import Clock
from plusone.errors import PlusoneError
from plusone.stores import paging
from plusone.stores.protocol import Answer, Capabilities, GuardedAdd, Record, TokenRecord
from plusone.stores.registry import StoreURL
from plusone.stores.sessions import SESSION_KEPT_MS, SESSIONS_KEPT, crowded, make_room

DEAD_KEPT_MS = 60 * 60 * 1000
_REMOVAL_EVERY_MS = 60 * 1000


class _Session(msgspec.Struct):
    seq: int
    value: int | None
    """The value before the batch; None after a closing."""
    revision: int
    existed: bool
    time_ms: int


class _Token(msgspec.Struct):
    record: TokenRecord
    until_ms: int


class _Counter(msgspec.Struct):
    value: int = 0
    revision: int = 0
    expires_ms: int | None = 0
    """None: never. 0: dead by every clock."""
    updated_ms: int | None = None
    written_ms: int = 0
    """The last write of any kind, a session's too."""
    sessions: dict[str, _Session] = msgspec.field(default_factory=dict)
    tokens: dict[str, _Token] = msgspec.field(default_factory=dict)

    def alive(self, now_ms: int) -> bool:
        return self.expires_ms is None or self.expires_ms > now_ms


class MemoryStore:
    """`memory://`: counters in this process, for tests and for learning what the others do."""

    CAPABILITIES = Capabilities(
        title="Memory",
        schemes=("memory",),
        durable="nothing: it is the process's memory",
        linearizable=True,
        survives_failover="has none",
        eventual_reads=False,
        lists=True,
        ttl_clock="writer",
        token_retention="kept for the retention, while the process lives",
        sessions_kept_minutes=60,
        tested_on="itself",
    )

    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> MemoryStore:
        url.only()
        return cls(clock=clock, token_retention_ms=token_retention_ms)

    def __init__(self, *, clock: Clock, token_retention_ms: int) -> None:
        self.capabilities = self.CAPABILITIES
        self._clock = clock
        self._token_retention_ms = token_retention_ms
        self._counters: dict[str, _Counter] = {}
        self._removal_due_ms = 0

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        return ()

    async def open(self) -> None:
        pass

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        now_ms = self._clock.wall_ms()
        self._remove_dead(now_ms)
        return [self._step(request, now_ms) for request in batch]

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        now_ms = self._clock.wall_ms()
        return [self._record(key, now_ms) for key in keys]

    async def list(
        self, prefix: str, limit: int, page_token: str | None
    ) -> tuple[Sequence[tuple[str, Record]], str | None]:
        after = "" if page_token is None else paging.decode_key(page_token, prefix)
        now_ms = self._clock.wall_ms()
        keys = sorted(
            key
            for key, counter in self._counters.items()
            if key.startswith(prefix) and key > after and counter.alive(now_ms)
        )
        page = [(key, self._record(key, now_ms)) for key in keys[:limit]]
        return page, paging.encode_key(page[-1][0]) if len(keys) > limit else None

    def _step(self, request: GuardedAdd, now_ms: int) -> Answer | PlusoneError:
        counter = self._counters.get(request.key) or _Counter()
        alive = counter.alive(now_ms)
        value = counter.value if alive else 0

        session = counter.sessions.get(request.writer)
        last = session.seq if session is not None else 0
        if session is not None and last == request.seq:
            return Answer("duplicate", session.value, session.revision, session.existed)
        if last > request.seq:
            return Answer("stale")
        if last < request.acked:
            return Answer("gap", last=last)

        known = tuple(
            recorded.record
            for token in request.tokens
            if (recorded := counter.tokens.get(token.token)) is not None and recorded.until_ms > now_ms
        )
        if known:
            return Answer("missed", value, counter.revision, alive, tokens=known)

        guarded = (
            request.lo <= value <= request.hi
            and request.revision in (None, counter.revision)
            and request.alive in (None, alive)
        )
        if not guarded:
            return Answer("missed", value, counter.revision, alive)

        # The limits are looked up at each step: the model test tightens them here.
        if session is None and not make_room(counter.sessions, now_ms, kept=SESSIONS_KEPT, kept_ms=SESSION_KEPT_MS):
            return crowded()
        answer = Answer("applied", value, counter.revision, alive)
        counter.sessions[request.writer] = _Session(
            request.seq, None if request.closing else value, counter.revision, alive, now_ms
        )
        for token in request.tokens:
            before = token.before or (value, counter.revision, alive)
            counter.tokens[token.token] = _Token(
                TokenRecord(token.token, token.data, *before), now_ms + self._token_retention_ms
            )
        if request.applied:
            counter.value = (0 if request.restart else value) + request.total
            counter.revision += request.applied
            counter.updated_ms = now_ms
            if request.delete:
                counter.expires_ms = 0
            elif not alive:
                counter.expires_ms = None if request.ttl_ms is None else now_ms + request.ttl_ms
        counter.written_ms = now_ms
        self._counters[request.key] = counter
        return answer

    def _record(self, key: str, now_ms: int) -> Record:
        counter = self._counters.get(key)
        if counter is None:
            return Record(0, 0, False, None)
        alive = counter.alive(now_ms)
        return Record(counter.value if alive else 0, counter.revision, alive, counter.updated_ms)

    def _remove_dead(self, now_ms: int) -> None:
        """Forget records dead and unwritten for an hour, and tokens that have expired."""
        if now_ms < self._removal_due_ms:
            return
        self._removal_due_ms = now_ms + _REMOVAL_EVERY_MS
        for key, counter in list(self._counters.items()):
            if counter.tokens:
                counter.tokens = {token: kept for token, kept in counter.tokens.items() if kept.until_ms > now_ms}
            if not counter.alive(now_ms) and not counter.tokens and counter.written_ms <= now_ms - DEAD_KEPT_MS:
                del self._counters[key]
