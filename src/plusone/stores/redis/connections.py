"""Connections to one Redis server. redis-py speaks; when to speak, and never twice, is decided here.

Connecting and sending are two steps, so that a failure of the first is known to be definite. redis-py's client and its
pool are left out: they would connect, retry and send in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

import hiredis
from redis import exceptions
from redis.asyncio import Connection, SSLConnection
from redis.exceptions import ReadOnlyError, ResponseError

from plusone.errors import PlusoneError, StoreRefused, StoreUnavailable
from plusone.stores.redis.errors import of_question, while_connecting

Address: TypeAlias = tuple[str, int]
"""Host and port."""
T = TypeVar("T")


def command(*arguments: str | bytes | int) -> bytes:
    """A command as it goes over the wire."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]
    return packed


class Connections:
    """Up to `connections_max` connections, each with one exchange at a time; those over wait for one."""

    GREETING: ClassVar[bytes] = command("PING")
    """What a new connection is asked first, so that what the server refuses is refused before we send."""

    def __init__(
        self, find: Callable[[], Awaitable[Connection]], connections_max: int, *, answer_timeout: float | None = None
    ) -> None:
        """`find` gives a connection that is yet to be made; without `answer_timeout`, who waits cancels."""
        self._find = find
        self._answer_timeout = answer_timeout
        self.idle: list[Connection] = []
        """Those that stand and carry nothing, the last used at the end."""
        self._in_use: set[Connection] = set()
        self._room = asyncio.Semaphore(connections_max)

    @classmethod
    def to(cls, make: Callable[[], Connection], connections_max: int, *, answer_timeout: float | None = None) -> Self:
        """Connections to where `make` always leads."""

        async def find() -> Connection:
            return make()

        return cls(find, connections_max, answer_timeout=answer_timeout)

    async def exchange(self, commands: bytes, replies: int = 1) -> Sequence[Any]:
        """Send packed commands and read as many replies.

        An error that the server answers stands in the place of its reply. Where the connection breaks, what broke it
        stands in the places of all replies that are missing: `translate` says of each what it came to. Raises
        `StoreUnavailable` or `StoreRefused` where nothing was sent. Broken or cancelled, the connection is closed: no
        later exchange reads this one's replies.
        """
        async with self._room:
            connection = await self._connected()
            try:
                found, broken = await _converse(connection, commands, replies, self._answer_timeout)
            except BaseException:
                await self._drop(connection)
                await self._distrust()
                raise
            if broken:
                await self._distrust()
            demoted = any(isinstance(reply, ReadOnlyError) for reply in found)
            if broken or demoted or connection not in self._in_use:
                # Of a primary that became a replica, for its name may lead to the new primary; or closed meanwhile.
                await self._drop(connection)
            else:
                self._in_use.discard(connection)
                self.idle.append(connection)
            return found

    async def close(self, *, gently: bool = False) -> None:
        """Close all connections; an exchange under way fails, or `gently` is let go on."""
        connections = self.idle if gently else (*self.idle, *self._in_use)
        self.idle = []
        self._in_use.clear()
        for connection in connections:
            await connection.disconnect(nowait=gently)

    def _check_greeting(self, reply: Any) -> None:
        """Raise one of our errors if the server is not the one that is meant."""

    async def _distrust(self) -> None:
        """A connection broke, or its answer did not come."""

    async def _connected(self) -> Connection:
        """A connection that stands, and is in use from here on."""
        while self.idle:
            connection = self.idle.pop()
            if await self._step(connection, _is_quiet(connection)):
                return connection
            # The server closed it while it was idle, or said something that nobody asked for.
            await self._drop(connection)
        connection = await self._find()
        await self._step(connection, self._greet(connection))
        return connection

    async def _step(self, connection: Connection, step: Coroutine[Any, Any, T]) -> T:
        """A step of connecting; what ends it is definite, and ends the connection."""
        self._in_use.add(connection)
        try:
            async with asyncio.timeout(connection.socket_connect_timeout):
                return await step
        except BaseException as error:
            await self._drop(connection)
            if isinstance(error, PlusoneError) or not isinstance(error, Exception):
                raise
            raise while_connecting(error, tls=isinstance(connection, SSLConnection)) from error

    async def _greet(self, connection: Connection) -> None:
        await connection.connect()  # type: ignore[no-untyped-call]
        await connection.send_packed_command(self.GREETING, check_health=False)
        self._check_greeting(await connection.read_response())

    async def _drop(self, connection: Connection) -> None:
        self._in_use.discard(connection)
        await connection.disconnect(nowait=True)


async def _is_quiet(connection: Connection) -> bool:
    return connection.is_connected and not await connection.can_read()


async def _converse(
    connection: Connection, commands: bytes, replies: int, within: float | None
) -> tuple[list[Any], bool]:
    """The replies, and whether the connection broke."""
    found: list[Any] = []
    try:
        async with asyncio.timeout(within):
            await connection.send_packed_command(commands, check_health=False)
            while len(found) < replies:
                try:
                    found.append(await connection.read_response())
                except ResponseError as error:
                    found.append(error)
    except Exception as error:
        # It may be the server's answer to this command, and a definite one; of those behind it nothing is known.
        found.append(error)
        found += [exceptions.ConnectionError(f"the connection ended: {error}")] * (replies - len(found))
        return found, True
    return found, False


async def ask_any(
    addresses: list[Address], server: Callable[[Address], Connections], question: bytes, read: Callable[[Any, str], T]
) -> T:
    """What `read` makes of the first answer that it takes; it gets the reply, and the host that gave it.

    For questions that change nothing. `read` raises `StoreUnavailable` or `StoreRefused` for what is no answer. Who
    gave none is asked last the next time.
    """
    error: PlusoneError = StoreUnavailable("Redis: there is nobody to ask; name more servers in the store URL")
    for address in tuple(addresses):
        addresses.remove(address)
        addresses.append(address)
        try:
            [reply] = await server(address).exchange(question)
            if isinstance(reply, Exception):
                raise of_question(reply)
            answer = read(reply, address[0])
        except (StoreUnavailable, StoreRefused) as failure:
            error = failure
            continue
        addresses.remove(address)
        addresses.insert(0, address)
        return answer
    raise error
