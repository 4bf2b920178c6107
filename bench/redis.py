"""Redis: one server that keeps everything in memory, and redis-py with its defaults."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench import servers
from bench.plain import Plain
from plusone.lab.subjects.redis import INCRBY


@contextlib.contextmanager
def _server() -> Iterator[str]:
    with servers.redis_server() as port:
        yield f"redis://127.0.0.1:{port}/0"


PLAIN = Plain("redis", "Redis", "redis-py `INCR`", _server, INCRBY)
