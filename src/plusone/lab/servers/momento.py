"""The emulator of Momento as a process."""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from plusone.lab.processes import ServerProcess
from plusone.lab.servers.available import no_driver
from plusone.lab.servers.started import ServerFault, Started, to_all

CACHE: Final = "Counters"
VARIABLE: Final = "PLUSONE_LAB_MOMENTO_API_KEY"
"""The environment variable that the URLs take the key from."""
API_KEY: Final = "an-api-key-of-the-emulator"
_HELLO: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""How an HTTP/2 client begins: the preface, and settings without any."""


def missing() -> str | None:
    """Why it cannot be started here, and what helps."""
    return no_driver("momento", "grpc") or no_driver("momento", "momento_wire_types")


@contextmanager
def start(*, keeps: bool, faults: frozenset[ServerFault]) -> Iterator[Started]:
    """It keeps nothing, whatever `keeps` is: Momento is a cache."""
    with momento_emulator() as server, api_key():
        title = "an emulator of Momento, in memory"
        yield Started(name="momento", title=title, url=url_of(server), keeps=False, harms=to_all([server]))


def momento_emulator(*options: str, cache: str | None = CACHE, tls: bool = False) -> ServerProcess:
    """An emulator with one cache; `options` are those of its command line."""
    named = () if cache is None else ("--cache", cache)

    def command(port: int, folder: Path) -> tuple[str, ...]:
        module = (sys.executable, "-m", "plusone.lab.servers.momento_emulator")
        return (*module, "--port", str(port), "--api-key", API_KEY, *named, *options)

    return ServerProcess("momento", command, _answers_tls if tls else _answers)


@contextmanager
def api_key(key: str = API_KEY) -> Iterator[None]:
    """Have the variable that the URLs name hold this key, for processes that are started too."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = key
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def url_of(server: ServerProcess, *, cache: str = CACHE, host: str = "127.0.0.1", **parameters: str | int) -> str:
    query = "".join(f"&{name}={value}" for name, value in parameters.items())
    return f"momento://{cache}?endpoint={host}:{server.port}&api_key_from={VARIABLE}{query}"


def _answers(port: int) -> bool:
    """Whether it answers an HTTP/2 client with its settings."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(_HELLO)
            return connection.recv(9)[3:4] == b"\4"
    except OSError:
        return False


def _answers_tls(port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as plain, context.wrap_socket(plain) as secure:
            return secure.selected_alpn_protocol() == "h2"
    except OSError:
        return False
