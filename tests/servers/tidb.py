"""TiDB for tests, or the user's own at `PLUSONE_TEST_TIDB_URL`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from plusone.lab.servers.tidb import missing, tidb_server, url_of
from tests.servers.available import shared, skip_without
from tests.servers.mysql import own_database

HAS_TIDB: Final = missing() is None
skip_without_tidb: Final = partial(skip_without, "TIDB", missing())


@contextmanager
def shared_url() -> Iterator[str]:
    """The URL of a database of its own for many tests: on the user's server, or on one that is started."""
    with shared("TIDB", tidb_server, url_of) as server, own_database(server) as url:
        yield url
