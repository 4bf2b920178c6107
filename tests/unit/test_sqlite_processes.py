"""SQLite among processes: two on one file, one that is killed, one that forks."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import plusone
from plusone.stores.protocol import Answer
from tests.conformance.harness import add, apply, state
from tests.unit.sqlite_files import open_store, query

PROCESSES = 2
INCREMENTS = 2_000
CALLERS = 50
KILLS = 3

KILLED = """
import asyncio, sys
import plusone

async def main():
    async with plusone.open(sys.argv[1]) as counters:
        async def caller(name):
            while True:
                outcome = await counters.increment(name)
                print(name, outcome.value, flush=True)
        await asyncio.gather(*(caller(f"counter-{number}") for number in range(20)))

asyncio.run(main())
"""

FORKS = """
import asyncio, os, sys
from pathlib import Path
from plusone.errors import StoreRefused
from tests.conformance.harness import add, apply
from tests.unit.sqlite_files import store_of

async def child(store):
    try:
        await apply(store, add(1, seq=2, acked=1))
    except StoreRefused as error:
        assert "fork" in str(error)
    else:
        raise AssertionError("used a connection of its parent")
    await store.open()
    assert (await apply(store, add(1, seq=2, acked=1))).value == 1
    await store.close()

async def parent(store):
    assert (await apply(store, add(1, seq=3, acked=2))).value == 2
    await store.close()

store = store_of(sys.argv[1])
loop = asyncio.new_event_loop()
loop.run_until_complete(store.open())
loop.run_until_complete(apply(store, add(1)))
loop.run_until_complete(store.check())  # behind the first sweep: no thread is within SQLite now
pid = os.fork()
if pid == 0:
    asyncio.run(child(store))
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
loop.run_until_complete(parent(store))
loop.close()
"""


def test_two_processes_on_one_file_count_each_increment_once(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/counters.db"
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as processes:
        values = [value for part in processes.map(increments, [url] * PROCESSES) for value in part]
    assert sorted(values) == list(range(1, PROCESSES * INCREMENTS + 1))


def increments(url: str) -> list[int]:
    """The values that one process was answered."""
    values: list[int] = []

    async def run() -> None:
        async with plusone.open(url) as counters:

            async def caller() -> None:
                for _ in range(INCREMENTS // CALLERS):
                    values.append((await counters.increment("hot")).value)
                    await counters.increment("beside", by=2)

            await asyncio.gather(*(caller() for _ in range(CALLERS)))

    asyncio.run(run())
    return values


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "counters.db"
    acknowledged: dict[str, int] = {}
    for _ in range(KILLS):
        command = [sys.executable, "-c", KILLED, f"sqlite://{path}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _line in range(200):
                name, value = process.stdout.readline().split()
                acknowledged["default/" + name] = int(value)
            os.kill(process.pid, signal.SIGKILL)
            for line in process.stdout:
                if line.endswith("\n"):
                    name, value = line.split()
                    acknowledged["default/" + name] = int(value)
        assert process.returncode == -signal.SIGKILL

        async def check() -> None:
            async with open_store(path) as store:
                for key, value in acknowledged.items():
                    found, revision, exists = await state(store, key)
                    assert found in (value, value + 1)  # one more was under way for each caller
                    assert (revision, exists) == (found, True)

        asyncio.run(check())
    assert len(acknowledged) == 20
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_child_opens_the_file_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "counters.db"
    # In a process of its own: from Python 3.12 on a fork beside threads is worth a warning, which is the point here.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, f"sqlite://{path}"]
    subprocess.run(command, check=True, timeout=60, cwd=Path(__file__).parents[2])

    async def check() -> None:
        async with open_store(path) as store:
            assert await apply(store, add(1, seq=3)) == Answer("duplicate", 2, 2, True)

    asyncio.run(check())
