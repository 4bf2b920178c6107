"""The real tidb-server with its embedded storage, or the user's own TiDB at `PLUSONE_TEST_TIDB_URL`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from tests.servers import build
from tests.servers.available import not_built, shared, skip_without
from tests.servers.mysql import greets, own_database
from tests.servers.process import ServerProcess

_MISSING: Final = not_built("tidb")
HAS_TIDB: Final = _MISSING is None
skip_without_tidb: Final = partial(skip_without, "TIDB", _MISSING)
_CONFIGURATION: Final = """\
initialize-sql-file = "{folder}/first.sql"
[pessimistic-txn]
max-retry-count = 100000
"""
_FIRST_STATEMENTS: Final = "SET GLOBAL tidb_server_memory_limit = '512MB';\n"
_MEMORY: Final = ("env", "GOGC=50")


def tidb_server(*configuration: str) -> ServerProcess:
    """A TiDB in one process that keeps what it acknowledged over a crash; `configuration` are lines of its file."""
    return ServerProcess("tidb-server", lambda port, folder: _command(port, folder, configuration), greets)


def url_of(server: ServerProcess, **parameters: str | int) -> str:
    """Its URL, with a database that is there from the start; who connects is root, without a password."""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"tidb://root@127.0.0.1:{server.port}/mysql" + (f"?{query}" if query else "")


@contextmanager
def shared_url() -> Iterator[str]:
    """The URL of a database of its own for many tests: on the user's server, or on one that is started."""
    with shared("TIDB", tidb_server, url_of) as server, own_database(server) as url:
        yield url


def _command(port: int, folder: Path, lines: Sequence[str]) -> Sequence[str]:
    configuration = folder / "configuration.toml"
    configuration.write_text("\n".join((_CONFIGURATION.format(folder=folder), *lines)))
    (folder / "first.sql").write_text(_FIRST_STATEMENTS)
    program = build.folder("tidb") / "tidb-server"
    place = ("--config", configuration, "--path", folder / "data", "--temp-dir", folder / "temporary")
    network = ("--host", "127.0.0.1", "-P", port, "--report-status=false", "--socket", "")
    return [str(part) for part in (*_MEMORY, program, "--store", "unistore", *place, *network, "-L", "error")]
