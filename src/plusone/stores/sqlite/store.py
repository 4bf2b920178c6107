"""The SQLite store: counters in one file, on this machine's disk.

The file is in WAL mode, with `<file>-wal` and `<file>-shm` beside it while it is open; copy it with SQLite's backup
or `VACUUM INTO`, not with `cp`. Any number of processes of one machine may use it at once. A network file system must
not hold it: their locks, and the memory that WAL shares between processes, do not work there. The file and its folder
are created with the permissions that the process's umask leaves; who may write the folder can replace the file.

After a fork the child is refused until it calls `open` again. Better fork first and open then, or spawn: a fork while
another thread is within SQLite leaves the locks of that moment taken in the child for ever.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from plusone.clock import Clock
from plusone.errors import ConfigurationError, PlusoneError, StoreRefused
from plusone.stores import paging
from plusone.stores.protocol import Answer, Capabilities, GuardedAdd, Record
from plusone.stores.registry import StoreURL
from plusone.stores.sqlite.connection import SQLITE_OLDEST, connect_writer, missing
from plusone.stores.sqlite.database import Database
from plusone.stores.sqlite.errors import translate
from plusone.stores.sqlite.statements import sql
from plusone.stores.sqlite.writer import Writer

BUSY_TIMEOUT_DEFAULT_SECONDS: Final = 2
_READ: Final = sql("read.sql")
_LIST: Final = sql("list.sql")
_ABSENT: Final = Record(0, 0, False, None)
_encode: Final = msgspec.json.Encoder().encode
_decode_read: Final = msgspec.json.Decoder(list[tuple[str, int, int, int | None, int | None]]).decode
_decode_list: Final = msgspec.json.Decoder(list[tuple[str, int, int, int | None]]).decode


class SQLiteStore:
    """`sqlite:///absolute/path.db` and `sqlite:relative/path.db`; a missing file is made, with its folders.

    Parameters of the URL: `synchronous=full` (the default: an acknowledged operation survives the loss of power) or
    `normal` (it survives the end of the process, even by `kill -9`; a loss of power may take the last ones);
    `busy_timeout`, whole seconds to wait for another process that holds the write lock (default 2); `create=no` leaves
    the making to `plusone setup`.
    """

    CAPABILITIES = Capabilities(
        title="SQLite",
        schemes=("sqlite",),
        durable="process crash and loss of power (synchronous=full)",
        linearizable=True,
        survives_failover="has none: one file on one machine",
        eventual_reads=False,
        lists=True,
        ttl_clock="writer",
        token_retention="kept for the retention",
        sessions_kept_minutes=60,
        batches_per_call=1_024,
        calls_in_flight=1,  # a second would share the interpreter with the first, and halve what a commit carries
        tested_on="SQLite 3.40",
    )

    @classmethod
    def from_url(cls, url: StoreURL, *, clock: Clock, token_retention_ms: int) -> SQLiteStore:
        """Raises `ConfigurationError`. Touches no file yet."""
        url.only("synchronous", "busy_timeout", "create")
        synchronous = url.query.get("synchronous", "full")
        if synchronous not in ("full", "normal"):
            raise ConfigurationError("sqlite: synchronous must be full or normal")
        return cls(
            _path(url),
            clock=clock,
            token_retention_ms=token_retention_ms,
            synchronous="full" if synchronous == "full" else "normal",
            busy_timeout=url.integer("busy_timeout", BUSY_TIMEOUT_DEFAULT_SECONDS, 0, 60),
            create=url.flag("create", default=True),
        )

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        token_retention_ms: int,
        synchronous: Literal["full", "normal"] = "full",
        busy_timeout: float = BUSY_TIMEOUT_DEFAULT_SECONDS,
        create: bool = True,
    ) -> None:
        self.capabilities = self.CAPABILITIES
        if synchronous != "full":
            self.capabilities = msgspec.structs.replace(
                self.capabilities, durable="process crash; a loss of power may take the latest (synchronous=normal)"
            )
        self.path = path.absolute()
        self._clock = clock
        self._token_retention_ms = token_retention_ms
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._create = create
        self._database: Database | None = None
        self._inherited: list[Database] = []

    async def setup(self, *, dry_run: bool) -> Sequence[str]:
        try:
            steps = await asyncio.to_thread(missing, self.path, self._busy_timeout)
            if steps and not dry_run:
                self._make_folder()
                await asyncio.to_thread(self._migrate)
        except sqlite3.Error as error:
            raise translate(error, self.path) from error
        return steps

    async def open(self) -> None:
        """Create the file if need be. Raises `ConfigurationError` if it may not, or its folder cannot be, made."""
        if self._database is not None:
            if self._database.pid == os.getpid():
                return
            self._inherited.append(self._database)  # kept, so that nothing closes it here
            self._database = None
        if sqlite3.sqlite_version_info < SQLITE_OLDEST:
            oldest = ".".join(map(str, SQLITE_OLDEST))
            raise ConfigurationError(f"sqlite: Python has SQLite {sqlite3.sqlite_version} here; {oldest} is the oldest")
        if not self._create and not self.path.exists():
            raise ConfigurationError(
                f"sqlite: there is no file {self.path}; counting makes it, unless the store URL says create=no, and so"
                " does plusone setup"
            )
        self._make_folder()
        writer = Writer(
            self.path,
            self._clock,
            token_retention_ms=self._token_retention_ms,
            synchronous=self._synchronous,
            busy_seconds=self._busy_timeout,
        )
        database = Database(self.path, writer, self._busy_timeout)
        try:
            await database.check()
        except BaseException:
            await database.close()
            raise
        self._database = database

    async def apply(self, batch: Sequence[GuardedAdd]) -> Sequence[Answer | PlusoneError]:
        return await self._open_here().apply(batch) if batch else []

    async def read(self, keys: Sequence[str], *, strong: bool) -> Sequence[Record]:
        """Every read is strong: what was acknowledged is committed, and a new read sees every commit."""
        found = _decode_read(await self._open_here().read(_READ, (_encode(keys).decode(),)))
        now_ms = self._clock.wall_ms()
        records = {}
        for key, value, revision, expires_ms, updated_ms in found:
            alive = expires_ms is None or expires_ms > now_ms
            records[key] = Record(value if alive else 0, revision, alive, updated_ms)
        return [records.get(key, _ABSENT) for key in keys]

    async def list(
        self, prefix: str, limit: int, page_token: str | None
    ) -> tuple[Sequence[tuple[str, Record]], str | None]:
        """In the order of the keys' bytes. A page token holds the last key."""
        after = "" if page_token is None else paging.decode_key(page_token, prefix)
        asked = {"prefix": prefix, "after": after, "now_ms": self._clock.wall_ms(), "limit": limit + 1}
        found = sorted(_decode_list(await self._open_here().read(_LIST, asked)))
        page = [(key, Record(value, revision, True, updated_ms)) for key, value, revision, updated_ms in found[:limit]]
        return page, paging.encode_key(page[-1][0]) if len(found) > limit else None

    async def check(self) -> None:
        await self._open_here().check()

    async def close(self) -> None:
        """What was given to `apply` before is written first."""
        database, self._database = self._database, None
        if database is not None and database.pid == os.getpid():
            await database.close()

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"sqlite: cannot make the folder {self.path.parent}: {error.strerror}") from error

    def _migrate(self) -> None:
        connect_writer(self.path, self._synchronous, self._busy_timeout).close()

    def _open_here(self) -> Database:
        if self._database is None:
            raise StoreRefused("the SQLite store is not open")
        if self._database.pid != os.getpid():
            raise StoreRefused("the SQLite store was opened before a fork; open it again in this process")
        return self._database


def _path(url: StoreURL) -> Path:
    if url.parts.netloc or url.parts.fragment:
        raise ConfigurationError("sqlite: write sqlite:///absolute/path.db or sqlite:relative/path.db (and %23 for #)")
    path = url.path
    if not path or path.endswith("/") or "\0" in path:
        raise ConfigurationError("sqlite: the URL must name a file, as in sqlite:///absolute/path.db")
    if path.endswith(":memory:"):
        raise ConfigurationError("sqlite: :memory: is not durable; name a file, or use memory://")
    return Path(path)
