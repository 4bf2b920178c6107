"""The real service, as a process of its own, on a free port of loopback."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import httpx

from plusone.config import ENVIRONMENT_PREFIX, WITHOUT_PREFIX
from plusone.lab.processes import free_port

COMMAND = Path(sys.executable).with_name("plusone")
MEMORY = '[stores]\ndefault = "memory://"\n'
START_SECONDS = 60.0  # on a machine that is busy with other tests too
STOP_SECONDS = 40.0


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of the service."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ENVIRONMENT_PREFIX) and name not in WITHOUT_PREFIX
    }


class Running:
    """`plusone serve`, ready when entered and stopped by SIGTERM when left. Its log is shown when it will not start."""

    def __init__(self, folder: Path, settings: str = MEMORY, *, workers: int = 1, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://{host}:{self.port}"
        (folder / "service.toml").write_text(settings)
        self._command = [str(COMMAND), "serve", "--config", "service.toml", "--port", str(self.port)]
        self._command += ["--workers", str(workers)]
        self._log = folder / "service.log"

    def __enter__(self) -> Running:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, cwd=self.folder, env=clean_environment(), stderr=log)
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(self.url + "/readyz").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__(None, None, None)
                raise AssertionError(f"the service did not start:\n{self.log}")
            time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    @property
    def log(self) -> str:
        """What it logged so far."""
        return self._log.read_text()

    def client(self) -> httpx.Client:
        """A client of this service."""
        return httpx.Client(base_url=self.url, timeout=20)

    def raw(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """A request whose path goes out exactly as it is here."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
