"""A real DynamoDB Local for tests, or the user's own at `PLUSONE_TEST_DYNAMODB_URL`."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from plusone.clock import Clock
from plusone.stores.dynamodb.settings import Settings
from plusone.stores.dynamodb.store import DynamoDBStore
from plusone.stores.dynamodb.wire import Wire
from plusone.stores.registry import StoreURL
from tests.servers import build
from tests.servers.process import ServerProcess

USERS_URL: Final = os.environ.get("PLUSONE_TEST_DYNAMODB_URL")
"""Like `dynamodb://key:secret@table?region=…&endpoint=…`: tables whose names begin so are made and deleted."""
DAY_MS: Final = 86_400_000
_RECIPE: Final = "dynamodb"


def _missing() -> str | None:
    """Why no server can be started here."""
    if shutil.which("java") is None:
        return "there is no java: apt-get install openjdk-17-jre-headless, or set PLUSONE_TEST_DYNAMODB_URL"
    try:
        build.folder(_RECIPE)
    except build.Unavailable as error:
        return f"{error}, or set PLUSONE_TEST_DYNAMODB_URL"
    return None


HAS_DYNAMODB: Final = _missing() is None


def skip_without_dynamodb(*, own: bool = False) -> None:
    """Skip the module that calls this where no server can be had; `own` if the user's does not do. Fails in CI."""
    missing = _missing()
    if missing is None or (USERS_URL and not own):
        return
    if os.environ.get("CI") == "true":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing, allow_module_level=True)


def dynamodb_server(*, keeps: bool = False) -> ServerProcess:
    """DynamoDB Local, in memory, or on disk where it is to keep what it acknowledged over a crash."""
    place = build.folder(_RECIPE)

    def command(port: int, folder: Path) -> Sequence[str]:
        classes = f"{place}/lib/*{os.pathsep}{place}"
        data = ("-dbPath", str(folder)) if keeps else ("-inMemory",)
        options = ("-sharedDb", "-disableTelemetry", "-port", str(port))
        libraries = f"-Djava.library.path={place}/lib"
        return ("java", libraries, "-cp", classes, "Main", *data, *options)

    return ServerProcess("dynamodb-local", command, _answers)


@contextmanager
def shared_url() -> Iterator[str]:
    """The URL of a server for many tests: the user's, or one that is started."""
    if USERS_URL:
        yield USERS_URL
        return
    with dynamodb_server() as server:
        yield url_of(server)


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


def store_at(url: str, *, token_retention_ms: int = DAY_MS, clock: Clock | None = None) -> DynamoDBStore:
    return DynamoDBStore.from_url(StoreURL.parse(url), clock=clock or Clock(), token_retention_ms=token_retention_ms)


@asynccontextmanager
async def opened(store: DynamoDBStore) -> AsyncIterator[DynamoDBStore]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


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
