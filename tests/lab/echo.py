"""A server that sends each line back, and a client of it: what the proxies of the lab stand between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Echo:
    """A server that notes each line and sends it back; behind `bye` it closes the connection."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.url = ""
        self.connections = 0
        """That were made so far."""
        self.ended = 0
        self.changed = asyncio.Condition()
        """Notified when a connection has ended."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while line := await reader.readline():
                self.lines.append(line)
                writer.write(line)
                await writer.drain()
                if line == b"bye\n":
                    break
        except ConnectionError:
            pass  # the proxy cut it, as it was told to
        finally:
            writer.close()
            async with self.changed:
                self.ended += 1
                self.changed.notify_all()

    async def has_ended(self, connections: int) -> None:
        """Wait until so many connections have ended."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.ended >= connections)


@asynccontextmanager
async def echo() -> AsyncIterator[Echo]:
    server_side = Echo()
    server = await asyncio.start_server(server_side.serve, "127.0.0.1", 0)
    server_side.url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield server_side


class Client:
    """Sends lines and waits for each answer; connects anew after a cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, line: bytes) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        self._streams[1].write(line)

    async def ask(self, line: bytes) -> bytes:
        """The answer; nothing when the connection was cut."""
        await self.send(line)
        answer = await self.answer()
        if not answer:
            await self.leave()
        return answer

    async def answer(self) -> bytes:
        """The next line; nothing when the connection was cut."""
        assert self._streams is not None
        try:
            return await self._streams[0].readline()
        except ConnectionError:
            return b""

    async def leave(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
