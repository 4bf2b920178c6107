"""Connections to one PostgreSQL server. asyncpg speaks; when to speak, and never twice, is decided here.

asyncpg's own pool is left out: it would connect and send in one, so that a failure to connect would not be known to be
definite, and its `fetch` sends a statement again whose plan is outdated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeAlias

import asyncpg

from plusone.errors import PlusoneError
from plusone.stores import resources
from plusone.stores.postgresql.errors import leaves_connection_usable, not_sent, translate

Name: TypeAlias = Literal[
    "add", "load", "write", "lock", "read", "list", "check", "server", "state", "sweep_counters", "sweep_tokens"
]
MOST_USED: Final[Sequence[Name]] = ("add", "load", "write", "read")
_CLOSE_SECONDS: Final = 1.0
BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '5s'"
"""A process that stands still while it has locks is ended by the server, and the others go on."""


def sql(name: str, schema: str) -> str:
    """The text of a file of this folder, for this schema."""
    return resources.text(__package__, f"{name}.sql").replace("{schema}", f'"{schema}"')


class Link:
    """One connection, used by one call at a time. Raises errors of ours only."""

    def __init__(self, driver: Any, schema: str, *, named: bool) -> None:
        self.driver = driver
        self._schema = schema
        self._named = named
        self._prepared: dict[str, Any] = {}

    async def prepare(self, names: Sequence[Name]) -> None:
        for name in names:
            await self._statement(name)

    async def ask(self, name: Name, *arguments: object) -> Any:
        """The first row that a statement answers which changes nothing: whatever goes wrong, nothing happened."""
        try:
            return (await (await self._statement(name)).fetch(*arguments))[0]
        except Exception as error:
            raise self._failed(not_sent(error)) from error

    async def change(self, name: Name, *arguments: object) -> Any:
        """The first row that a statement answers which changes something, and commits unless in a transaction."""
        try:
            statement = await self._statement(name)
        except Exception as error:
            raise self._failed(not_sent(error)) from error
        try:
            found = await statement.fetch(*arguments)
        except Exception as error:
            raise self._failed(translate(error)) from error
        return found[0] if found else None

    async def execute(self, statement: str) -> None:
        """Run a statement that takes no arguments: one that changes nothing, or is within a transaction, or COMMIT."""
        try:
            await self.driver.execute(statement)
        except Exception as error:
            raise self._failed((translate if statement == "COMMIT" else not_sent)(error)) from error

    def drop(self) -> None:
        """Do not use it again: the host's name may lead elsewhere by now."""
        self.driver.terminate()

    def _failed(self, error: PlusoneError) -> PlusoneError:
        if not leaves_connection_usable(error):
            self.drop()
        return error

    async def _statement(self, name: Name) -> Any:
        statement = self._prepared.get(name)
        if statement is None:
            # Without a name asyncpg sends the text along at each call, in the same packet.
            called = f"plusone_{name}" if self._named else None
            statement = self._prepared[name] = await self.driver.prepare(sql(name, self._schema), name=called)
        return statement


class Connections:
    """Up to `connections_max` connections; who comes when all are in use waits for one.

    Connecting goes on when the call that it began for is cancelled, and is there for the next one: where connecting
    takes longer than a call may, nobody would ever be connected otherwise.
    """

    def __init__(
        self, arguments: Mapping[str, Any], schema: str, connections_max: int, *, prepared: Sequence[Name] = MOST_USED
    ) -> None:
        """`prepared` are the statements that a connection has when it is handed out; they need the tables."""
        self.arguments = arguments
        self._schema = schema
        self._prepared = prepared
        self.idle: list[Link] = []
        self._in_use: set[Link] = set()
        self.connecting: set[asyncio.Task[Link]] = set()
        self._room = asyncio.Semaphore(connections_max)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Link]:
        """A connection. It is ended if it was cancelled or failed: nobody reads the rest of what it was asked."""
        async with self._room:
            link = await self._take()
            self._in_use.add(link)
            try:
                yield link
            except BaseException as error:
                if not leaves_connection_usable(error):
                    link.drop()
                raise
            finally:
                if link in self._in_use and not link.driver.is_closed() and not link.driver.is_in_transaction():
                    self.idle.append(link)
                else:
                    link.driver.terminate()
                self._in_use.discard(link)

    async def close(self) -> None:
        """Close all connections; a call under way fails."""
        connecting, idle, in_use = list(self.connecting), list(self.idle), list(self._in_use)
        self.connecting.clear()
        self.idle.clear()
        self._in_use.clear()
        for task in connecting:
            task.cancel()
        for link in in_use:
            link.driver.terminate()
        # Those that the server does not answer in time are ended all the same.
        closing = (link.driver.close(timeout=_CLOSE_SECONDS) for link in idle)
        await asyncio.gather(*connecting, *closing, return_exceptions=True)

    async def _take(self) -> Link:
        while self.idle:
            link = self.idle.pop()
            if not link.driver.is_closed():
                return link
        task = self.connecting.pop() if self.connecting else asyncio.ensure_future(self._connect())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                self.connecting.add(task)
                task.add_done_callback(self._connected)
            raise

    def _connected(self, task: asyncio.Task[Link]) -> None:
        """Nobody waited any more: keep the connection for the next call, and forget a failure."""
        if task in self.connecting:
            self.connecting.discard(task)
            if not task.cancelled() and task.exception() is None:
                self.idle.append(task.result())
        # Else a later call took it over, or all was closed.

    async def _connect(self) -> Link:
        """Raises only what is definite."""
        try:
            driver = await asyncpg.connect(**self.arguments)
        except Exception as error:
            await asyncio.sleep(0)  # in which the socket that asyncpg gave up is closed
            raise not_sent(error, host=self.arguments["host"]) from error
        link = Link(driver, self._schema, named=self.arguments["statement_cache_size"] > 0)
        try:
            # Bounded as connecting is: a network that fails in between would leave this task waiting for ever, and with
            # it every call that takes it over from the one before.
            async with asyncio.timeout(self.arguments["timeout"]):
                await link.prepare(self._prepared)
        except BaseException as error:
            driver.terminate()
            if isinstance(error, Exception):
                raise not_sent(error) from error
            raise
        return link
