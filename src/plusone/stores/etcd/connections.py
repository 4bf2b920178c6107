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
    """A channel to one member."""

    def __init__(self, settings: Settings, endpoint: str) -> None:
        self.endpoint = endpoint
        self._settings = settings
        self._metadata: tuple[tuple[str, str], ...] = ()
        channel = settings.channel(endpoint)
        self._channel: Channel | None = channel
        kv, maintenance = rpc.KVStub(channel), rpc.MaintenanceStub(channel)
        self._methods = {
            "Authenticate": rpc.AuthStub(channel).Authenticate,
            "Status": maintenance.Status,
            "Range": kv.Range,
            "Txn": kv.Txn,
            "LeaseGrant": rpc.LeaseStub(channel).LeaseGrant,
        }

    @property
    def stands(self) -> bool:
        return self._channel is not None and self._channel.get_state() is ChannelConnectivity.READY

    async def introduce(self) -> None:
        """Connect, say who we are, and see that the member answers and has a leader. Raises definite errors only."""
        seconds = self._settings.connect_timeout_ms / 1000
        try:
            if self._settings.username is not None:
                await self._authenticate(seconds)
            status = await self.call("Status", rpc.StatusRequest(), seconds)
        except AioRpcError as error:
            raise while_connecting(error, self.endpoint) from error
        _check(status, self.endpoint)
        self._metadata += _WITH_LEADER

    async def call(self, method: str, request: Any, seconds: float | None = None) -> Any:
        """The answer; raises `AioRpcError`, and `CancelledError` where it or the channel was given up."""
        call = self._methods[method](request, metadata=self._metadata, timeout=seconds)
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

    async def _authenticate(self, seconds: float) -> None:
        who = rpc.AuthenticateRequest(name=self._settings.username, password=self._settings.password)
        try:
            answer = await self.call("Authenticate", who, seconds)
        except AioRpcError as error:
            if error.details() != AUTH_NOT_ENABLED:
                raise
            return  # it lets everybody in, as etcd's own client takes it
        self._metadata = (("token", answer.token),)


class Connections:
    """Up to `settings.connections`; who comes when all are busy waits for one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
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
        endpoints = self.settings.endpoints
        failures: list[PlusoneError] = []
        for _ in endpoints:
            endpoint = endpoints[self._member % len(endpoints)]
            connection = Connection(self.settings, endpoint)
            self._in_use.add(connection)  # from now on closing us closes it
            try:
                await connection.introduce()
                if connection not in self._in_use:
                    raise StoreUnavailable("etcd: the store was closed meanwhile")
            except BaseException as failure:
                self._in_use.discard(connection)
                self._close(connection)
                # Given up as well: whoever comes next must not wait for the same silent member.
                self._member += 1
                if isinstance(failure, asyncio.CancelledError) and not _cancelled():
                    raise StoreUnavailable("etcd: the store was closed meanwhile") from None
                if not isinstance(failure, StoreUnavailable | StoreRefused):
                    raise
                failures.append(failure)
                continue
            return connection
        raise next((failure for failure in failures if isinstance(failure, StoreRefused)), failures[-1])

    def _give_back(self, connection: Connection) -> None:
        if connection in self._in_use:
            self._in_use.discard(connection)
            self._idle.append(connection)

    def _leave(self, connection: Connection) -> None:
        """Close it, and those that lead to the same member and are idle: the next request goes to another member."""
        endpoints = self.settings.endpoints
        if endpoints[self._member % len(endpoints)] == connection.endpoint:
            self._member += 1
        self._in_use.discard(connection)
        self._close(connection)
        others = [idle for idle in self._idle if idle.endpoint != connection.endpoint]
        for idle in self._idle:
            if idle not in others:
                self._close(idle)
        self._idle = others

    def _close(self, connection: Connection) -> None:
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
