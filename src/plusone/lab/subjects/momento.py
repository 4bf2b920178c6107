"""Counting with Momento's calls, as its SDK makes them: the real wire types over one gRPC connection."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from plusone.lab.subjects.protocol import PLACE, Connect, Counted, Counting, Subject
from plusone.stores.registry import StoreURL

_SCHEMES: Final = frozenset({"momento"})
_TTL_MS: Final = 3_600_000
"""What is left behind ends by itself within the hour."""


class _Conflict(Exception):
    """Somebody else was the first: the recipe says "please try again"."""


class _Counter:
    """An item of the cache is a counter."""

    def __init__(self, stub: Any, wire: Any, metadata: Sequence[tuple[str, str]]) -> None:
        self._stub = stub
        self._wire = wire
        self._metadata = metadata

    async def read(self, name: str) -> Counted:
        return Counted(value=await self._get(name) or 0)

    async def remove(self, names: Sequence[str]) -> None:
        for name in names:
            await self._stub.Delete(self._wire._DeleteRequest(cache_key=name.encode()), metadata=self._metadata)

    async def _get(self, name: str) -> int | None:
        request = self._wire._GetRequest(cache_key=name.encode())
        found = await self._stub.Get(request, metadata=(*self._metadata, ("read-concern", "consistent")))
        return int(found.cache_body) if found.result == self._wire.Hit else None


class _Increment(_Counter):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        request = self._wire._IncrementRequest(cache_key=name.encode(), amount=1, ttl_milliseconds=_TTL_MS)
        return Counted(value=int((await self._stub.Increment(request, metadata=self._metadata)).value))


class _SetIfNotEqual(_Counter):
    """What is set must not be the maximum already; that it is still what was read is not asked."""

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        value = await self._get(name)
        if value is None:
            if not await self._set_if(name, 1, absent={}):
                raise _Conflict
            return Counted(value=1)
        maximum = b"" if ceiling is None else b"%d" % ceiling
        if not await self._set_if(name, value + 1, present_and_not_equal={"value_to_check": maximum}):
            return Counted(applied=False)
        return Counted(value=value + 1)

    async def _set_if(self, name: str, value: int, **condition: Any) -> bool:
        request = self._wire._SetIfRequest(
            cache_key=name.encode(), cache_body=b"%d" % value, ttl_milliseconds=_TTL_MS, **condition
        )
        answer = await self._stub.SetIf(request, metadata=self._metadata)
        return bool(answer.WhichOneof("result") == "stored")


@contextlib.asynccontextmanager
async def _stub(url: str) -> AsyncIterator[tuple[Any, Any, Sequence[tuple[str, str]]]]:
    import grpc
    import grpc.aio

    from plusone.stores.momento.settings import Settings
    from plusone.stores.momento.wire import ScsStub, cache

    settings = Settings.from_url(StoreURL.parse(url))
    opened = (
        grpc.aio.secure_channel(settings.data, grpc.ssl_channel_credentials())
        if settings.tls
        else grpc.aio.insecure_channel(settings.data)
    )
    async with opened as channel:
        yield ScsStub(channel), cache, settings.metadata()


def _with(kind: type[_Increment] | type[_SetIfNotEqual]) -> Connect:
    @contextlib.asynccontextmanager
    async def connect(url: str, place: str = PLACE) -> AsyncIterator[Counting]:
        async with _stub(url) as parts:
            yield kind(*parts)

    return connect


INCREMENT: Final = Subject(
    name="momento-increment",
    title="Momento's `Increment`",
    schemes=_SCHEMES,
    found="Momento's announcement of its increment API, and its manual",
    told="value",
    bounded=False,
    weaknesses=frozenset({"phantom increment"}),
    connect=_with(_Increment),
)
SET_IF_NOT_EQUAL: Final = Subject(
    name="momento-get-then-set",
    title="Momento's get, then `setIfPresentAndNotEqual`",
    schemes=_SCHEMES,
    found="articles on atomic counters with a maximum on Momento, which has no conditional increment",
    told="value",
    bounded=True,
    # An increment that counted twice takes a place below the maximum, from which then somebody else is turned away.
    weaknesses=frozenset({"phantom increment", "lost update", "duplicate value", "false rejection"}),
    rare=frozenset({"false rejection"}),
    connect=_with(_SetIfNotEqual),
)
