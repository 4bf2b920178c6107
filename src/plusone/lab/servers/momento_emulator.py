"""An emulator of Momento: the real wire types over gRPC, what is stored in memory, and the limits that Momento states.

    python -m plusone.lab.servers.momento_emulator --port 8090 --cache counters

It serves what plusone asks for, and the increments that it is measured against. Momento's own behaviour is known to it
from the documentation and the SDKs only: Momento itself was not run.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc
from momento_wire_types import cacheclient_pb2 as cache_pb
from momento_wire_types import cacheclient_pb2_grpc as cache_grpc
from momento_wire_types import controlclient_pb2 as control_pb
from momento_wire_types import controlclient_pb2_grpc as control_grpc

TTL_MAX_MS: Final = 24 * 60 * 60 * 1000
ITEM_BYTES_MAX: Final = 1024 * 1024
_MESSAGE_BYTES_MAX: Final = 5 * 1024 * 1024


class Cache:
    """One cache: items by key, each with the moment at which it ends."""

    def __init__(self, operations_per_second: int) -> None:
        self._items: dict[bytes, tuple[bytes, float]] = {}
        self._rate = operations_per_second
        self._second = 0
        self._operations = 0

    def admits(self) -> bool:
        """Count an operation; whether it is within the rate."""
        if not self._rate:
            return True
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._operations = second, 0
        self._operations += 1
        return self._operations <= self._rate

    def get(self, key: bytes) -> bytes | None:
        found = self._items.get(key)
        if found is None:
            return None
        if found[1] <= time.monotonic():
            del self._items[key]
            return None
        return found[0]

    def set(self, key: bytes, value: bytes, ttl_ms: int) -> None:
        self._items[key] = (value, time.monotonic() + ttl_ms / 1000)

    def delete(self, key: bytes) -> None:
        self._items.pop(key, None)


class Caches:
    """All caches of the one account, and what a call has to bring along."""

    def __init__(self, api_key: str, operations_per_second: int) -> None:
        self._api_key = api_key
        self._rate = operations_per_second
        self._caches: dict[str, Cache] = {}

    def names(self) -> Sequence[str]:
        return sorted(self._caches)

    def create(self, name: str) -> bool:
        """Whether there was none of this name."""
        if name in self._caches:
            return False
        self._caches[name] = Cache(self._rate)
        return True

    async def authorize(self, context: grpc.aio.ServicerContext) -> dict[str, str]:
        """The call's metadata, if its key is the account's."""
        metadata = dict(context.invocation_metadata())
        if self._api_key and metadata.get("authorization") != self._api_key:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid authentication credentials to access Momento")
        return metadata

    async def admit(self, context: grpc.aio.ServicerContext, *, ttl_ms: int = 1, size: int = 0) -> Cache:
        """The cache that the call is about, if there is one, the call keeps to its limits, and the ttl is one."""
        cache = self._caches.get((await self.authorize(context)).get("cache", ""))
        if cache is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "Cache with the specified name does not exist")
            raise AssertionError
        if not cache.admits():
            await _exceeded(context, "operations_rate_limit_exceeded")
        if size > ITEM_BYTES_MAX:
            await _exceeded(context, "item_size_limit_exceeded")
        if not 1 <= ttl_ms <= TTL_MAX_MS:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "TTL must be from 1 ms to 24 h")
        return cache


async def _exceeded(context: grpc.aio.ServicerContext, limit: str) -> NoReturn:
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Limit exceeded", (("err", limit),))
    raise AssertionError


class Scs(cache_grpc.ScsServicer):
    """The data plane. Each step on an item is one piece of Python without an await, and so atomic."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    async def Get(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        cache = await self._caches.admit(context)
        value = cache.get(request.cache_key)
        if value is None:
            return cache_pb._GetResponse(result=cache_pb.Miss)
        return cache_pb._GetResponse(result=cache_pb.Hit, cache_body=value)

    async def Set(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        cache = await self._caches.admit(context, ttl_ms=request.ttl_milliseconds, size=len(request.cache_body))
        cache.set(request.cache_key, request.cache_body, request.ttl_milliseconds)
        return cache_pb._SetResponse(result=cache_pb.Ok)

    async def SetIf(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        cache = await self._caches.admit(context, ttl_ms=request.ttl_milliseconds, size=len(request.cache_body))
        condition = request.WhichOneof("condition")
        if condition is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "SetIf without a condition")
        if not _holds(condition, request, cache.get(request.cache_key)):
            return cache_pb._SetIfResponse(not_stored=cache_pb._SetIfResponse._NotStored())
        cache.set(request.cache_key, request.cache_body, request.ttl_milliseconds)
        return cache_pb._SetIfResponse(stored=cache_pb._SetIfResponse._Stored())

    async def Delete(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        cache = await self._caches.admit(context)
        cache.delete(request.cache_key)
        return cache_pb._DeleteResponse()

    async def Increment(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        cache = await self._caches.admit(context, ttl_ms=request.ttl_milliseconds)
        text = cache.get(request.cache_key)
        try:
            value = int(text or b"0") + request.amount
        except ValueError:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "The item is no integer")
        cache.set(request.cache_key, b"%d" % value, request.ttl_milliseconds)
        return cache_pb._IncrementResponse(value=value)


class ScsControl(control_grpc.ScsControlServicer):
    """The control plane: which caches there are."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    async def ListCaches(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        """One cache on each page, so that whoever reads only the first page is found out."""
        await self._caches.authorize(context)
        names = [name for name in self._caches.names() if name > request.next_token]
        following = names[0] if len(names) > 1 else ""
        page = [control_pb._Cache(cache_name=name) for name in names[:1]]
        return control_pb._ListCachesResponse(cache=page, next_token=following)

    async def CreateCache(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        await self._caches.authorize(context)
        if not self._caches.create(request.cache_name):
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "A cache with the specified name already exists")
        return control_pb._CreateCacheResponse()


def _holds(condition: str, request: Any, present: bytes | None) -> bool:
    """Whether the item as it is, None where there is none, meets the condition."""
    if condition == "absent":
        return present is None
    if condition == "present":
        return present is not None
    value: bytes = getattr(request, condition).value_to_check
    if condition == "equal":
        return present == value
    if condition == "not_equal":
        return present != value
    if condition == "absent_or_equal":
        return present is None or present == value
    assert condition == "present_and_not_equal"
    return present is not None and present != value


async def serve(options: argparse.Namespace) -> None:
    caches = Caches(options.api_key, options.operations_per_second)
    for name in options.cache:
        caches.create(name)
    server = grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
            # Two on one port would share it silently.
            ("grpc.so_reuseport", 0),
            # So that the first bytes behind a request are its answer, and no measurement of the network.
            ("grpc.http2.bdp_probe", 0),
        )
    )
    cache_grpc.add_ScsServicer_to_server(Scs(caches), server)  # type: ignore[no-untyped-call]
    control_grpc.add_ScsControlServicer_to_server(ScsControl(caches), server)  # type: ignore[no-untyped-call]
    address = f"127.0.0.1:{options.port}"
    if options.certificate:
        server.add_secure_port(address, _credentials(options))
    else:
        server.add_insecure_port(address)
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await server.stop(None)


def _credentials(options: argparse.Namespace) -> grpc.ServerCredentials:
    pair = (Path(options.key).read_bytes(), Path(options.certificate).read_bytes())
    return grpc.ssl_server_credentials([pair])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cache", action="append", default=[], help="a cache that is there from the start")
    parser.add_argument("--api-key", default="", help="what calls must be authorized with; without it anything goes")
    parser.add_argument("--operations-per-second", type=int, default=0, help="of a cache; 0 is no limit")
    parser.add_argument("--certificate", help="a PEM file: speak TLS")
    parser.add_argument("--key", help="the certificate's key, a PEM file")
    asyncio.run(serve(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
