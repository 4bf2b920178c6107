"""A port that leads to another one, for servers that the lab starts: who takes over an address, who is cut off.

It runs in a thread of its own, so that it needs nothing of whoever blocks while it waits for servers. Clients have to
speak first, as those of HTTP and of PostgreSQL do: what they say tells who they are.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self, TypeVar

from plusone.lab.processes import free_port

T = TypeVar("T")
Admits = Callable[[bytes], bool]
"""Whether a connection may be, by the first bytes that came on it."""

_CHUNK_BYTES: Final = 65_536
_WITHIN_SECONDS: Final = 10


def anybody(first: bytes) -> bool:
    return True


def nobody(first: bytes) -> bool:
    return False


class Relay:
    """Listens at `port` of 127.0.0.1 and leads to `target`."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._admits: Admits = anybody
        self._open: dict[asyncio.Task[None], bytes] = {}
        """Each connection, and what came on it first."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"relay to {target}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._relay, "127.0.0.1", self.port))
        return self

    def __exit__(self, *error: object) -> None:
        if not self._thread.is_alive():
            self._loop.close()
            return
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WITHIN_SECONDS)
        self._loop.close()

    def lead_to(self, target: int) -> None:
        """From now on lead there, and cut what leads elsewhere."""
        self._target = target
        self._run(self._cut(nobody))

    def admit(self, admits: Admits) -> None:
        """From now on only connections that `admits` lets be; cut the others."""
        self._admits = admits
        self._run(self._cut(admits))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WITHIN_SECONDS)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            self._open[task] = b""
            self._open[task] = first = await reader.read(_CHUNK_BYTES)
            if self._admits(first):
                await self._lead(first, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # it was cut, or leads nowhere: whoever called sees it closed
        finally:
            del self._open[task]
            writer.transport.abort()

    async def _lead(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            to_writer.write(first)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, to_writer))
                group.create_task(_pump(to_reader, writer))
        finally:
            to_writer.transport.abort()

    async def _cut(self, admits: Admits) -> None:
        cut = [task for task, first in self._open.items() if not admits(first)]
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)

    async def _close(self) -> None:
        self._server.close()
        await self._cut(nobody)
        await self._server.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
