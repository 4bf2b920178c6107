"""Connections to one server. asyncmy speaks; when to speak, and never twice, is decided here.

Connecting and sending are two steps, so that a failure of the first is known to be definite.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from plusone.errors import OutcomeUnknown, PlusoneError, StoreUnavailable
from plusone.stores.mysql.errors import translate, without_effect
from plusone.stores.mysql.statements import COMMIT, Statements

Rows: TypeAlias = Sequence[Sequence[Any]]
Connection: TypeAlias = Any
"""asyncmy's, whose types leave out what we need of it: `_result`, since its cursors say more to the server than they
are told to, and `_stream_broken`, by which its own pool knows a connection that the server has closed."""

_CLOSES_WITHIN_SECONDS: Final = 1.0


class Connections:
    """Up to `connections_max` connections, each with one exchange at a time; those over wait for one."""

    def __init__(
        self,
        make: Callable[[], Connection],
        *,
        title: str,
        session: Statements,
        connections_max: int,
        connect_seconds: float,
    ) -> None:
        self.make = make
        self._title = title
        self._session = session
        self._connect_seconds = connect_seconds
        self._idle: list[Connection] = []
        self._in_use: set[Connection] = set()
        self._room = asyncio.Semaphore(connections_max)

    async def exchange(self, statements: Statements) -> Sequence[Rows]:
        """Send statements in one packet and read the rows of each; without a COMMIT they count nothing.

        Raises `StoreUnavailable` or `StoreRefused` for what was definitely not applied, else `OutcomeUnknown`.
        Cancelled or failed, the connection is closed: the server rolls back what is not committed, and no later
        exchange reads this one's replies.
        """
        async with self._room:
            connection = self._idle_one() or self.make()
            self._in_use.add(connection)
            found: list[Rows] = []
            try:
                if not connection.connected:
                    await self._connect(connection)
                await self._converse(connection, statements, found)
            except BaseException as error:
                self._in_use.discard(connection)
                connection.close()
                if isinstance(error, PlusoneError) or not isinstance(error, Exception):
                    raise
                raise self._translated(error, statements, len(found)) from error
            if connection in self._in_use:
                self._idle.append(connection)
            else:
                connection.close()  # the store was closed meanwhile
            self._in_use.discard(connection)
            return found

    async def close(self) -> None:
        """Close all connections; an exchange under way fails."""
        idle, in_use = self._idle, self._in_use
        self._idle, self._in_use = [], set()
        for connection in in_use:
            connection.close()
        for connection in idle:
            # Says goodbye, else the server writes of an aborted connection into its log.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSES_WITHIN_SECONDS):
                    await connection.ensure_closed()
            connection.close()

    def _idle_one(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection._stream_broken:
                return connection
            connection.close()  # the server closed it while it was idle
        return None

    async def _connect(self, connection: Connection) -> None:
        """Connect, and have the session's settings answered: what a server refuses at once is refused here."""
        try:
            async with asyncio.timeout(self._connect_seconds):
                await connection.connect()
                await self._converse(connection, self._session, [])
        except TimeoutError as error:
            raise StoreUnavailable(f"{self._title}: no connection in time; see that the server runs") from error
        except Exception as error:
            raise without_effect(error, self._title) from error

    async def _converse(self, connection: Connection, statements: Statements, found: list[Rows]) -> None:
        await connection.query(";".join(statements))
        while True:
            result = connection._result
            found.append(result.rows or ())
            if not result.has_next:
                break
            await connection.next_result()
        if len(found) != len(statements):
            raise OutcomeUnknown(f"{self._title}: the server answered {len(found)} of {len(statements)} statements")

    def _translated(self, error: Exception, statements: Statements, answered: int) -> PlusoneError:
        if statements[-1] != COMMIT:
            return without_effect(error, self._title)
        return translate(error, self._title, committing=answered == len(statements) - 1)
