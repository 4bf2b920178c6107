"""PostgreSQL servers, and standbys that follow them.

They order text as people do, and live in a time zone of their own: what depends on either shows.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from plusone.lab import process_table
from plusone.lab.processes import ENDS_WITHIN_SECONDS, ServerProcess, until
from plusone.lab.programs import ServerFailed, run
from plusone.lab.relays import Relay
from plusone.lab.servers.available import no_driver, version_of, with_parameters
from plusone.lab.servers.started import Harm, ServerFault, Started, to_all

USER: Final = "postgres"
PASSWORD: Final = "p@ss/word"
_QUOTED_PASSWORD: Final = "p%40ss%2Fword"
_INSTALL: Final = (
    "PostgreSQL is not installed: apt-get install postgresql (as root there must be a user postgres or nobody, for"
    " PostgreSQL does not run as root)"
)


def _programs() -> Path | None:
    """The folder of the newest installed version's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    beside = shutil.which("initdb")
    return found[-1].parent if found else Path(beside).parent if beside else None


PROGRAMS: Final = _programs()


def missing() -> str | None:
    """Why none can be started here, and what helps."""
    return no_driver("postgresql", "asyncpg") if PROGRAMS else _INSTALL


@contextmanager
def start(*, keeps: bool, faults: frozenset[ServerFault]) -> Iterator[Started]:
    settings = () if keeps else ("synchronous_commit=off",)
    title = f"PostgreSQL {version_of(str(_program('postgres')), '--version')}, "
    title += "every commit flushed" if keeps else "commits flushed later"
    with ExitStack() as stack:
        primary = postgresql_server(*settings)
        primary.wants_small_disk = "disk_full" in faults
        if "failover" in faults:
            pair = stack.enter_context(_Pair(primary, settings))
            url, harms = url_of(pair.relay), {**to_all(pair.servers), "failover": Harm(pair.fail_over, pair.mend)}
            title += ", by a standby too" if keeps else ", a standby behind"
        else:
            stack.enter_context(primary)
            url, harms = url_of(primary), to_all([primary])
        yield Started(name="postgresql", title=title, url=url, keeps=keeps, harms=harms)


class _Pair:
    """A primary, a standby that every commit waits for, and an address that leads to whichever is the primary."""

    def __init__(self, primary: ServerProcess, settings: Sequence[str]) -> None:
        self.servers = [primary]
        """The primary first; as many as there are just now."""
        self.relay = Relay(primary.port)
        self._settings = settings

    def __enter__(self) -> Self:
        try:
            self.servers[0].start()
            self.relay.__enter__()
            self.mend()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        with ExitStack() as stack:
            for server in self.servers:
                stack.callback(server.close)
            stack.callback(self.relay.__exit__)

    def fail_over(self) -> str:
        """Kill the primary, and promote the standby. From then on nobody follows, and commits wait for nobody."""
        if len(self.servers) < 2:
            raise ServerFailed("PostgreSQL has no standby that could be promoted; let the last failover end first")
        old, new = self.servers
        old.kill()
        _tell(new, "SELECT pg_promote()", "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        self.relay.lead_to(new.port)
        self.servers[:] = [new]
        old.close()
        return f"SIGKILL to the primary at {old.port}; the standby at {new.port} was promoted"

    def mend(self) -> None:
        """Have a new standby follow the primary, made from its data, and commits wait for it."""
        [primary] = self.servers
        standby = postgresql_standby(primary, *self._settings)
        standby.wants_small_disk = primary.wants_small_disk
        self.servers.append(standby)
        standby.start()
        _tell(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        until(lambda: "sync" in _tell(primary, "SELECT sync_state FROM pg_stat_replication").split(), "the standby")


class PostgreSQLProcess(ServerProcess):
    """The server and the processes it starts, each of which is a session of its own and gets no signal of the group."""

    stop_signal = signal.SIGINT  # "fast": it does not wait for its clients

    def kill(self) -> None:
        self.pause()  # so that it starts no more of them
        processes = self._processes()
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(ENDS_WITHIN_SECONDS)
        # While one of them lives, the next server does not start.
        until(lambda: not any(map(process_table.runs, processes)), f"all of {self.name} to end")

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _processes(self) -> Sequence[int]:
        """The server first, then those that it started."""
        started = (process.pid for process in process_table.processes() if process.parent == self.pid)
        return [self.pid, *started]


def postgresql_server(*settings: str, files: Mapping[str, str] | None = None) -> PostgreSQLProcess:
    """A PostgreSQL that is durable as its defaults are; `settings` are of the form name=value.

    With `files`, which are its key and certificate, it speaks TLS.
    """
    tls = ("ssl=on",) if files else ()

    def command(port: int, folder: Path) -> Sequence[str]:
        if not (folder / "data").exists():
            _initialise(folder)
            for name, text in (files or {}).items():
                _write(folder / "data" / name, text)
        return _command(port, folder, (*tls, *settings))

    return PostgreSQLProcess("postgresql", command, _is_ready, _system_user())


def postgresql_standby(primary: ServerProcess, *settings: str) -> PostgreSQLProcess:
    """A standby that follows `primary`; `settings` are of the form name=value."""

    def command(port: int, folder: Path) -> Sequence[str]:
        if not (folder / "data").exists():
            source = f"host=127.0.0.1 port={primary.port} user={USER} password='{PASSWORD}'"
            _run(folder, "pg_basebackup", "-D", "data", "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", source)
        return _command(port, folder, settings)

    return PostgreSQLProcess("postgresql-standby", command, _is_ready, _system_user())


def _system_user() -> str | None:
    """As whom it runs: as ourselves, but never as root."""
    if os.getuid() != 0:
        return None
    names = {line.partition(":")[0] for line in Path("/etc/passwd").read_text().splitlines()}
    return "postgres" if "postgres" in names else "nobody"


def _write(path: Path, text: str) -> None:
    """A file that only the server's user may read."""
    path.touch(mode=0o600)
    path.write_text(text)
    if (user := _system_user()) is not None:
        shutil.chown(path, user)


def _initialise(folder: Path) -> None:
    """A cluster that orders text as English does, and asks everybody for a password."""
    passwords = folder / "password"
    passwords.write_text(PASSWORD)
    passwords.chmod(0o644)
    names = ("-U", USER, "--pwfile", "password", "-A", "scram-sha-256")
    order = ("-E", "UTF8", "--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US")
    _run(folder, "initdb", "-D", "data", "--no-sync", *names, *order)


def _command(port: int, folder: Path, settings: Sequence[str]) -> Sequence[str]:
    own = ("listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={folder}")
    places = ("timezone=Asia/Kathmandu", "log_timezone=UTC", "datestyle=sql, dmy")
    options = [option for setting in (*own, *places, *settings) for option in ("-c", setting)]
    return (str(_program("postgres")), "-D", str(folder / "data"), *options)


def _program(name: str) -> Path:
    assert PROGRAMS is not None
    return PROGRAMS / name


def _run(folder: Path, program: str, *arguments: str) -> None:
    run([_program(program), *arguments], folder, user=_system_user())


def _tell(server: ServerProcess, *statements: str) -> str:
    """What psql prints of these statements, values alone, each of them a transaction of its own."""
    commands = [part for statement in statements for part in ("-c", statement)]
    address = f"host=127.0.0.1 port={server.port} user={USER} password='{PASSWORD}' dbname=postgres"
    return run([_program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *commands, address])


def _is_ready(port: int) -> bool:
    command = [str(_program("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
    return subprocess.run(command).returncode == 0  # noqa: S603  # the command is the lab's own


def url_of(
    server: ServerProcess | Relay,
    *,
    user: str = f"{USER}:{_QUOTED_PASSWORD}",
    host: str = "127.0.0.1",
    database: str = "postgres",
    **parameters: str | int,
) -> str:
    return with_parameters(f"postgresql://{user}@{host}:{server.port}/{database}", parameters)
