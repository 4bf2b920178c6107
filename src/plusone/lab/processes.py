"""A server's process as the lab starts it: 127.0.0.1, a free port, a folder of its own, ended by its process id."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from plusone.lab import process_table
from plusone.lab.disks import SmallDisk
from plusone.lab.programs import PRINTED_CHARACTERS_SHOWN, ServerFailed

STARTS_WITHIN_SECONDS: Final = 60.0
ENDS_WITHIN_SECONDS: Final = 10.0
_ASKED_EVERY_SECONDS: Final = 0.01
_PORTS: Final = range(10_000, 32_768)
_SHARES: Final = 16
_given: Final[set[int]] = set()
_share: int | None = None


def choose_ports(share: int) -> None:
    """Give this process one of 16 shares of the ports, where processes side by side would else take the same ones."""
    global _share
    _share = share % _SHARES


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that nobody takes before the server does.

    It is below the ports that the kernel gives to connections, and each is given once.
    """
    while True:
        port = random.choice(_PORTS if _share is None else _PORTS[_share::_SHARES])
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
        self.wants_small_disk = False
        """Whether its folder is to be on a disk of its own that can be filled. Set it before it is started."""
        self.disk: SmallDisk | None = None
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

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it on its port, with what its folder holds, and return when it is ready."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it, and do not wait: servers that need one another are all launched before the first is waited for."""
        command = self._command(self.port, self.folder)
        if self.wants_small_disk and self.disk is None:
            self.disk = SmallDisk(self.folder, self.user)
        if self.disk is not None:
            command = self.disk.command(command)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # the commands are the lab's own
                command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                user=self.user,
            )

    def wait_until_ready(self) -> None:
        """Raises `ServerFailed` if it ends, or takes too long."""
        assert self._process is not None
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while not self._is_ready(self.port):
            try:
                status = self._process.wait(_ASKED_EVERY_SECONDS)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                raise self.failure(f"was not ready within {STARTS_WITHIN_SECONDS:.0f} s") from None
            raise self.failure(f"ended with status {status} instead of serving")

    def revive(self) -> None:
        """Wait until it is ready; if it has ended, or does meanwhile, start it again first."""
        try:
            if self.runs:
                self.wait_until_ready()
                return
        except ServerFailed:
            if self.runs:
                raise
        self.start()

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
        """Let it stand still, with its connections open. Nothing that comes to it from here on is answered."""

        def stopped() -> bool:
            # Once more to those that were started meanwhile, by one that was not stopped yet.
            self._signal(signal.SIGSTOP)
            return all(map(process_table.stands_still, self._processes()))

        until(stopped, f"{self.name} to stand still")

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def failure(self, problem: str) -> ServerFailed:
        """The error that says so, with the end of what it wrote."""
        end = self.log()[-PRINTED_CHARACTERS_SHOWN:].strip()
        return ServerFailed(f"{self.name} {problem}; its log ends with:\n{end or '(nothing)'}")

    def log(self, start: int = 0) -> str:
        """What it has written, from this byte on."""
        return self._log.read_bytes()[start:].decode(errors="replace") if self._log.exists() else ""

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Print behind this what it wrote meanwhile."""
        start = self._log.stat().st_size
        try:
            yield
        finally:
            sys.stdout.write(f"--- {self.name} on port {self.port}:\n{self.log(start)}\n")

    def close(self) -> None:
        """End it, whatever state it is in, and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        if self.disk is not None:
            self.disk.close()
        shutil.rmtree(self.folder)

    def _processes(self) -> Sequence[int]:
        """The server and the processes that it started: they are a session of their own."""
        return [process.pid for process in process_table.processes() if process.group == self.pid]

    def _signal(self, number: signal.Signals) -> None:
        """To all of them."""
        with suppress(ProcessLookupError):  # it has ended by itself, and so have they
            os.killpg(self.pid, number)


AnyServer = TypeVar("AnyServer", bound=ServerProcess)


class Together:
    """Servers that stand still, and crash, at the same time."""

    def __init__(self, servers: Sequence[ServerProcess]) -> None:
        self._servers = servers

    def pause(self) -> None:
        for server in self._servers:
            server.pause()

    def resume(self) -> None:
        for server in self._servers:
            server.resume()

    def restart(self) -> None:
        self.kill()
        self.start()

    def kill(self) -> None:
        for server in self._servers:
            server.kill()

    def start(self) -> None:
        """Start those that do not run, and return when all are ready."""
        for server in self._servers:
            if not server.runs:
                server.launch()
        for server in self._servers:
            server.wait_until_ready()


@contextmanager
def all_of(servers: Sequence[AnyServer]) -> Iterator[Sequence[AnyServer]]:
    """The servers, started at the same time."""
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.close)
        Together(servers).start()
        yield servers


def until(holds: Callable[[], bool], what: str = "the servers to agree") -> None:
    """Ask until it holds. Raises `ServerFailed` with `what` was waited for, if that takes too long."""
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise ServerFailed(f"waited {STARTS_WITHIN_SECONDS:.0f} s in vain for {what}; is the machine very busy?")
        time.sleep(_ASKED_EVERY_SECONDS)
