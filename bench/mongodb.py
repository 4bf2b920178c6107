"""MongoDB's protocol: mongo-java-server with every write in its file before it answers, and PyMongo."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench import servers
from bench.plain import Plain
from plusone.lab.servers import mongo
from plusone.lab.subjects.mongodb import INC


@contextlib.contextmanager
def _server() -> Iterator[str]:
    if reason := mongo.missing():
        raise servers.Missing(reason)
    with mongo.mongo_server(keeps=True) as server:
        yield mongo.url_of(server)


PLAIN = Plain(
    "mongodb",
    "mongo-java-server, every write in its file",
    "PyMongo `find_one_and_update` with `$inc`",
    _server,
    INC,
)
