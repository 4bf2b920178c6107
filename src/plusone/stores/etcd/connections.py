"""Connections to the members of an etcd: one channel each, with one request at a time. aetcd's messages travel on them.

aetcd's own client is left out: it knows one member, no TLS, and joins connecting, authenticating and sending into one.
Here they are steps of their own, so that a failure of the first two is known to be definite. A channel whose request
failed or was given up is closed, and the next one goes to the next member: this one may be dead, or alone.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aetcd import rpc
from grpc import ChannelConnectivity
from grpc.aio import AioRpcError, BaseError, Channel

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores.etcd.errors import AUTH_NOT_ENABLED, translate, while_connecting
from plusone.stores.etcd.settings import Settings

OLDEST: Final = (3, 4)
# A member that knows no leader says so at once, before it takes the request.
_WITH_LEADER: Final = (("hasleader", "true"),)


class Connection:
    """A channel to a member that answered."""

    def __init__(self, channel: Channel, endpoint: str, metadata: tuple[tuple[str, str], ...]) -> None:
        self.endpoint = endpoint
        self._channel: Channel | None = channel
        self._metadata = metadata
        kv, lease = rpc.KVStub(channel), rpc.LeaseStub(channel)
        self._methods = {"Range": kv.Range, "Txn": kv.Txn, "LeaseGrant": lease.LeaseGrant}

    @property
    def stands(self) -> bool:
        return self._channel is not None and self._channel.get_state() is ChannelConnectivity.READY

    async def call(self, method: str, request: Any) -> Any:
        """The answer; raises `AioRpcError`, and `CancelledError` where it or the channel was given up."""
        call = self._methods[method](request, metadata=self._metadata)
        try:
            return await call
        except (AioRpcError, asyncio.CancelledError) as error:
            failure = error.with_traceback(None)
        finally:
            # gRPC hangs up when nobody holds anything of the channel any more. Neither may the error, by its frames.
            del call
        raise failure

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        self._methods.clear()
        if channel is not None:
            await channel.close()


class Connections:
    """Up to `settings.connections`; who comes when all are busy waits for one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(settings.connections)
        self._in_use: set[Connection] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._member = 0
        """Which endpoint is asked first."""

    async def call(self, method: str, request: Any) -> Any:
        """The answer to one request; `method` is Range, Txn or LeaseGrant.

        Raises `StoreUnavailable` or `StoreRefused` where it was definitely not executed, else `OutcomeUnknown`.
        """
        async with self._room:
            connection = await self._take()
            try:
                answer = await connection.call(method, request)
            except AioRpcError as error:
                failure = translate(error)
                if isinstance(failure, StoreRefused):
                    self._give_back(connection)
                else:
                    self._leave(connection)
                raise failure from error
            except asyncio.CancelledError:
                self._leave(connection)
                if _cancelled():
                    raise
                raise OutcomeUnknown("etcd: the store was closed meanwhile") from None
            except BaseException as error:
                self._leave(connection)
                if isinstance(error, BaseError):  # gRPC's words for a channel that was closed, or for its own faults
                    raise OutcomeUnknown(f"etcd: {error}") from error
                raise
            self._give_back(connection)
            return answer

    async def close(self) -> None:
        """Close all connections; a call under way fails."""
        for connection in (*self._idle, *self._in_use):
            self._close(connection)
        self._idle.clear()
        self._in_use.clear()
        while self._closing:
            await asyncio.wait(self._closing)

    async def _take(self) -> Connection:
        """A connection that stands: an idle one, or a new one to the first member that will have us."""
        while self._idle:
            connection = self._idle.pop()
            if connection.stands:
                self._in_use.add(connection)
                return connection
            self._close(connection)
        endpoints = self._settings.endpoints
        failures: list[PlusoneError] = []
        for _ in endpoints:
            endpoint = endpoints[self._member % len(endpoints)]
            try:
                connection = await self._connect(endpoint)
            except (StoreUnavailable, StoreRefused) as failure:
                failures.append(failure)
                self._member += 1
                continue
            self._in_use.add(connection)
            return connection
        raise next((failure for failure in failures if isinstance(failure, StoreRefused)), failures[-1])

    async def _connect(self, endpoint: str) -> Connection:
        """Connect, say who we are, and see that the member answers and has a leader."""
        channel = self._settings.channel(endpoint)
        seconds = self._settings.connect_timeout_ms / 1000
        try:
            token = await self._authenticate(channel, seconds)
            status = await rpc.MaintenanceStub(channel).Status(rpc.StatusRequest(), metadata=token, timeout=seconds)
            _check(status, endpoint)
        except AioRpcError as error:
            self._close(channel)
            raise while_connecting(error, endpoint) from error.with_traceback(None)
        except BaseException:
            self._close(channel)
            raise
        return Connection(channel, endpoint, (*token, *_WITH_LEADER))

    async def _authenticate(self, channel: Channel, seconds: float) -> tuple[tuple[str, str], ...]:
        if self._settings.username is None:
            return ()
        who = rpc.AuthenticateRequest(name=self._settings.username, password=self._settings.password)
        try:
            answer = await rpc.AuthStub(channel).Authenticate(who, timeout=seconds)
        except AioRpcError as error:
            if error.details() == AUTH_NOT_ENABLED:
                return ()  # it lets everybody in, as etcd's own client takes it
            raise
        return (("token", answer.token),)

    def _give_back(self, connection: Connection) -> None:
        if connection in self._in_use:
            self._in_use.discard(connection)
            self._idle.append(connection)

    def _leave(self, connection: Connection) -> None:
        """Close it, and those that lead to the same member and are idle: the next request goes to another member."""
        endpoints = self._settings.endpoints
        if endpoints[self._member % len(endpoints)] == connection.endpoint:
            self._member += 1
        self._in_use.discard(connection)
        self._close(connection)
        others = [idle for idle in self._idle if idle.endpoint != connection.endpoint]
        for idle in self._idle:
            if idle not in others:
                self._close(idle)
        self._idle = others

    def _close(self, connection: Connection | Channel) -> None:
        """In the background: whoever gave up waits for nothing more."""
        task = asyncio.get_running_loop().create_task(connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _check(status: Any, endpoint: str) -> None:
    """Raise for a member that cannot serve us."""
    version = tuple(int(part) for part in status.version.split(".")[:2] if part.isdigit())
    if version < OLDEST:
        raise StoreRefused(f"etcd, {endpoint}: version {status.version}; 3.4 is the oldest that plusone can use")
    if not status.leader:
        raise StoreUnavailable(f"etcd, {endpoint}: the member knows no leader; see that most members run")


def _cancelled() -> bool:
    """Whether our own task is; gRPC raises the same error where the channel was closed under a call."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
