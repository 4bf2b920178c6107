"""Counters in MySQL, MariaDB or TiDB: two tables, and one statement that is the protocol's one step.

The step decides within the server, in one transaction of one exchange: no lock waits for a message of ours. The
server's clock decides what has expired.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from typing import ClassVar, Final, Self

import msgspec

from plusone.clock import Clock
from plusone.errors import OutcomeUnknown, PlusoneError, StoreUnavailable
from plusone.stores import paging
from plusone.stores.mysql import answers, schema
from plusone.stores.mysql.connections import Connections, Rows
from plusone.stores.mysql.server import ask, check, warn_of_durability
from plusone.stores.mysql.settings import Settings
from plusone.stores.mysql.statements import (
    NOW,
    OTHERS_MAX,
    among,
    filled,
    hexadecimal,
    literal,
    literals,
    sql,
    statements,
    step,
)
from plusone.stores.protocol import Answer, Capabilities, GuardedAdd, Record
from plusone.stores.registry import StoreURL
from plusone.stores.sessions import SESSIONS_MAX, crowded, make_room
from plusone.stores.sweeping import Sweeping

DEAD_KEPT_MS: Final = 60 * 60 * 1000
SESSION_KEPT_MS: Final = 5 * 60 * 1000
SWEEP_ROWS: Final = 1_000
TOKENS_PER_EXCHANGE: Final = 1_000
_ROUNDS_MAX: Final = 4
"""One creates a row, one makes room for a session, one applies; another for a row that was swept in between."""
_ABSENT: Final = Record(0, 0, False, None)

_READ: Final = sql("read.sql").replace("{now}", NOW)
_LIST: Final = sql("list.sql").replace("{now}", NOW)
_CHECK: Final = sql("check.sql")
_SESSION: Final = statements("session.sql")
"""What each new connection begins with."""
_PRUNE: Final = sql("prune.sql")
_FIND_TOKENS: Final = filled(sql("find_expired_tokens.sql"), now=NOW, limit=SWEEP_ROWS)
_FIND_DEAD: Final = filled(sql("find_dead.sql"), now=NOW, limit=SWEEP_ROWS, kept_ms=DEAD_KEPT_MS)
_SWEEP_TOKENS: Final = sql("sweep_tokens.sql").replace("{now}", NOW)
_SWEEP_COUNTERS: Final = filled(sql("sweep_counters.sql"), now=NOW, kept_ms=DEAD_KEPT_MS)

_log = logging.getLogger("plusone.stores.mysql")


class MySQLStore:
    """`mysql://user:password@host:port/database`. Parameters, all of them optional:

    `tls=yes` speaks TLS, and the server's name has to match its certificate; `ca_file` is whom it trusts besides the
    system's own; `connect_timeout` (ms, 2,000); `connections` (8) is how many there may be at once.
    """

    CAPABILITIES: ClassVar[Capabilities] = Capabilities(
        title="MySQL",
        schemes=("mysql",),
        durable="process crash and loss of power (innodb_flush_log_at_trx_commit=1, sync_binlog=1)",
        linearizable=True,
        survives_failover="as the replication: asynchronous may lose the last acknowledged ones",
        eventual_reads=False,
        lists=True,
        ttl_clock="datastore",
        token_retention="kept for the retention",
        sessions_kept_minutes=5,
        batches_per_call=256,
        calls_in_flight=2,
        tested_on="MySQL itself was not run; its statements are those of MariaDB",
    )
    SERVERS: ClassVar[Container[str]] = ("MySQL", "MariaDB")
    """What may be at the URL."""
    RETURNING: ClassVar[bool] = False
    """Whether the server has INSERT … RETURNING."""

    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> Self:
        return cls(Settings.from_url(url), clock=clock, token_retention_ms=token_retention_ms)

    def __init__(self, settings: Settings, *, clock: Clock, token_retention_ms: int) -> None:
        self.capabilities = self.CAPABILITIES
        self._settings = settings
        self._token_retention_ms = token_retention_ms
        self._title = self.CAPABILITIES.title
        self.server = Connections(
            settings.connection,
            title=self._title,
            session=_SESSION,
            connections_max=settings.connections,
            connect_seconds=settings.connect_timeout_ms / 1000,
        )
        self._opened = False
        self._sweeping = Sweeping(self.sweep, clock, _log)

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        try:
            await self._look_at_server()
            steps = await schema.missing(self.server, self._title)
            if not dry_run:
                await schema.make(self.server, steps)
        finally:
            if not self._opened:
                await self.server.close()
        return steps

    async def open(self) -> None:
        """Raises `StoreRefused` for another server than the scheme's, or where tables are missing that it may not make.

        Warns of a server that acknowledges what a crash may take.
        """
        if self._opened:
            return
        try:
            variables = await self._look_at_server()
            await schema.make(self.server, await schema.missing(self.server, self._title))
            warn_of_durability(variables, self._title)
        except BaseException:
            # Nobody closes what never was open.
            await self.server.close()
            raise
        self._opened = True

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        settled: dict[str, Answer | PlusoneError] = {}
        for requests in _portions(batch):
            try:
                await self._apply(requests, settled)
            except PlusoneError as error:
                if not settled:
                    raise
                # What was settled by an earlier exchange stays so.
                settled |= {request.key: error.again() for request in requests if request.key not in settled}
        self._sweeping.if_due()
        return [settled[request.key] for request in batch]

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        """Every read is strong: it goes to the one server that takes the writes."""
        if not keys:
            return []
        [rows] = await self.server.exchange([filled(_READ, counters=literals(keys))])
        found = {
            counter.decode(): Record(value if alive else 0, revision, alive == 1, updated_ms)
            for counter, value, revision, alive, updated_ms in rows
        }
        return [found.get(key, _ABSENT) for key in keys]

    async def list(
        self, prefix: str, limit: int, page_token: str | None
    ) -> tuple[Sequence[tuple[str, Record]], str | None]:
        """In the order of the keys' bytes. A page token holds the last key."""
        after = "" if page_token is None else paging.decode_key(page_token, prefix)
        asked = filled(
            _LIST,
            prefix=literal(prefix),
            after=literal(after),
            above=f"x'{prefix.encode().hex()}ff'",
            limit=limit + 1,
        )
        [rows] = await self.server.exchange([asked])
        page = [
            (counter.decode(), Record(value, revision, True, updated_ms))
            for counter, value, revision, updated_ms in rows[:limit]
        ]
        return page, paging.encode_key(page[-1][0]) if len(rows) > limit else None

    async def check(self) -> None:
        """Whether the server answers, and takes writes."""
        await self.server.exchange([_CHECK])

    async def close(self) -> None:
        self._opened = False
        await self._sweeping.close()
        await self.server.close()

    async def _look_at_server(self) -> Mapping[str, str]:
        """What it says of itself; raises `StoreRefused` where that will not do."""
        variables = await ask(self.server)
        check(variables, self._title, self.SERVERS)
        return variables

    async def _apply(self, requests: Sequence[GuardedAdd], settled: dict[str, Answer | PlusoneError]) -> None:
        """Settle these, which are in the order of their keys. Raises what holds for those that are not settled.

        A round behind the first is for those to whom nothing has happened yet but that there is room for them now.
        """
        others_max = OTHERS_MAX
        for _ in range(_ROUNDS_MAX):
            asked = step(requests, others_max, self._token_retention_ms, returning=self.RETURNING)
            results = await self.server.exchange(asked)
            rows, known = answers.parts(results)
            if len(rows) != len(requests):
                raise OutcomeUnknown(f"{self._title}: {len(rows)} rows came back of {len(requests)}")
            again: list[GuardedAdd] = []
            without_room: list[answers.Crowded] = []
            for request in requests:
                answer = answers.answer(request, rows[request.key.encode()], known)
                if answer is None:
                    again.append(request)
                elif not isinstance(answer, answers.Crowded):
                    settled[request.key] = answer
                elif others_max == OTHERS_MAX:
                    again.append(request)
                    without_room.append(answer)
                else:
                    settled[request.key] = crowded()
            if not again:
                return
            if without_room:
                await self._prune(without_room)
                others_max = SESSIONS_MAX - 1
            requests = again
        raise StoreUnavailable(f"{self._title}: rows vanish as soon as they are made; ask again")

    async def _prune(self, rows: Sequence[answers.Crowded]) -> None:
        """Drop old sessions. Where they are no more those that were seen, somebody else is at it."""
        for row in rows:
            try:
                others = answers.decode_sessions(row.others)
            except msgspec.DecodeError:
                continue  # whoever counts on it is told
            make_room(others, row.now_ms, kept=OTHERS_MAX, kept_ms=SESSION_KEPT_MS)
            pruned = answers.encode_sessions(others).decode()
            await self.server.exchange(
                [filled(_PRUNE, counter=literal(row.key), seen=literal(row.others), pruned=literal(pruned))]
            )

    async def sweep(self) -> bool:
        """Remove expired tokens and counters long dead, some at a time, until nothing is left."""
        found: Rows = [()] * SWEEP_ROWS
        while len(found) == SWEEP_ROWS:
            [found] = await self.server.exchange([_FIND_TOKENS])
            if found:
                await self.server.exchange([filled(_SWEEP_TOKENS, tokens=among(found))])
        found = [()] * SWEEP_ROWS
        while len(found) == SWEEP_ROWS:
            [found] = await self.server.exchange([_FIND_DEAD])
            if found:
                counters = hexadecimal(sorted(counter for [counter] in found))
                await self.server.exchange([filled(_SWEEP_COUNTERS, counters=counters)])
        return False


class MariaDBStore(MySQLStore):
    """`mariadb://user:password@host:port/database`, with the parameters of `mysql://`."""

    CAPABILITIES = msgspec.structs.replace(
        MySQLStore.CAPABILITIES,
        title="MariaDB",
        schemes=("mariadb",),
        tested_on="MariaDB 10.11; Galera was not run",
    )
    SERVERS = ("MariaDB",)
    RETURNING = True


class TiDBStore(MySQLStore):
    """`tidb://user:password@host:port/database`, with the parameters of `mysql://`."""

    CAPABILITIES = msgspec.structs.replace(
        MySQLStore.CAPABILITIES,
        title="TiDB",
        schemes=("tidb",),
        durable="loss of a minority of its nodes, and their crashes (Raft)",
        survives_failover="all of them, as long as a majority of the replicas lives",
        failover_keeps=True,
        tested_on="TiDB (master of November 2025), embedded storage; a cluster was not run",
    )
    SERVERS = ("TiDB",)


def _portions(batch: Sequence[GuardedAdd]) -> Sequence[Sequence[GuardedAdd]]:
    """The requests in the order in which all writers lock rows, cut where a statement would have too many tokens."""
    portions: list[list[GuardedAdd]] = []
    tokens = TOKENS_PER_EXCHANGE
    for request in sorted(batch, key=lambda request: request.key):
        tokens += len(request.tokens)
        if not portions or tokens > TOKENS_PER_EXCHANGE:
            portions.append([])
            tokens = len(request.tokens)
        portions[-1].append(request)
    return portions
