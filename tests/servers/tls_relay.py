"""A relay that speaks TLS before a server that does not, as a process: `python -m tests.servers.tls_relay …`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from plusone.lab.processes import ServerProcess

_ROOT: Final = Path(__file__).resolve().parents[2]


def tls_relay(target: int, key: Path, certificate: Path) -> ServerProcess:
    """Before the server at the port `target` of this machine."""

    def command(port: int, folder: Path) -> Sequence[str]:
        arguments = (str(port), str(target), str(key), str(certificate))
        # By name, and so from the repository's folder: the server's own is the working folder.
        start = (
            f"import runpy, sys; sys.path.insert(0, {str(_ROOT)!r}); runpy.run_module({__name__!r}, None, '__main__')"
        )
        return (sys.executable, "-c", start, *arguments)

    def is_ready(port: int) -> bool:
        try:
            ssl.get_server_certificate(("127.0.0.1", port), timeout=1)
        except OSError:
            return False
        return True

    return ServerProcess("tls-relay", command, is_ready)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


async def _serve(port: int, target: int, key: str, certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(_pump(reader, server_writer), _pump(server_reader, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", port, ssl=context) as listener:
        await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
