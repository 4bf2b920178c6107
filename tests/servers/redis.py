"""Real Redis servers for tests, or the user's own at `PLUSONE_TEST_REDIS_URL`."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final

from redis import Redis, RedisCluster

from plusone.stores.redis.store import RedisStore
from tests.conformance.harness import store_of
from tests.servers.available import not_installed, shared, skip_without
from tests.servers.process import ServerProcess

_MISSING: Final = not_installed("redis-server", "redis-server")
HAS_REDIS_SERVER: Final = _MISSING is None
skip_without_redis: Final = partial(skip_without, "REDIS", _MISSING)
store_at: Final = partial(store_of, RedisStore)


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


def shared_url() -> AbstractContextManager[str]:
    """The URL of a server for many tests: the user's, or one that is started."""
    return shared("REDIS", redis_server, url_of)


def url_of(server: ServerProcess, **parameters: str | int) -> str:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"redis://127.0.0.1:{server.port}/0" + (f"?{query}" if query else "")


def own_prefix(url: str) -> Generator[str]:
    """The URL with a key prefix of its own; behind it, what stands under that prefix is removed."""
    return own_prefix_of(url, client)


def own_prefix_of(url: str, client: Callable[[str], Redis | RedisCluster]) -> Generator[str]:
    prefix = f"test-{secrets.token_hex(8)}:"
    yield url + ("&" if "?" in url else "?") + f"prefix={prefix}"
    with client(url) as redis:
        for key in list(redis.scan_iter(match=prefix + "*", count=1_000)):
            redis.delete(key)


def client(url: str) -> Redis:
    """redis-py's own client, for what a test does beside the store."""
    address, _, _ = url.partition("?")
    return Redis.from_url(address, protocol=2)


def ask(server: ServerProcess, *command: str | int) -> Any:
    """What a server says to a command, as it says it, with its bytes decoded."""
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
