"""Connections to one Redis server. redis-py speaks; when to speak, and never twice, is decided here.

Connecting and sending are two steps, so that a failure of the first is known to be definite. redis-py's client and its
pool are left out: they would connect, retry and send in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from redis.asyncio import Connection
from redis.exceptions import ReadOnlyError, ResponseError

from plusone.errors import OutcomeUnknown
from plusone.stores.redis.errors import translate, while_connecting


def command(*arguments: str | bytes | int) -> bytes:
    """A command as it goes over the wire."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]
    return packed


class Connections:
    """Up to `connections_max` connections, each with one exchange at a time; those over wait for one."""

    def __init__(self, make: Callable[[], Connection], connections_max: int) -> None:
        self.make = make
        self._idle: list[Connection] = []
        self._in_use: set[Connection] = set()
        self._room = asyncio.Semaphore(connections_max)

    async def exchange(self, commands: bytes, replies: int = 1) -> Sequence[Any]:
        """Send packed commands and read as many replies; an error reply of the server's stands in its place.

        Raises `StoreUnavailable` or `StoreRefused` where nothing was sent, `OutcomeUnknown` for most of what can
        happen after. Cancelled or failed, the connection is closed: no later exchange reads this one's replies.
        """
        async with self._room:
            connection = self._idle.pop() if self._idle else self.make()
            self._in_use.add(connection)
            try:
                await _connect(connection)
                found = await _converse(connection, commands, replies)
            except BaseException:
                self._in_use.discard(connection)
                await connection.disconnect(nowait=True)
                raise
            demoted = any(isinstance(reply, ReadOnlyError) for reply in found)
            if demoted or connection not in self._in_use:
                # Of a primary that became a replica, for its name may lead to the new primary; or closed meanwhile.
                await connection.disconnect(nowait=True)
            else:
                self._idle.append(connection)
            self._in_use.discard(connection)
            return found

    async def close(self) -> None:
        """Close all connections; an exchange under way fails."""
        connections = (*self._idle, *self._in_use)
        self._idle.clear()
        self._in_use.clear()
        for connection in connections:
            await connection.disconnect()


async def _connect(connection: Connection) -> None:
    """See that the connection stands; a new one has to answer, so that what it refuses is refused before we send."""
    try:
        if connection.is_connected:
            if not await connection.can_read():
                return
            # The server closed it while it was idle, or said something that nobody asked for.
            await connection.disconnect(nowait=True)
        await connection.connect()  # type: ignore[no-untyped-call]
        await connection.send_packed_command(command("PING"), check_health=False)
        await connection.read_response()
    except Exception as error:
        raise while_connecting(error) from error


async def _converse(connection: Connection, commands: bytes, replies: int) -> Sequence[Any]:
    found: list[Any] = []
    try:
        await connection.send_packed_command(commands, check_health=False)
        while len(found) < replies:
            try:
                found.append(await connection.read_response())
            except ResponseError as error:
                found.append(error)
    except Exception as error:
        if found:
            # The first command was answered already: what is said now is not about it.
            raise OutcomeUnknown(f"Redis: {error}") from error
        raise translate(error) from error
    return found
