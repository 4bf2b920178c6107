"""PostgreSQL with its defaults, which are durable at every commit, and asyncpg."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from bench import servers
from bench.plain import Plain
from plusone.lab.servers import postgresql
from plusone.lab.subjects.postgresql import UPSERT


@contextlib.contextmanager
def _server() -> Iterator[str]:
    if reason := postgresql.missing():
        raise servers.Missing(reason)
    with postgresql.postgresql_server() as server:
        yield postgresql.url_of(server, sslmode="disable")


PLAIN: Final = Plain("postgresql", "PostgreSQL, every commit flushed", "asyncpg upsert", _server, UPSERT)
