"""The library on PostgreSQL, against asyncpg's plain upsert: one server, durable at every commit."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import servers
from bench.callers import Call, event_loop, rate, spread_names
from bench.library import increments
from bench.measure import Pair
from bench.plain import CALLERS, opened

PEER_CONNECTIONS: Final = 32
_SCHEMA: Final = "CREATE TABLE plain (name text PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 70)"
_INCREMENT: Final = (
    "INSERT INTO plain VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET value = plain.value + 1 RETURNING value"
)
_DURABLE: Final = ("fsync=on", "synchronous_commit=on", "full_page_writes=on")


@contextlib.contextmanager
def against_asyncpg(*, spread: bool) -> Iterator[Pair]:
    """256 callers on one event loop; the peer has a pool of 32 connections, and prepared statements."""
    with postgresql_server() as url, event_loop(fast=True) as runner, opened(runner, url) as counters:
        pool = runner.run(_pool(url))
        ours = rate(runner, CALLERS, increments(counters, spread=spread))
        yield Pair(ours, rate(runner, CALLERS, _increments(pool, spread=spread)))
        runner.run(pool.close())


@contextlib.contextmanager
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL with its defaults, which are durable; its URL."""
    programs = _programs()
    port = servers.free_port()
    with servers.folder() as folder:
        user = _system_user(folder)
        data = folder / "data"
        initialise: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale",
            "C",
        ]
        subprocess.run(initialise, check=True, capture_output=True, user=user, cwd=folder)
        own = ("listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={folder}", *_DURABLE)
        command: list[str | Path] = [
            programs / "postgres",
            "-D",
            data,
            *(part for setting in own for part in ("-c", setting)),
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd=folder)
        try:
            ready: list[str | Path] = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
            while subprocess.run(ready).returncode:
                if process.poll() is not None:
                    raise RuntimeError(f"postgres did not start:\n{(folder / 'log').read_text(errors='replace')}")
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
        finally:
            process.terminate()
            process.wait()


async def _pool(url: str) -> Any:
    pool = await asyncpg.create_pool(url, min_size=PEER_CONNECTIONS, max_size=PEER_CONNECTIONS)
    await pool.execute(_SCHEMA)
    return pool


def _increments(pool: Any, *, spread: bool) -> Call:
    if not spread:
        return lambda: pool.fetchval(_INCREMENT, "votes")
    name = spread_names()
    return lambda: pool.fetchval(_INCREMENT, name())


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
    return found[-1] if found else Path(servers.program("initdb", "postgresql")).parent


def _system_user(folder: Path) -> str | None:
    """PostgreSQL does not run as root: as whom then, to whom the folder is given."""
    if os.getuid() != 0:
        return None
    shutil.chown(folder, "postgres")
    return "postgres"
