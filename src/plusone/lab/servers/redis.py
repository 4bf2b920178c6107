"""Redis servers, one or with replicas."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from plusone.lab.processes import ServerProcess
from plusone.lab.servers.available import no_driver, not_installed, version_of, with_parameters
from plusone.lab.servers.started import ServerFault, Started, to_all

EVERY_WRITE_FLUSHED: Final = ("--appendonly", "yes", "--appendfsync", "always")


def missing() -> str | None:
    """Why none can be started here, and what helps."""
    return not_installed("redis-server", "redis-server") or no_driver("redis", "redis")


@contextmanager
def start(*, keeps: bool, faults: frozenset[ServerFault]) -> Iterator[Started]:
    server = redis_server(*durability(keeps))
    server.wants_small_disk = "disk_full" in faults
    with server:
        title = f"Redis {version()}, {durability_in_words(keeps)}"
        yield Started(name="redis", title=title, url=url_of(server), keeps=keeps, harms=to_all([server]))


def durability(keeps: bool) -> Sequence[str]:
    return EVERY_WRITE_FLUSHED if keeps else ()


def durability_in_words(keeps: bool) -> str:
    return "every write flushed" if keeps else "in memory"


def version() -> str:
    return version_of("redis-server", "--version")


def redis_server(*options: str) -> ServerProcess:
    """A Redis that keeps nothing on disk; `options` are those of its command line."""
    return ServerProcess("redis-server", lambda port, folder: server_command(port, folder, options), answers)


def redis_replica(primary: ServerProcess, number: int = 1) -> ServerProcess:
    """The `number`-th replica of `primary`, ready once a write to that one reaches all of them."""
    options = ("--replicaof", "127.0.0.1", str(primary.port))
    return ServerProcess(
        "redis-replica",
        lambda port, folder: server_command(port, folder, options),
        lambda port: reaches(primary, number),
    )


def reaches(primary: ServerProcess, replicas: int) -> bool:
    """Whether a write to the primary reaches so many replicas."""
    # A link is up before the primary asks it for acknowledgements, and one may come of itself: so twice.
    probes = b"SET probe 1\r\nWAIT %d 100\r\nDEL probe\r\nWAIT %d 100" % (replicas, replicas)
    return _ask(primary.port, probes, replies=4) == b"+OK\r\n:%d\r\n:1\r\n:%d\r\n" % (replicas, replicas)


def server_command(port: int, folder: Path, options: Sequence[str]) -> Sequence[str]:
    place = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "")
    # A first replica is served at once, not after a wait for others to come along.
    return ("redis-server", *place, "--repl-diskless-sync-delay", "0", *options)


def url_of(server: ServerProcess, **parameters: str | int) -> str:
    return with_parameters(f"redis://127.0.0.1:{server.port}/0", parameters)


def ask(server: ServerProcess, *command: str | int) -> Any:
    """What a server says to a command, as it says it, with its bytes decoded."""
    from redis import Redis

    with Redis(port=server.port, decode_responses=True, protocol=2) as redis:
        redis.response_callbacks.clear()
        return redis.execute_command(*command)


def _ask(port: int, commands: bytes, *, replies: int = 1) -> bytes:
    """What the server says to inline commands that are answered with a line each."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(commands + b"\r\n")
            while answer.count(b"\r\n") < replies and (part := connection.recv(4_096)):
                answer += part
    except OSError:
        return b""
    return answer


def follows(server: ServerProcess, primary: ServerProcess) -> bool:
    """Whether it is a replica of `primary`, with its link up."""
    role, *rest = ask(server, "ROLE")
    return role == "slave" and (rest[1], rest[2]) == (primary.port, "connected")


def answers(port: int) -> bool:
    return _ask(port, b"PING") == b"+PONG\r\n"
