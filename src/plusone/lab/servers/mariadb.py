"""MariaDB servers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from plusone.lab.processes import ServerProcess
from plusone.lab.programs import run
from plusone.lab.servers.available import no_driver, not_installed, program, version_of, with_parameters
from plusone.lab.servers.mysql import DATABASE, greets
from plusone.lab.servers.started import ServerFault, Started, to_all


def missing() -> str | None:
    """Why none can be started here, and what helps."""
    return not_installed("mariadb-server", "mariadbd", "mariadb-install-db") or no_driver("mysql", "asyncmy")


@contextmanager
def start(*, keeps: bool, faults: frozenset[ServerFault]) -> Iterator[Started]:
    server = mariadb_server(*(() if keeps else ("--innodb-flush-log-at-trx-commit=0",)))
    server.wants_small_disk = "disk_full" in faults
    with server:
        flushed = "every transaction flushed" if keeps else "flushed once a second"
        title = f"MariaDB {version_of(program('mariadbd'), '--version')}, {flushed}"
        yield Started(name="mariadb", title=title, url=url_of(server), keeps=keeps, harms=to_all([server]))


def mariadb_server(*options: str) -> ServerProcess:
    """A MariaDB that keeps what it acknowledged over a crash; `options` are those of its command line."""
    return ServerProcess("mariadbd", lambda port, folder: _command(port, folder, options), greets)


def url_of(server: ServerProcess, **parameters: str | int) -> str:
    return with_parameters(f"mariadb://root@127.0.0.1:{server.port}/{DATABASE}", parameters)


def _command(port: int, folder: Path, options: Sequence[str]) -> Sequence[str]:
    data = folder / "data"
    if not data.exists():
        arguments = ("--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal")
        run([program("mariadb-install-db"), *arguments, "--skip-test-db", *_user()])
        (data / DATABASE).mkdir()  # to the server, that is a database
    place = (f"--datadir={data}", f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}", *_user())
    network = ("--bind-address=127.0.0.1", f"--port={port}", "--skip-networking=0", "--skip-name-resolve")
    durable = ("--innodb-flush-log-at-trx-commit=1", "--skip-log-bin")
    return (program("mariadbd"), "--no-defaults", *place, *network, *durable, *options)


def _user() -> Sequence[str]:
    """Both programs refuse to run as root unless told so."""
    return ("--user=root",) if os.geteuid() == 0 else ()
