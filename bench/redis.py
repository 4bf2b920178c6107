"""Redis: one server that keeps everything in memory, and redis-py with its defaults."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

from redis.asyncio import Redis

from bench import servers
from bench.plain import CALLERS, Plain


class _RedisPy:
    def __init__(self, port: int) -> None:
        self.redis = Redis(port=port, max_connections=CALLERS)

    async def increment(self, name: str) -> object:
        return await self.redis.incr(name)

    async def read(self, name: str) -> int:
        return int(await self.redis.get(name) or 0)


@contextlib.asynccontextmanager
async def _connect(url: str) -> AsyncIterator[_RedisPy]:
    client = _RedisPy(urlsplit(url).port or 6379)
    try:
        yield client
    finally:
        await client.redis.aclose()


@contextlib.contextmanager
def _server() -> Iterator[str]:
    with servers.redis_server() as port:
        yield f"redis://127.0.0.1:{port}/0"


PLAIN = Plain("redis", "Redis", "redis-py `INCR`", _server, _connect)
