"""Momento's control plane: which caches there are, and one more."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final

import grpc
import grpc.aio

from plusone.errors import StoreUnavailable
from plusone.stores.momento.errors import translate, while_connecting
from plusone.stores.momento.settings import Settings
from plusone.stores.momento.wire import ScsControlStub, control

_SECONDS: Final = 30.0
_PAGES_MAX: Final = 1_000


class Control:
    """A connection to the control plane, open within `async with`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channel: Any = None
        self._stub: Any = None

    async def __aenter__(self) -> Control:
        self._channel = self._settings.channel(self._settings.control)
        self._stub = ScsControlStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def caches(self) -> set[str]:
        """The names of all caches of the account, page by page."""
        names: set[str] = set()
        next_token = ""
        for _ in range(_PAGES_MAX):
            request = control._ListCachesRequest(next_token=next_token)
            try:
                response = await self._stub.ListCaches(request, timeout=_SECONDS, metadata=self._settings.metadata())
            except grpc.RpcError as error:
                raise while_connecting(error, self._settings.key_from) from error
            names.update(cache.cache_name for cache in response.cache)
            next_token = response.next_token
            if not next_token:
                return names
        raise StoreUnavailable(f"Momento: the list of caches does not end within {_PAGES_MAX} pages")

    async def create(self, name: str) -> None:
        """Create a cache; that somebody else did so meanwhile is as good."""
        request = control._CreateCacheRequest(cache_name=name)
        try:
            await self._stub.CreateCache(request, timeout=_SECONDS, metadata=self._settings.metadata())
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise translate(error, self._settings.key_from) from error
