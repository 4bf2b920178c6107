"""Lean callers of the service, for tests that need a hundred thousand answers: HTTP/1.1 over a kept connection."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any


class Caller:
    """One connection, one request at a time. Whatever ends the connection is a `ConnectionError`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    async def increment(self, name: str, key: str | None = None) -> tuple[int, dict[str, Any]]:
        """The status and the decoded body."""
        header = "" if key is None else f"idempotency-key: {key}\r\n"
        request = f"POST /v1/counters/{name}/increment HTTP/1.1\r\nhost: localhost\r\n{header}\r\n"
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            status_line, *lines = head.decode().lower().splitlines()
            length = next(int(line[15:]) for line in lines if line.startswith("content-length:"))
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            self._close()
            raise ConnectionError("the connection ended") from error
        return int(status_line.split()[1]), json.loads(body)

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def increment_all(ports: list[int], name: str, times: int, callers: int) -> list[int]:
    """Increment `name` so many times by so many callers, in turn on each of the ports; the values that were answered.

    Every answer has to be a 200.
    """
    values: list[int] = []

    async def call(port: int, mine: int) -> None:
        async with Caller(port) as caller:
            for _ in range(mine):
                status, body = await caller.increment(name)
                assert status == 200, body
                values.append(body["value"])

    shares = [times // callers + (number < times % callers) for number in range(callers)]
    await asyncio.gather(*(call(ports[number % len(ports)], share) for number, share in enumerate(shares)))
    return values
