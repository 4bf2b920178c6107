"""Counting with redis-py, as it is commonly written."""

from __future__ import annotations

import asyncio
import contextlib
import os.path
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from plusone.lab.subjects.protocol import PLACE, Connect, Counted, Counting, Subject
from plusone.stores import resources
from plusone.stores.registry import StoreURL

_SCHEMES: Final = frozenset({"redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel"})
_SHARDS: Final = 8
_FLUSH_SECONDS: Final = 0.1
_CLAIM_SECONDS: Final = 86_400
_CONNECTIONS: Final = 4_096
"""As many as callers may ask at once. Where other drivers' pools let a caller wait, redis-py's raises, at 100: and what
is compared is the recipe, not the size of a pool."""
_REMOVED_AT_ONCE: Final = 1_000
_GLOB: Final = str.maketrans({char: f"\\{char}" for char in "\\*?[]"})


class _Counter:
    """redis-py's client; a key is a counter."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    async def read(self, name: str) -> Counted:
        return Counted(value=int(await self._redis.get(name) or 0))

    async def remove(self, names: Sequence[str]) -> None:
        for name in names:
            await self._redis.delete(name)


class _Incrby(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        return Counted(value=await self._redis.incrby(name, 1))


class _GetCheckIncr(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        value = int(await self._redis.get(name) or 0)
        if ceiling is not None and value >= ceiling:
            return Counted(applied=False, value=value)
        return Counted(value=await self._redis.incr(name))


class _Lua(_Counter):
    def __init__(self, redis: Any) -> None:
        super().__init__(redis)
        self._script = redis.register_script(resources.text(__package__, "maximum.lua"))

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        applied, value = await self._script(keys=[name], args=["" if ceiling is None else ceiling])
        return Counted(applied=bool(applied), value=value)


class _Claiming(_Counter):
    """The idempotency key is claimed, then the increment is done: whoever finds the key claimed has been served."""

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        return await self.increment_once(name, ceiling, random.randbytes(8).hex())

    async def increment_once(self, name: str, ceiling: int | None, token: str) -> Counted:
        if await self._redis.set(f"{name}:{token}", 1, nx=True, ex=_CLAIM_SECONDS):
            await self._redis.incr(name)
        return Counted()

    async def remove(self, names: Sequence[str]) -> None:
        await super().remove(names)
        # Every scan walks the whole keyspace, whatever it looks for: one for all names, and a look at what it finds.
        ours, claimed = frozenset(names), list[str]()
        prefix = os.path.commonprefix(list(names)).translate(_GLOB)  # noqa: RUF071 - of strings, not of paths
        async for key in self._redis.scan_iter(match=f"{prefix}*:*", count=_REMOVED_AT_ONCE):
            if key.rpartition(":")[0] in ours:
                claimed.append(key)
            if len(claimed) >= _REMOVED_AT_ONCE:
                await self._redis.delete(*claimed)
                claimed.clear()
        if claimed:
            await self._redis.delete(*claimed)


class _Sharded(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        await self._redis.incr(f"{name}:{random.randrange(_SHARDS)}")
        return Counted()

    async def read(self, name: str) -> Counted:
        return Counted(value=sum([int(await self._redis.get(shard) or 0) for shard in _shards(name)]))

    async def remove(self, names: Sequence[str]) -> None:
        await super().remove([shard for name in names for shard in _shards(name)])


class _Buffered(_Counter):
    """Increments are summed up in the process, and what has come together is added on a timer."""

    def __init__(self, redis: Any) -> None:
        super().__init__(redis)
        self._pending: dict[str, int] = {}

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        self._pending[name] = self._pending.get(name, 0) + 1
        return Counted()

    async def flush(self) -> None:
        while self._pending:
            name, amount = self._pending.popitem()
            try:
                await self._redis.incrby(name, amount)
            except Exception:
                self._pending[name] = self._pending.get(name, 0) + amount
                return

    async def flush_on_a_timer(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _FLUSH_SECONDS)
            await self.flush()


def _shards(name: str) -> Sequence[str]:
    return [f"{name}:{shard}" for shard in range(_SHARDS)]


def client(url: str) -> Any:
    """redis-py's asyncio client: one server's, a cluster's, or the primary's that sentinels name.

    It has redis-py's defaults, but for a pool that is large enough for every caller.
    """
    from redis.asyncio import Redis, RedisCluster, Sentinel
    from redis.asyncio.cluster import ClusterNode

    from plusone.stores.redis.settings import Settings

    settings = Settings.from_url(StoreURL.parse(url))
    pool: dict[str, Any] = {"max_connections": _CONNECTIONS}
    login: dict[str, Any] = {"username": settings.username, "password": settings.password, "decode_responses": True}
    tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": settings.ca_file} if settings.tls else {}
    if "+cluster" in url.partition("://")[0]:
        nodes = [ClusterNode(host, port) for host, port in settings.hosts]
        return RedisCluster(startup_nodes=nodes, **login, **tls, **pool)
    if settings.primary_name:
        # Every new connection asks a sentinel first, over a pool that is bounded too.
        sentinels = Sentinel(settings.hosts, sentinel_kwargs=pool)  # type: ignore[no-untyped-call]
        return sentinels.master_for(settings.primary_name, db=settings.database, **login, **pool)
    [(host, port)] = settings.hosts
    return Redis(host=host, port=port, db=settings.database, **login, **tls, **pool)


def _with(kind: Callable[[Any], Counting]) -> Connect:
    """Connects a recipe that needs nothing but the client."""

    @contextlib.asynccontextmanager
    async def connect(url: str, place: str = PLACE) -> AsyncIterator[Counting]:
        async with client(url) as redis:
            yield kind(redis)

    return connect


@contextlib.asynccontextmanager
async def _buffered(url: str, place: str = PLACE) -> AsyncIterator[_Buffered]:
    async with client(url) as redis:
        buffered, stopping = _Buffered(redis), asyncio.Event()
        timer = asyncio.create_task(buffered.flush_on_a_timer(stopping))
        try:
            yield buffered
        finally:
            stopping.set()
            await timer


INCRBY: Final = Subject(
    name="redis-incrby",
    title="redis-py `INCRBY`",
    schemes=_SCHEMES,
    found='Redis\'s manual, INCR, "Pattern: Counter"; nearly every introduction to Redis',
    told="value",
    bounded=False,
    weaknesses=frozenset({"phantom increment"}),
    connect=_with(_Incrby),
)
GET_CHECK_INCR: Final = Subject(
    name="redis-get-check-incr",
    title="redis-py `GET`, a check, `INCR`",
    schemes=_SCHEMES,
    found='Redis\'s manual, INCR, "Pattern: Rate limiter 2", and what is written after it without its MULTI',
    told="value",
    bounded=True,
    weaknesses=frozenset({"phantom increment", "bound crossed"}),
    connect=_with(_GetCheckIncr),
)
LUA: Final = Subject(
    name="redis-lua-maximum",
    title="redis-py, a Lua script with a maximum",
    schemes=_SCHEMES,
    found="articles on counters with a maximum, quotas and rate limits on Redis",
    told="value",
    bounded=True,
    weaknesses=frozenset({"phantom increment"}),
    connect=_with(_Lua),
)
CLAIMING: Final = Subject(
    name="redis-claimed-key",
    title="redis-py `SET NX` of an idempotency key, then `INCR`",
    schemes=_SCHEMES,
    found="articles on idempotent requests and the deduplication of events with Redis",
    told="nothing",
    bounded=False,
    tokens=True,
    writes=2.0,
    weaknesses=frozenset({"lost update", "phantom increment", "stale read"}),
    # What is counted twice shows on counters alone that did not lose more than that.
    rare=frozenset({"phantom increment", "stale read"}),
    connect=_with(_Claiming),
)
SHARDED: Final = Subject(
    name="redis-sharded",
    title="redis-py, eight shards summed on read",
    schemes=_SCHEMES,
    found="distributed counters of Firestore's manual, and the sharded counters of system design articles",
    told="nothing",
    bounded=False,
    weaknesses=frozenset({"phantom increment"}),
    connect=_with(_Sharded),
)
BUFFERED: Final = Subject(
    name="redis-buffered",
    title="redis-py, summed in the process, `INCRBY` on a timer",
    schemes=_SCHEMES,
    found="view counters of system design articles; write-behind counters of web frameworks' extensions",
    told="nothing",
    bounded=False,
    writes=None,
    weaknesses=frozenset({"lost update", "phantom increment", "stale read"}),
    rare=frozenset({"lost update"}),
    connect=_buffered,
)
