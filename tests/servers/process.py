"""A server process as the tests start it: 127.0.0.1, a free port, a folder of its own, ended by its process id."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

STARTS_WITHIN_SECONDS: Final = 30.0
ENDS_WITHIN_SECONDS: Final = 10.0
_ASKED_EVERY_SECONDS: Final = 0.01
_PORTS: Final = range(10_000, 32_768)
_WORKERS_MAX: Final = 16
_given: Final[set[int]] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that nobody takes before the server does.

    It is below the ports that the kernel gives to connections, each is given once, and test processes that run side by
    side choose among ports of their own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS_MAX
    while True:
        port = random.randrange(_PORTS.start + worker, _PORTS.stop, _WORKERS_MAX)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port


class ServerProcess:
    """A server, started in `with` and gone behind it, its folder too.

    `command` gives the arguments for a port and a folder, `is_ready` asks the server at a port whether it serves yet.
    `user` is whom it runs as, if not as ourselves: the folder is theirs then.
    """

    stop_signal = signal.SIGTERM

    def __init__(
        self,
        name: str,
        command: Callable[[int, Path], Sequence[str]],
        is_ready: Callable[[int], bool],
        user: str | None = None,
    ) -> None:
        self.name = name
        self.user = user
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"plusone-{name}-"))
        if user is not None:
            shutil.chown(self.folder, user)
        self._command = command
        self._is_ready = is_ready
        self._log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it on its port, with what its folder holds, and return when it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(self.port, self.folder),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                user=self.user,
            )
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while not self._is_ready(self.port):
            try:
                status = self._process.wait(_ASKED_EVERY_SECONDS)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                raise AssertionError(f"{self.name} is not ready in time; its log:\n{self.log()}") from None
            raise AssertionError(f"{self.name} ended with {status}; its log:\n{self.log()}")

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        assert self._process is not None
        self._process.send_signal(self.stop_signal)
        self._process.wait(ENDS_WITHIN_SECONDS)

    def kill(self) -> None:
        """End it as a crash would, with whatever processes it started."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(ENDS_WITHIN_SECONDS)

    def restart(self) -> None:
        """Kill it, and start it again on the same port and folder."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Let it stand still, with its connections open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def log(self, start: int = 0) -> str:
        """What it has written, from this byte on."""
        return self._log.read_bytes()[start:].decode(errors="replace") if self._log.exists() else ""

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Print behind this what it wrote meanwhile; pytest shows that of a test that failed."""
        start = self._log.stat().st_size
        try:
            yield
        finally:
            print(f"--- {self.name} on port {self.port}:", self.log(start), sep="\n")

    def close(self) -> None:
        """End it, whatever state it is in, and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder)

    def _signal(self, number: signal.Signals) -> None:
        """To the server and the processes that it started: they are a session of their own."""
        os.killpg(self.pid, number)
