"""The first five minutes as the README tells them: `make run`, one curl, and an end by SIGTERM that loses nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import plusone

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or not (ROOT / ".venv/bin/plusone").exists(),
    reason="make run needs make and a .venv: run the tests by `make test`",
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def make_run(port: int, store: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`make run`, ready to answer. The environment is as it is: `-o` only keeps it from being built again."""
    command = ["make", "-o", ".venv/installed", "run", f"PORT={port}", f"STORE={store}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def test_make_run_answers_as_the_readme_says_and_ends_with_make(tmp_path: Path) -> None:
    curl = re.search(r"^\$ curl -X (\w+) localhost:8000(\S+)\n(.*)$", README, re.MULTILINE)
    assert curl is not None
    method, path, promised = curl.groups()
    port, store = free_port(), f"sqlite:{tmp_path}/counters.db"
    with make_run(port, store, tmp_path / "log") as make:
        request = urllib.request.Request(f"http://localhost:{port}{path}", method=method)
        with urllib.request.urlopen(request) as response:
            answer = response.read().decode().strip()
        at = json.loads(answer)["at"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
        assert answer == promised.replace(json.loads(promised)["at"], at)

        os.kill(make.pid, signal.SIGTERM)  # make alone, as a supervisor would
        make.wait(60)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))

    async def read() -> int:
        async with plusone.open(store) as counters:
            return (await counters.get("votes")).value

    assert asyncio.run(read()) == 1
