"""A real DynamoDB Local for tests, or the user's own at `PLUSONE_TEST_DYNAMODB_URL`.

That is like `dynamodb://key:secret@table?region=…&endpoint=…`: tables whose names begin so are made and deleted.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from plusone.stores.dynamodb.settings import Settings
from plusone.stores.dynamodb.store import DynamoDBStore
from plusone.stores.dynamodb.wire import Wire
from plusone.stores.registry import StoreURL
from tests.conformance.harness import store_of
from tests.servers import build
from tests.servers.available import not_built, not_installed, shared, skip_without
from tests.servers.process import ServerProcess

_RECIPE: Final = "dynamodb"
_SOON_WARM: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""A JVM that compiles fast rather than well: a test's server ends before better code has paid for its compilation."""
_MISSING: Final = not_installed("openjdk-17-jre-headless", "java") or not_built(_RECIPE)
HAS_DYNAMODB: Final = _MISSING is None
skip_without_dynamodb: Final = partial(skip_without, "DYNAMODB", _MISSING)
store_at: Final = partial(store_of, DynamoDBStore)


def dynamodb_server(*, keeps: bool = False, java: Sequence[str] = _SOON_WARM) -> ServerProcess:
    """DynamoDB Local, in memory, or on disk where it is to keep what it acknowledged over a crash.

    `java` are options of the JVM that it runs in.
    """
    place = build.folder(_RECIPE)

    def command(port: int, folder: Path) -> Sequence[str]:
        classes = f"{place}/lib/*{os.pathsep}{place}"
        data = ("-dbPath", str(folder)) if keeps else ("-inMemory",)
        options = ("-sharedDb", "-disableTelemetry", "-port", str(port))
        libraries = f"-Djava.library.path={place}/lib"
        return ("java", *java, libraries, "-cp", classes, "Main", *data, *options)

    return ServerProcess("dynamodb-local", command, _answers)


def shared_url() -> AbstractContextManager[str]:
    """The URL of a server for many tests: the user's, or one that is started."""
    return shared("DYNAMODB", dynamodb_server, url_of)


def url_of(server: ServerProcess, table: str = "plusone", **parameters: str | int) -> str:
    query = "".join(f"&{name}={value}" for name, value in parameters.items())
    return f"dynamodb://key:secret@{table}?region=eu-central-1&endpoint=http://127.0.0.1:{server.port}{query}"


def own_table(url: str) -> Generator[str]:
    """The URL with a table of its own, which is there; behind it, the table is deleted."""
    address, _, query = url.partition("?")
    own = f"{address}-test-{secrets.token_hex(8)}?{query}"
    asyncio.run(store_at(own).setup(dry_run=False))
    yield own
    asyncio.run(_delete(own))


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """The store's own way to the server, for what a test does beside the store."""
    connected = Wire(Settings.from_url(StoreURL.parse(url)))
    await connected.open()
    try:
        yield connected
    finally:
        await connected.close()


def table_of(url: str) -> str:
    return Settings.from_url(StoreURL.parse(url)).table


async def _delete(url: str) -> None:
    async with wire(url) as connected:
        await connected.control("delete_table", TableName=table_of(url))


def _answers(port: int) -> bool:
    """It answers whatever it is asked with some HTTP status."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False
