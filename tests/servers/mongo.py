"""Servers of MongoDB's protocol for tests (mongo-java-server), or the user's own at `PLUSONE_TEST_MONGODB_URL`."""

from __future__ import annotations

import gc
import secrets
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from plusone.stores.mongodb.store import MongoDBStore
from tests.conformance.harness import store_of
from tests.servers import build
from tests.servers.available import not_built, shared, skip_without
from tests.servers.process import ServerProcess

_MISSING: Final = not_built("mongo")
CAN_START: Final = _MISSING is None
skip_without_mongo: Final = partial(skip_without, "MONGODB", _MISSING)
store_at: Final = partial(store_of, MongoDBStore)
FORGOTTEN_SOCKETS: Final = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)
"""PyMongo leaves a socket to the garbage collector when it is cancelled while connecting, as when it is closed."""


def mongo_server(*, keeps: bool = False) -> ServerProcess:
    """With `keeps`, what it acknowledged survives the end of its process; else the last second may be lost."""

    def command(port: int, folder: Path) -> Sequence[str]:
        built = build.folder("mongo")
        java = ("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        return (*java, "-cp", f"{built}/lib/*:{built}", "Main", str(port), str(folder / "data"), _commits(keeps))

    return _Server("mongo-java-server", command, _answers)


class _Server(ServerProcess):
    def close(self) -> None:
        super().close()
        # What PyMongo forgot is found here, where it is known of, and not in some later test.
        gc.collect()


def _commits(keeps: bool) -> str:
    return "each" if keeps else "second"


@contextmanager
def shared_url() -> Iterator[str]:
    """The URL of a server for many tests: the user's, or one that is started."""
    with shared("MONGODB", mongo_server, url_of) as url:
        yield url
        gc.collect()


def url_of(server: ServerProcess, **parameters: str | int) -> str:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"mongodb://127.0.0.1:{server.port}/plusone" + (f"?{query}" if query else "")


def own_collection(url: str) -> Generator[str]:
    """The URL with a collection of its own, which is dropped behind it."""
    name = f"test-{secrets.token_hex(8)}"
    yield url + ("&" if "?" in url else "?") + f"collection={name}"
    with client(url) as mongo:
        mongo[urlsplit(url).path.removeprefix("/")].drop_collection(name)


def client(url: str) -> MongoClient[dict[str, Any]]:
    """PyMongo's own client, for what a test does beside the store."""
    return MongoClient(url.partition("?")[0].rpartition("/")[0])


def _answers(port: int) -> bool:
    try:
        probe: MongoClient[dict[str, Any]]
        with MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=500) as probe:
            probe.admin.command("ping")
    except PyMongoError:
        return False
    return True
