"""MariaDB with every transaction flushed, TiDB with its embedded storage, and asyncmy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from bench import servers
from bench.plain import Plain
from plusone.lab.servers import mariadb, tidb
from plusone.lab.subjects.mysql import UPSERT


@contextlib.contextmanager
def _mariadb() -> Iterator[str]:
    if reason := mariadb.missing():
        raise servers.Missing(reason)
    with mariadb.mariadb_server() as server:
        yield mariadb.url_of(server)


@contextlib.contextmanager
def _tidb() -> Iterator[str]:
    if reason := tidb.missing():
        raise servers.Missing(reason)
    with tidb.tidb_server() as server:
        yield tidb.url_of(server)


_RECIPE: Final = "asyncmy `INSERT … ON DUPLICATE KEY UPDATE`"
MARIADB: Final = Plain("mariadb", "MariaDB, every transaction flushed", _RECIPE, _mariadb, UPSERT)
TIDB: Final = Plain("tidb", "TiDB, embedded storage", _RECIPE, _tidb, UPSERT)
