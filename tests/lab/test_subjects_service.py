"""The client of the service: what it sends."""

from __future__ import annotations

import asyncio

from plusone.lab.subjects.protocol import Counted
from plusone.lab.subjects.service import HTTPCounting
from plusone.types import Operation

ANSWER = b'{"applied":true,"value":1,"previous":0,"revision":1}'


def test_an_increment_has_no_idempotency_key_unless_it_is_given_one() -> None:
    """A key is remembered in the datastore: `plusone` is measured without, and so is the service."""
    keys: list[str | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            await reader.readexactly(int(fields["content-length"]))
            keys.append(fields.get("idempotency-key"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))
        writer.close()

    async def ask() -> list[Counted]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            counting = HTTPCounting(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            try:
                return [
                    await counting.increment("votes", 10),
                    await counting.increment_once("votes", 10, "order-1"),
                    await counting.change("votes", Operation.add(token="order-2")),
                ]
            finally:
                counting.close()

    assert asyncio.run(ask()) == [Counted(True, 1, 0, 1)] * 3
    assert keys == [None, "order-1", "order-2"]
