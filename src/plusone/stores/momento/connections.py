"""One connection to Momento's data plane at a time. gRPC speaks; when to speak, and never twice, is decided here.

A gRPC channel connects when it likes and hides whether a call ever left. So a channel is used for one connection: it
has to answer a question that changes nothing before anything else is sent, and is given up once it is no longer ready,
or was silent until somebody ran out of patience. Then the next one is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from plusone.errors import OutcomeUnknown, PlusoneError, StoreUnavailable
from plusone.stores.momento.errors import while_connecting
from plusone.stores.momento.settings import Settings
from plusone.stores.momento.wire import ScsStub, cache

LONGEST_SECONDS: Final = 60.0
"""No call outlives this; how long one is really waited for is its caller's to say, by cancelling."""

Call: TypeAlias = Any
"""A `grpc.aio.UnaryUnaryCall`: under way since it was made."""


class Connection:
    """A channel, as long as it is good."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metadata = settings.metadata()
        self._channel = settings.channel(settings.data)
        self._stub = ScsStub(self._channel)
        self._proof: asyncio.Task[None] | None = None
        self._answered = 0
        self._exchanges = 0
        self._given_up = False

    def get(self, key: bytes) -> Call:
        # Without the concern Momento may answer from a copy that lags behind.
        metadata = (*self._metadata, ("read-concern", "consistent"))
        return self._stub.Get(cache._GetRequest(cache_key=key), timeout=LONGEST_SECONDS, metadata=metadata)

    def set_if(self, request: cache._SetIfRequest) -> Call:
        return self._stub.SetIf(request, timeout=LONGEST_SECONDS, metadata=self._metadata)

    @property
    def good(self) -> bool:
        """Whether a call may be sent: it was proven, and has not ended since."""
        if self._given_up or self._proof is None or not self._proof.done() or self._proof.exception() is not None:
            return False
        return bool(self._channel.get_state() is grpc.ChannelConnectivity.READY)

    @property
    def proving(self) -> bool:
        return not self._given_up and (self._proof is None or not self._proof.done())

    async def prove(self) -> None:
        """Connect, and see that Momento answers; for all who wait together. Raises definite errors only."""
        if self._proof is None:
            self._proof = asyncio.get_running_loop().create_task(self._prove())
            self._proof.add_done_callback(_seen)
        try:
            # Whoever gives up waiting takes nothing from the others, nor from who comes next.
            await asyncio.shield(self._proof)
        except asyncio.CancelledError:
            if not _cancelled_from_outside():
                raise StoreUnavailable("Momento: the store was closed while it connected") from None
            raise

    async def exchange(self, calls: Sequence[Call]) -> list[Any]:
        """The responses, in order; where a call failed, `grpc.aio.AioRpcError` or `OutcomeUnknown` in its place.

        Cancelled, it cancels what is not answered. The connection is given up then, unless it has answered anybody
        meanwhile: it may lead nowhere.
        """
        answered = self._answered
        self._exchanges += 1
        try:
            return [await self._response(call) for call in calls]
        except BaseException as error:
            _cancel(calls)
            if self._answered == answered:
                await self.give_up()
            # The frames that the error remembers know the calls, and these would keep their connection open.
            del calls
            raise error.with_traceback(None) from None
        finally:
            self._exchanges -= 1
            if self._given_up:
                await self.give_up()

    async def give_up(self) -> None:
        """Close it, when the last of its exchanges has ended."""
        self._given_up = True
        if not self._exchanges:
            await self.close()

    async def close(self) -> None:
        """Close it now; exchanges under way fail."""
        self._given_up = True
        if self._proof is not None:
            self._proof.cancel()
        await self._channel.close()

    async def _prove(self) -> None:
        seconds = self._settings.connect_timeout_ms / 1000
        request = cache._GetRequest(cache_key=f"{self._settings.prefix}?".encode())
        try:
            await self._stub.Get(request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise while_connecting(error, self._settings.key_from) from error

    async def _response(self, call: Call) -> Any:
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            return error
        except asyncio.CancelledError:
            if _cancelled_from_outside():
                raise
            return OutcomeUnknown("Momento: the connection was closed while a call was under way")
        self._answered += 1
        return response


class Connections:
    """The present connection, and the one after it when that has ended."""

    def __init__(self, make: Callable[[], Connection]) -> None:
        self._make = make
        self._present: Connection | None = None

    async def ready(self) -> Connection:
        """A connection that is good. Raises `StoreUnavailable` or `StoreRefused`: nothing has been sent then."""
        connection = self._present
        if connection is not None and connection.good:
            return connection
        if connection is None or not connection.proving:
            if connection is not None:
                await connection.give_up()
            connection = self._present = self._make()
        try:
            await connection.prove()
        except PlusoneError:
            await connection.close()
            raise
        return connection

    async def close(self) -> None:
        connection, self._present = self._present, None
        if connection is not None:
            await connection.close()


def _cancelled_from_outside() -> bool:
    """Whether the task is being cancelled; gRPC raises the same error where a call was, by a channel that closes."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _cancel(calls: Sequence[Call]) -> None:
    for call in calls:
        call.cancel()


def _seen(proof: asyncio.Task[None]) -> None:
    """Those who waited may all have gone: nobody else looks at how it ended."""
    if not proof.cancelled():
        proof.exception()
