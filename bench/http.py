"""The HTTP service on Redis, against webdis: the same load from wrk on either, one worker against one thread."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench import servers
from bench.callers import SPREAD
from bench.measure import Pair, Side

WORKERS: Final = 1
_LOAD: Final = Path(__file__).with_name("load.lua")
_SUMMARY: Final = re.compile(r"summary (\d+) (\d+) (\d+)")


@contextlib.contextmanager
def against_webdis(*, connections: int, spread: bool) -> Iterator[Pair]:
    """Each is asked in the way that costs it least: a POST without a body, and webdis by its path alone."""
    with (
        servers.redis_server() as redis_port,
        servers.service(f"redis://127.0.0.1:{redis_port}/0", WORKERS) as port,
        servers.webdis(redis_port, WORKERS) as peer_port,
    ):
        counters = SPREAD if spread else 1
        yield Pair(
            _wrk(port, "POST", "/v1/counters/%s/increment", connections, counters),
            _wrk(peer_port, "GET", "/INCR/%s", connections, counters),
        )


def _wrk(port: int, method: str, path: str, connections: int, counters: int) -> Side:
    program = servers.program("wrk", "wrk")

    def side(seconds: float) -> float:
        # wrk takes whole seconds.
        command = [program, "-t", "1", "-c", connections, "-d", f"{max(1, round(seconds))}s", "-s", _LOAD]
        command += [f"http://127.0.0.1:{port}", "--", method, path, counters]
        output = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
        found = _SUMMARY.search(output)
        if found is None:
            raise RuntimeError(f"wrk said:\n{output}")
        requests, microseconds, failed = map(int, found.groups())
        if failed:
            raise RuntimeError(f"{failed} of {requests} requests failed")
        return requests / microseconds * 1e6

    return side
