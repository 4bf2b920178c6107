"""MariaDB for tests, or the user's own at `PLUSONE_TEST_MARIADB_URL`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from plusone.lab.servers.mariadb import mariadb_server, missing, url_of
from tests.servers.available import shared, skip_without
from tests.servers.mysql import own_database

HAS_MARIADB: Final = missing() is None
skip_without_mariadb: Final = partial(skip_without, "MARIADB", missing())


@contextmanager
def shared_url() -> Iterator[str]:
    """The URL of a database of its own for many tests: on the user's server, or on one that is started."""
    with shared("MARIADB", mariadb_server, url_of) as server, own_database(server) as url:
        yield url
