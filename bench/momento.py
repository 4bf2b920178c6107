"""Momento, by the lab's emulator: the real wire types over gRPC, with gRPC's defaults. Momento was not run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import grpc.aio

from bench import servers
from bench.plain import Plain
from plusone.lab.servers import momento
from plusone.stores.momento.wire import ScsStub, cache

_DAY_MS: Final = 86_400_000


class _Increment:
    """The call that Momento has for it; over one connection, as its SDK makes it."""

    def __init__(self, stub: Any, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub = stub
        self._metadata = metadata

    async def increment(self, name: str) -> object:
        return await self._add(name, 1)

    async def read(self, name: str) -> int:
        return await self._add(name, 0)

    async def _add(self, name: str, amount: int) -> int:
        request = cache._IncrementRequest(cache_key=name.encode(), amount=amount, ttl_milliseconds=_DAY_MS)
        response = await self._stub.Increment(request, metadata=self._metadata)
        return int(response.value)


@contextlib.asynccontextmanager
async def _connect(url: str) -> AsyncIterator[_Increment]:
    parts = urlsplit(url)
    async with grpc.aio.insecure_channel(dict(parse_qsl(parts.query))["endpoint"]) as channel:
        yield _Increment(ScsStub(channel), (("authorization", momento.API_KEY), ("cache", parts.netloc)))


@contextlib.contextmanager
def _server() -> Iterator[str]:
    if reason := momento.missing():
        raise servers.Missing(reason)
    with momento.momento_emulator() as server, momento.api_key():
        yield momento.url_of(server)


PLAIN = Plain("momento", "an emulator of Momento, in memory", "Momento's `Increment`", _server, _connect)
