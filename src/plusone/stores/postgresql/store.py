"""Counters in PostgreSQL: adds to many counters are one statement, everything else is decided on rows read before.

The server's clock decides what has expired. Acknowledged operations are as durable as the server's write-ahead log:
with `fsync` and `synchronous_commit` on, its defaults, they survive a crash and a loss of power, and with
`synchronous_standby_names` the loss of the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Final

import msgspec

from plusone.clock import Clock
from plusone.errors import PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores import paging
from plusone.stores.postgresql import deciding
from plusone.stores.postgresql.connections import Connections, Link
from plusone.stores.postgresql.errors import is_data_error
from plusone.stores.postgresql.migration import migrate
from plusone.stores.postgresql.settings import Settings
from plusone.stores.postgresql.sweeping import sweep
from plusone.stores.protocol import Answer, Capabilities, GuardedAdd, Record
from plusone.stores.registry import StoreURL
from plusone.stores.sweeping import Sweeping

_OLDEST: Final = 12
_ABSENT: Final = Record(0, 0, False, None)
_by_key: Final = attrgetter("key")
_decode_read: Final = msgspec.json.Decoder(list[tuple[str, int, int, int | None, int | None]]).decode
_decode_list: Final = msgspec.json.Decoder(list[tuple[str, int, int, int | None]]).decode

_log = logging.getLogger("plusone.stores.postgresql")


class PostgreSQLStore:
    """`postgresql://[user:password@]host:port/database`. Parameters, all of them optional:

    `schema` is where the tables are ("plusone"); `sslmode` is that of libpq ("prefer"), and `sslrootcert` whom
    `verify-ca` and `verify-full` trust besides the system's own; `replica=host:port` is where eventual reads go;
    `connections` (8) is how many there may be at once, `connect_timeout` (ms, 2,000) how long one may take;
    `statement_cache_size=0` is for a pooler by transaction that keeps no prepared statements.
    """

    CAPABILITIES = Capabilities(
        title="PostgreSQL",
        schemes=("postgresql", "postgres"),
        durable="process crash and loss of power (fsync and synchronous_commit on, the server's defaults)",
        linearizable=True,
        survives_failover="all of them with synchronous_standby_names; else the last acknowledged may be lost",
        eventual_reads=False,
        lists=True,
        ttl_clock="datastore",
        token_retention="kept for the retention",
        sessions_kept_minutes=5,
        batches_per_call=1_024,
        calls_in_flight=2,
        tested_on="PostgreSQL 15",
    )

    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> PostgreSQLStore:
        """Raises `ConfigurationError`. Connects to nothing yet."""
        return cls(Settings.from_url(url), clock=clock, token_retention_ms=token_retention_ms)

    def __init__(self, settings: Settings, *, clock: Clock, token_retention_ms: int) -> None:
        self.capabilities = msgspec.structs.replace(self.CAPABILITIES, eventual_reads=settings.replica is not None)
        self._settings = settings
        self._token_retention_ms = token_retention_ms
        self.primary = self._connections(settings.host, settings.port)
        self.replica = self._connections(*settings.replica) if settings.replica is not None else self.primary
        self._sweeping = Sweeping(partial(sweep, self.primary), clock, _log)
        self._opened = False

    def _connections(self, host: str, port: int) -> Connections:
        settings = self._settings
        return Connections(settings.arguments(host, port), settings.schema, settings.connections)

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        settings = self._settings
        # A connection of its own, for there are no tables yet that statements could be prepared for.
        arguments = settings.arguments(settings.host, settings.port)
        connections = Connections(arguments, settings.schema, 1, prepared=())
        try:
            async with connections.one() as link:
                await _examine(link)
                return await migrate(link, settings.schema, dry_run=dry_run)
        finally:
            await connections.close()

    async def open(self) -> None:
        """Make or migrate the tables if this user may. Warns of a server that forgets what it commits."""
        if not self._opened:
            await self.setup(dry_run=False)
            self._opened = True

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        if not batch:
            return []
        # Locks are taken in the order of the keys, which is the same for all: that of their code points.
        requests = sorted(batch, key=_by_key)
        async with self.primary.one() as link:
            answers = await self._apply(link, requests)
        self._sweeping.if_due()
        return [answers[request.key] for request in batch]

    async def _apply(self, link: Link, requests: Sequence[GuardedAdd]) -> dict[str, Answer | PlusoneError]:
        writer = requests[0].writer
        adds = [request for request in requests if _is_add(request, writer)]
        answers: dict[str, Answer | PlusoneError] = {}
        if adds:
            try:
                answers |= await _add(link, writer, adds)
            except PlusoneError as error:
                # A value in one of the rows need not keep the others from being counted.
                if not is_data_error(error):
                    if len(adds) == len(requests):
                        raise
                    answers |= {request.key: error.again() for request in adds}
        left = [request for request in requests if request.key not in answers]
        if left:
            try:
                found = await deciding.decide(link, left, self._token_retention_ms)
            except PlusoneError as error:
                if len(left) == len(requests):
                    raise
                found = [error.again() for _ in left]
            answers |= {request.key: answer for request, answer in zip(left, found, strict=True)}
        return answers

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        if not keys:
            return []
        async with (self.primary if strong else self.replica).one() as link:
            in_recovery, now_ms, rows = await link.ask("read", keys)
            if in_recovery and (strong or self._settings.replica is None):
                raise deciding.standby()
        records = {}
        for key, value, revision, expires_ms, updated_ms in _decode_read(rows or "[]"):
            alive = expires_ms is None or expires_ms > now_ms
            records[key] = Record(value if alive else 0, revision, alive, updated_ms)
        return [records.get(key, _ABSENT) for key in keys]

    async def list(
        self, prefix: str, limit: int, page_token: str | None
    ) -> tuple[Sequence[tuple[str, Record]], str | None]:
        """In the order of the keys' bytes. A page token holds the last key."""
        after = "" if page_token is None else paging.decode_key(page_token, prefix)
        async with self.primary.one() as link:
            in_recovery, rows = await link.ask("list", prefix, after, paging.above(prefix), limit + 1)
            if in_recovery:
                raise deciding.standby()
        found = _decode_list(rows or "[]")
        page = [(key, Record(value, revision, True, updated_ms)) for key, value, revision, updated_ms in found[:limit]]
        return page, paging.encode_key(page[-1][0]) if len(found) > limit else None

    async def check(self) -> None:
        """Whether the server is a primary that takes writes."""
        async with self.primary.one() as link:
            in_recovery, read_only = await link.ask("check")
            if in_recovery:
                raise deciding.standby()
            if read_only:
                raise StoreUnavailable("PostgreSQL: transactions are read-only by default here; operations must write")

    async def close(self) -> None:
        self._opened = False
        await self._sweeping.close()
        await self.primary.close()
        if self.replica is not self.primary:
            await self.replica.close()


def _is_add(request: GuardedAdd, writer: str) -> bool:
    """Whether `add.sql` can say it; what it cannot is decided on the rows."""
    return (
        request.applied > 0
        and not request.restart
        and not request.tokens
        and request.revision is None
        and request.alive is None
        and request.writer == writer
    )


async def _add(link: Link, writer: str, adds: Sequence[GuardedAdd]) -> dict[str, Answer | PlusoneError]:
    """Those that were applied, by their keys."""
    positions, values, revisions, existed = await link.change(
        "add",
        writer,
        [add.key for add in adds],
        [add.seq for add in adds],
        [add.acked for add in adds],
        [add.total for add in adds],
        [add.applied for add in adds],
        [add.lo for add in adds],
        [add.hi for add in adds],
        [-1 if add.ttl_ms is None else add.ttl_ms for add in adds],
    )
    if positions is None:
        return {}
    return {
        adds[position - 1].key: Answer("applied", value, revision, existed_before == 1)
        for position, value, revision, existed_before in zip(positions, values, revisions, existed, strict=True)
    }


async def _examine(link: Link) -> None:
    """Raises `StoreRefused` for a server that will not do; warns of one that forgets."""
    version, encoding, fsync, synchronous_commit, in_recovery = await link.ask("server")
    if version < _OLDEST * 10_000:
        raise StoreRefused(f"PostgreSQL: the server is version {version // 10_000}; {_OLDEST} is the oldest that does")
    if encoding != "UTF8":
        raise StoreRefused(f"PostgreSQL: the database's encoding is {encoding}; create one with ENCODING 'UTF8'")
    if in_recovery:
        raise deciding.standby()
    if "off" in (fsync, synchronous_commit):
        _log.warning(
            "PostgreSQL: fsync is %s and synchronous_commit is %s: a crash may take the last acknowledged operations",
            fsync,
            synchronous_commit,
        )
