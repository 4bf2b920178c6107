"""Real MariaDB servers for tests, or the user's own at `PLUSONE_TEST_MARIADB_URL`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from tests.servers.available import not_installed, shared, skip_without
from tests.servers.mysql import greets, own_database
from tests.servers.process import ServerProcess

_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin"
_MISSING: Final = not_installed("mariadb-server", "mariadbd", "mariadb-install-db", path=_PATH)
HAS_MARIADB: Final = _MISSING is None
skip_without_mariadb: Final = partial(skip_without, "MARIADB", _MISSING)


def mariadb_server(*options: str) -> ServerProcess:
    """A MariaDB that keeps what it acknowledged over a crash; `options` are those of its command line."""
    return ServerProcess("mariadbd", lambda port, folder: _command(port, folder, options), greets)


def url_of(server: ServerProcess, **parameters: str | int) -> str:
    """Its URL, with a database that is there from the start; who connects is root, without a password."""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"mariadb://root@127.0.0.1:{server.port}/mysql" + (f"?{query}" if query else "")


@contextmanager
def shared_url() -> Iterator[str]:
    """The URL of a database of its own for many tests: on the user's server, or on one that is started."""
    with shared("MARIADB", mariadb_server, url_of) as server, own_database(server) as url:
        yield url


def _command(port: int, folder: Path, options: Sequence[str]) -> Sequence[str]:
    data = folder / "data"
    if not data.exists():
        installer = shutil.which("mariadb-install-db", path=_PATH)
        assert installer is not None
        arguments = [installer, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
        subprocess.run([*arguments, "--skip-test-db", *_user()], check=True, capture_output=True)
    server = shutil.which("mariadbd", path=_PATH)
    assert server is not None
    place = (f"--datadir={data}", f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}", *_user())
    network = ("--bind-address=127.0.0.1", f"--port={port}", "--skip-networking=0", "--skip-name-resolve")
    durable = ("--innodb-flush-log-at-trx-commit=1", "--skip-log-bin")
    return (server, "--no-defaults", *place, *network, *durable, *options)


def _user() -> Sequence[str]:
    """Both programs refuse to run as root unless told so."""
    return ("--user=root",) if os.geteuid() == 0 else ()
