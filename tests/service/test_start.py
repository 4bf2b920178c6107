"""What the service does before it serves: it says in one line why it cannot, or where it does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx

from plusone.lab.processes import free_port
from tests.service.running import COMMAND, Running, clean_environment


def test_a_store_that_cannot_be_reached_is_told_in_one_line(tmp_path: Path) -> None:
    store = f"redis://127.0.0.1:{free_port()}"
    command = [str(COMMAND), "serve", "--store", store, "--port", str(free_port())]
    run = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert run.returncode == 3
    assert run.stdout == ""
    first, second = run.stderr.splitlines()
    assert first.startswith("plusone: store default: Redis: ")
    assert second.startswith("The datastore could not be reached")


def test_localhost_is_the_loopback_address(tmp_path: Path) -> None:
    with Running(tmp_path, 'host = "localhost"\n[stores]\ndefault = "memory://"\n') as running:
        assert httpx.get(f"http://127.0.0.1:{running.port}/livez").status_code == 200
        assert f"http://127.0.0.1:{running.port}" in running.log
