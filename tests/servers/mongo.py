"""mongo-java-server for tests, or the user's own server at `PLUSONE_TEST_MONGODB_URL`."""

from __future__ import annotations

import gc
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient

from plusone.lab.processes import ServerProcess
from plusone.lab.servers import mongo
from plusone.lab.servers.mongo import url_of
from plusone.stores.mongodb.store import MongoDBStore
from tests.conformance.harness import store_of
from tests.servers.available import shared, skip_without

CAN_START: Final = mongo.missing() is None
skip_without_mongo: Final = partial(skip_without, "MONGODB", mongo.missing())
store_at: Final = partial(store_of, MongoDBStore)
FORGOTTEN_SOCKETS: Final = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)
"""PyMongo leaves a socket to the garbage collector when it is cancelled while connecting, as when it is closed."""


@contextmanager
def mongo_server(*, keeps: bool = False) -> Iterator[ServerProcess]:
    """The lab's. What PyMongo forgot is found behind it, where it is known of, and not in some later test."""
    with mongo.mongo_server(keeps=keeps) as server:
        yield server
    gc.collect()


@contextmanager
def shared_url() -> Iterator[str]:
    """The URL of a server for many tests: the user's, or one that is started."""
    with shared("MONGODB", mongo_server, url_of) as url:
        yield url
        gc.collect()


def own_collection(url: str) -> Generator[str]:
    """The URL with a collection of its own, which is dropped behind it."""
    name = f"test-{secrets.token_hex(8)}"
    yield url + ("&" if "?" in url else "?") + f"collection={name}"
    with client(url) as mongo:
        mongo[urlsplit(url).path.removeprefix("/")].drop_collection(name)


def client(url: str) -> MongoClient[dict[str, Any]]:
    """PyMongo's own client, for what a test does beside the store."""
    return MongoClient(url.partition("?")[0].rpartition("/")[0])
