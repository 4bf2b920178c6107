"""The emulator of Momento as the tests start it, or the user's own cache at `PLUSONE_TEST_MOMENTO_URL`.

    python -m tests.servers.momento --port 8090 --cache counters

Momento itself, at that URL, takes its API key from the environment variable that the URL names.
"""

from __future__ import annotations

import os
import secrets
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from plusone.stores.momento.store import MomentoStore
from tests.conformance.harness import store_of
from tests.servers.available import shared
from tests.servers.process import ServerProcess

CACHE: Final = "Counters"
store_at: Final = partial(store_of, MomentoStore)
VARIABLE: Final = "PLUSONE_TEST_MOMENTO_API_KEY"
API_KEY: Final = "an-api-key-of-the-emulator"
_ROOT: Final = Path(__file__).parents[2]
_HELLO: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""How an HTTP/2 client begins: the preface, and settings without any."""


def momento_emulator(*options: str, cache: str | None = CACHE, tls: bool = False) -> ServerProcess:
    """An emulator with one cache; `options` are those of its command line."""
    named = () if cache is None else ("--cache", cache)

    def command(port: int, folder: Path) -> tuple[str, ...]:
        module = ("env", f"PYTHONPATH={_ROOT}", sys.executable, "-m", "tests.servers.momento")
        return (*module, "--port", str(port), "--api-key", API_KEY, *named, *options)

    return ServerProcess("momento", command, _answers_tls if tls else _answers)


def shared_url() -> AbstractContextManager[str]:
    """The URL of a cache for many tests: the user's, or one of an emulator that is started."""
    return shared("MOMENTO", _with_its_key, url_of)


@contextmanager
def _with_its_key() -> Iterator[ServerProcess]:
    with momento_emulator() as server, api_key():
        yield server


@contextmanager
def api_key(key: str = API_KEY) -> Iterator[None]:
    """Have the variable that the tests' URLs name hold this key, for processes that are started too."""
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


def own_prefix(url: str) -> str:
    """The URL with a key prefix of its own. What stands under it ends with its ttl."""
    return f"{url}{'&' if '?' in url else '?'}prefix=test-{secrets.token_hex(8)}:"


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


if __name__ == "__main__":
    from tests.servers.momento_emulator import main

    main()
