"""The real tidb-server, with its embedded storage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from plusone.lab.processes import ServerProcess
from plusone.lab.servers import build
from plusone.lab.servers.available import no_driver, not_built, with_parameters
from plusone.lab.servers.mysql import DATABASE, greets
from plusone.lab.servers.started import ServerFault, Started, to_all

_CONFIGURATION: Final = """\
initialize-sql-file = "{folder}/first.sql"
[pessimistic-txn]
max-retry-count = 100000
"""
_FIRST_STATEMENTS: Final = f"SET GLOBAL tidb_server_memory_limit = '512MB';\nCREATE DATABASE {DATABASE};\n"
_MEMORY: Final = ("env", "GOGC=50")


def missing() -> str | None:
    """Why it cannot be started here, and what helps."""
    return not_built("tidb") or no_driver("mysql", "asyncmy")


@contextmanager
def start(*, keeps: bool, faults: frozenset[ServerFault]) -> Iterator[Started]:
    """It keeps what it acknowledged, whatever `keeps` is: its storage has no other way."""
    with tidb_server() as server:
        [(year, month, day)] = re.findall(r"\.(\d{4})(\d\d)(\d\d)\d{6}-", build.version("tidb"))
        title = f"TiDB (its main branch of {year}-{month}-{day}), embedded storage"
        yield Started(name="tidb", title=title, url=url_of(server), keeps=True, harms=to_all([server]))


def tidb_server(*configuration: str) -> ServerProcess:
    """A TiDB in one process that keeps what it acknowledged over a crash; `configuration` are lines of its file."""
    return ServerProcess("tidb-server", lambda port, folder: _command(port, folder, configuration), greets)


def url_of(server: ServerProcess, **parameters: str | int) -> str:
    return with_parameters(f"tidb://root@127.0.0.1:{server.port}/{DATABASE}", parameters)


def _command(port: int, folder: Path, lines: Sequence[str]) -> Sequence[str]:
    configuration = folder / "configuration.toml"
    configuration.write_text("\n".join((_CONFIGURATION.format(folder=folder), *lines)))
    (folder / "first.sql").write_text(_FIRST_STATEMENTS)
    program = build.folder("tidb") / "tidb-server"
    place = ("--config", configuration, "--path", folder / "data", "--temp-dir", folder / "temporary")
    network = ("--host", "127.0.0.1", "-P", port, "--report-status=false", "--socket", "")
    return [str(part) for part in (*_MEMORY, program, "--store", "unistore", *place, *network, "-L", "error")]
