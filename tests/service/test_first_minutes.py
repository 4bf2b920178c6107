"""The first five minutes as the README tells them: `make run`, one curl, and an end by SIGTERM that loses nothing."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
from pathlib import Path

import httpx
import pytest

import plusone
from plusone.lab.processes import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
CURL = re.compile(r"^\$ curl -X (\w+) localhost:8000(\S+)\n(.*)$", re.MULTILINE)


def make_run(port: int, folder: Path) -> list[str]:
    """`make run` with the environment as it is: `-o` keeps make from building it again."""
    store = f"sqlite:{folder}/counters.db"
    return ["make", "-C", str(ROOT), "-o", ".venv/installed", "run", f"PORT={port}", f"STORE={store}"]


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.skipif(
    shutil.which("make") is None or not (ROOT / ".venv/bin/plusone").exists(),
    reason="make run is not installed: call the tests by `make test`",
)
def test_make_run_answers_as_the_readme_says_and_ends_with_make() -> None:
    curl = CURL.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert curl is not None
    method, path, promised = curl.groups()
    with ServerProcess("make-run", make_run, is_ready) as service:
        answer = httpx.request(method, f"http://127.0.0.1:{service.port}{path}").text
        at = json.loads(answer)["at"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
        assert answer == promised.replace(json.loads(promised)["at"], at)

        service.stop()  # SIGTERM to make alone, as a supervisor would
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", service.port))
        assert asyncio.run(votes(f"sqlite:{service.folder}/counters.db")) == 1


async def votes(store: str) -> int:
    async with plusone.open(store) as counters:
        return (await counters.get("votes")).value
