"""What the service promises, with the service killed again and again, and with two of them on one datastore."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.callers import Caller, increment_all
from tests.service.running import Running

KILLS = 20
INCREMENTS = 100_000


@pytest.fixture(params=["sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/counters.db"
    else:
        yield request.getfixturevalue("redis_url")


def settings(store_url: str) -> str:
    return f'[stores]\ndefault = "{store_url}"\n'


def test_kill_minus_nine_loses_and_repeats_nothing(store_url: str, tmp_path: Path) -> None:
    """Callers repeat with the same key until they are answered; what they asked for is what was counted."""
    running = Running(tmp_path, settings(store_url))
    answered: list[int] = []
    counted: list[int] = []
    interrupted = 0
    wanted = 0
    enough = asyncio.Event()

    async def call(number: int, stop: asyncio.Event) -> None:
        nonlocal interrupted
        asked = 0
        async with Caller(running.port) as caller:
            while not stop.is_set():
                asked += 1
                while True:
                    try:
                        status, body = await caller.increment("votes", f"caller-{number}-{asked}")
                    except ConnectionError:
                        interrupted += 1
                        await asyncio.sleep(0.01)  # nobody listens until the service is up again
                        continue
                    assert status == 200, body
                    answered.append(body["value"])
                    if len(answered) >= wanted:
                        enough.set()
                    break

    async def main() -> None:
        nonlocal wanted
        stop = asyncio.Event()
        with running:
            callers = [asyncio.create_task(call(number, stop)) for number in range(16)]
            for _ in range(KILLS):
                wanted = len(answered) + 200
                enough.clear()
                await enough.wait()
                kill(running.process.pid)
                await asyncio.to_thread(running.process.wait)
                await asyncio.to_thread(running.__enter__)
            stop.set()
            await asyncio.gather(*callers)
            with running.client() as client:
                counted.append(client.get("/v1/counters/votes").json()["value"])

    asyncio.run(main())
    assert interrupted >= KILLS
    assert counted == [len(answered)]
    assert sorted(answered) == list(range(1, len(answered) + 1))


def test_two_services_on_one_datastore(store_url: str, tmp_path: Path) -> None:
    """100,000 concurrent increments through two services: every value from 1 to 100,000 exactly once."""
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    with Running(folders[0], settings(store_url)) as one, Running(folders[1], settings(store_url)) as other:
        values = asyncio.run(increment_all([one.port, other.port], "votes", INCREMENTS, callers=128))
    assert sorted(values) == list(range(1, INCREMENTS + 1))


def kill(pid: int) -> None:
    """SIGKILL to a process and to the children it has at this moment, so that none of them can do anything more."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for victim in [pid, *map(int, children)]:
        os.kill(victim, signal.SIGKILL)
