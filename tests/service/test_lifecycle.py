"""Start, stop, several workers, and what is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from plusone.config import Settings
from plusone.errors import ConfigurationError
from plusone.lab.processes import free_port
from plusone.service.run import serve
from tests.service.running import COMMAND, Running, clean_environment
from tests.service.test_system import samples

BODY = b'{"by":7}'
HEAD = (
    b"POST /v1/counters/slow/increment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
) % len(BODY)


def connect(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), timeout=20)


def until_closed(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_on_sigterm_it_stops_listening_finishes_what_is_under_way_and_exits_0(tmp_path: Path) -> None:
    with Running(tmp_path) as running, connect(running) as idle, connect(running) as slow:
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65_536).startswith(b"HTTP/1.1 200")
        slow.sendall(HEAD + BODY[:3])
        assert httpx.get(running.url + "/livez").status_code == 200  # so the request before is under way too
        running.process.send_signal(signal.SIGTERM)
        assert until_closed(idle) == b""  # an idle connection is closed at once
        with pytest.raises(httpx.ConnectError):  # and readiness fails
            httpx.get(running.url + "/readyz")
        assert running.process.poll() is None
        slow.sendall(BODY[3:])
        answer = until_closed(slow)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"value":7,' in answer
        assert running.process.wait(10) == 0
    assert "serving without keys, for this machine only" in running.log
    assert "error" not in running.log


def test_the_grace_period_ends_what_does_not_end(tmp_path: Path) -> None:
    settings = 'grace = 0.5\n[stores]\ndefault = "memory://"\n'
    with Running(tmp_path, settings) as running, connect(running) as stuck:
        stuck.sendall(HEAD + BODY[:3])
        assert httpx.get(running.url + "/livez").status_code == 200
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(5) == 0
        assert until_closed(stuck) == b""


def test_what_was_acknowledged_before_sigterm_is_there_after(tmp_path: Path) -> None:
    settings = '[stores]\ndefault = "sqlite:counters.db"\n'

    async def load(running: Running) -> list[int]:
        async with httpx.AsyncClient(base_url=running.url, timeout=20) as client:

            async def caller() -> list[int]:
                values = []
                try:
                    while True:
                        answer = await client.post("/v1/counters/votes/increment")
                        values.append(answer.json()["value"])
                        if len(values) == 20:
                            running.process.send_signal(signal.SIGTERM)
                except httpx.TransportError:
                    return values

            return [value for values in await asyncio.gather(*(caller() for _ in range(8))) for value in values]

    with Running(tmp_path, settings) as running:
        values = asyncio.run(load(running))
        assert running.process.wait(10) == 0
    assert len(set(values)) == len(values) >= 20
    with Running(tmp_path, settings) as running, running.client() as client:
        # A request that was sent on a connection about to be closed may be counted and not answered.
        assert max(values) <= client.get("/v1/counters/votes").json()["value"] <= max(values) + 8


def test_two_workers_on_one_sqlite_file_count_exactly(tmp_path: Path) -> None:
    settings = '[stores]\ndefault = "sqlite:counters.db"\n'
    total = 2_000

    async def load(running: Running) -> list[int]:
        async def caller() -> list[int]:
            # A client each: connections are spread over the workers.
            async with httpx.AsyncClient(base_url=running.url, timeout=20) as client:
                answers = [await client.post("/v1/counters/votes/increment") for _ in range(total // 20)]
            return [answer.json()["value"] for answer in answers]

        return [value for values in await asyncio.gather(*(caller() for _ in range(20))) for value in values]

    with Running(tmp_path, settings, workers=2) as running, running.client() as client:
        values = asyncio.run(load(running))
        assert sorted(values) == list(range(1, total + 1))
        assert client.get("/v1/counters/votes").json()["revision"] == total
        # Whichever worker is asked knows what both did, a second later at the latest.
        key = ("plusone_http_requests_total", "POST", "/v1/counters/{name}/increment", "200")
        while (seen := samples(client).get(key, 0)) != total:
            assert seen < total


def test_a_killed_main_process_takes_its_workers_along(tmp_path: Path) -> None:
    with Running(tmp_path) as running, connect(running) as connection:
        running.process.kill()
        assert running.process.wait(10) == -signal.SIGKILL
        # The worker's connections end when it does.
        assert until_closed(connection) == b""


def test_a_port_that_is_taken_is_refused_even_if_by_another_plusone(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        second = subprocess.run(
            [COMMAND, "serve", "--store", "memory://", "--port", str(running.port)],
            cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
    assert second.returncode != 0
    assert f"cannot listen on http://127.0.0.1:{running.port}: Address already in use" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_other_than_loopback_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="keys are not available yet"):
        serve(Settings(stores={"default": "memory://"}, host=host))


def test_memory_is_refused_for_more_than_one_worker() -> None:
    stores = {"default": "sqlite:counters.db", "cache": "memory://"}
    with pytest.raises(ConfigurationError, match="store cache: each worker would count in a memory of its own"):
        serve(Settings(stores=stores, workers=2, port=free_port()))


def test_ipv6_loopback_is_served(tmp_path: Path) -> None:
    if not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    with Running(tmp_path, 'host = "::1"\n[stores]\ndefault = "memory://"\n', host="[::1]") as running:
        assert httpx.get(running.url + "/livez").status_code == 200


def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "service.toml").write_text('[stores]\ndefault = "memory://"\nsecond = "sqlite:file/counters.db"\n')
    with pytest.raises(AssertionError, match="did not start") as caught:
        Running(tmp_path, (tmp_path / "service.toml").read_text()).__enter__()
    assert "store second" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_store_that_stands_still_goes_away_and_comes_back_empty(tmp_path: Path) -> None:
    redis = pytest.importorskip("tests.servers.redis")
    redis.skip_without_redis(own=True)
    with redis.redis_server() as server:
        settings = f'timeout = 0.5\n[stores]\ndefault = "memory://"\nfar = "{redis.url_of(server)}"\n'
        with Running(tmp_path, settings) as running, running.client() as client:
            path = "/v1/stores/far/counters/votes/increment"
            assert client.post(path).json()["value"] == 1
            with server.paused():
                answer = client.post(path)
                assert (answer.status_code, answer.json()["type"]) == (504, "/problems/outcome-unknown")
                assert answer.json()["applied"] == "maybe"
                assert client.get("/readyz").json()["stores"]["far"]["ready"] is False
            server.kill()
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["ready"]) == (503, False)
            assert ready.json()["stores"]["default"] == {"ready": True}
            assert ready.json()["stores"]["far"]["ready"] is False
            assert ready.json()["stores"]["far"]["detail"]

            answer = client.post(path)
            assert (answer.status_code, answer.json()["applied"]) == (503, "no")
            assert answer.headers["retry-after"] == "1"
            answer = client.get("/v1/stores/far/counters/votes")
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-unavailable")
            assert client.post("/v1/counters/votes/increment").status_code == 200

            server.start()  # it kept nothing on disk: what it had acknowledged is gone
            assert client.post(path).json()["value"] == 1
            far = client.get("/readyz").json()["stores"]["far"]
            assert far["ready"] is True
            assert [(gap["counter"], gap["last"]) for gap in far["recent_gaps"]] == [("default/votes", 0)]
            assert samples(client)["plusone_gaps_total", "far"] == 1
