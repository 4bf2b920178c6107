"""Redis servers, one or with replicas."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plusone.lab.processes import ServerProcess
from plusone.lab.servers.available import no_driver, not_installed, with_parameters


def missing() -> str | None:
    """Why none can be started here, and what helps."""
    return not_installed("redis-server", "redis-server") or no_driver("redis", "redis")


def redis_server(*options: str) -> ServerProcess:
    """A Redis that keeps nothing on disk; `options` are those of its command line."""
    return ServerProcess("redis-server", lambda port, folder: server_command(port, folder, options), answers)


def redis_replica(primary: ServerProcess, number: int = 1) -> ServerProcess:
    """The `number`-th replica of `primary`, ready once a write to that one reaches all of them."""

    def is_ready(port: int) -> bool:
        # Its link is up before the primary asks it for acknowledgements, and one may come of itself: so twice.
        probes = b"SET probe 1\r\nWAIT %d 100\r\nDEL probe\r\nWAIT %d 100" % (number, number)
        return _ask(primary.port, probes, replies=4) == b"+OK\r\n:%d\r\n:1\r\n:%d\r\n" % (number, number)

    options = ("--replicaof", "127.0.0.1", str(primary.port))
    return ServerProcess("redis-replica", lambda port, folder: server_command(port, folder, options), is_ready)


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


def answers(port: int) -> bool:
    return _ask(port, b"PING") == b"+PONG\r\n"
