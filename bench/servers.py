"""The processes that the benchmarks need: on free loopback ports, in temporary folders, ended by their process id."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_START_SECONDS = 20.0
_STOP_SECONDS = 10.0


class Missing(Exception):
    """A program that an entry needs is not installed; the message says how to get it."""


def program(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Missing(f"{name} is not installed (apt-get install {package})")
    return path


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    """A redis-server that keeps everything in memory, for peer and ours alike; its port."""
    path = program("redis-server", "redis-server")
    port = free_port()
    with folder() as directory:
        arguments = [path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with _running([*arguments, "--dir", directory], port, directory):
            yield port


@contextlib.contextmanager
def webdis(redis_port: int, threads: int) -> Iterator[int]:
    """A webdis in front of that redis-server; its port."""
    path = program("webdis", "webdis")
    port = free_port()
    settings = {
        "redis_host": "127.0.0.1",
        "redis_port": redis_port,
        "http_host": "127.0.0.1",
        "http_port": port,
        "threads": threads,
        "daemonize": False,
        "verbosity": 0,
        "logfile": "/dev/null",
    }
    with folder() as directory:
        configuration = directory / "webdis.json"
        configuration.write_text(json.dumps(settings))
        with _running([path, configuration], port, directory):
            yield port


@contextlib.contextmanager
def service(store: str, workers: int, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Our HTTP service on that store; its port."""
    port = free_port()
    command = [Path(sys.executable).with_name("plusone"), "serve", "--port", port, "--store", store]
    with folder() as directory, _running([*command, "--workers", workers], port, directory, environment):
        yield port


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder, on the disk that TMPDIR names; which one it is stands in the report."""
    with tempfile.TemporaryDirectory(prefix="plusone-bench-") as name:
        yield Path(name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(
    command: Sequence[object], port: int, directory: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=output, cwd=directory, env=environment
        )
    try:
        _wait_until_it_answers(process, port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.02)
