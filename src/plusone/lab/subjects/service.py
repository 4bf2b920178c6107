"""Counting over HTTP with `plusone serve`: what has an Idempotency-Key may be repeated."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from plusone.config import ENVIRONMENT_PREFIX, WITHOUT_PREFIX
from plusone.lab.processes import ServerProcess
from plusone.lab.subjects.own import TOKEN_RETENTION_SECONDS
from plusone.lab.subjects.protocol import PLACE, Counted, Subject
from plusone.stores.registry import STORES
from plusone.types import Operation

_PROGRAM: Final = "import sys; sys.argv[0] = 'plusone'; from plusone.cli import main; main()"
_KEPT: Final = ("PLUSONE_TEST_", "PLUSONE_LAB_")
"""What begins like this in the environment is no setting of the service: the keys of servers that were started."""
_GAPS: Final = 'plusone_gaps_total{store="default"}'


class NotAnswered(Exception):
    """The service answered that it does not know, or not now; or the connection ended before it answered."""


class _Answer(msgspec.Struct):
    """An outcome, a counter or a problem document, as far as the lab looks at it."""

    applied: bool | str = True
    value: int | None = None
    previous: int | None = None
    revision: int | None = None
    reason: str | None = None


class HTTPCounting:
    """HTTP/1.1 over kept connections, one request at a time on each."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._address = (address.hostname or "127.0.0.1", address.port or 80)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        # Without a key, as `plusone` is asked without a token: a key is remembered in the datastore, which costs.
        return await self.change(name, Operation.add(ceiling=ceiling))

    async def increment_once(self, name: str, ceiling: int | None, token: str) -> Counted:
        return await self.change(name, Operation.add(ceiling=ceiling, token=token))

    async def change(self, name: str, operation: Operation) -> Counted:
        method, path, body = _request(name, operation)
        status, answer = await self._ask(method, path, body, operation.token)
        if status == 204:
            return Counted()
        found = msgspec.json.decode(answer, type=_Answer)
        if status == 200:
            return Counted(True, found.value, found.previous, found.revision)
        if status == 409 and found.reason is not None:
            return Counted(False, found.value, found.value, found.revision)
        raise NotAnswered(f"{status}: {answer.decode(errors='replace')}")

    async def read(self, name: str) -> Counted:
        status, answer = await self._ask("GET", _path(name))
        if status != 200:
            raise NotAnswered(f"{status}: {answer.decode(errors='replace')}")
        found = msgspec.json.decode(answer, type=_Answer)
        return Counted(value=found.value, revision=found.revision)

    async def remove(self, names: Sequence[str]) -> None:
        for name in names:
            status, answer = await self._ask("DELETE", _path(name))
            if status != 204:
                raise NotAnswered(f"{status}: {answer.decode(errors='replace')}")

    async def gaps(self) -> int:
        _, answer = await self._ask("GET", "/metrics")
        lines = [line.rpartition(" ")[2] for line in answer.decode().splitlines() if line.startswith(_GAPS)]
        return sum(int(float(line)) for line in lines)

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, bytes]:
        """The status and the body. Whatever ends the connection is `NotAnswered`."""
        payload = b"" if body is None else msgspec.json.encode(body)
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(payload)}"]
        if payload:
            lines.append("Content-Type: application/json")
        if token is not None:
            lines.append(f"Idempotency-Key: {token}")
        request = "\r\n".join([*lines, "", ""]).encode() + payload
        reader, writer = self._idle.pop() if self._idle else await self._connected()
        try:
            writer.write(request)
            status, answer = await _answer(reader)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            writer.close()
            raise NotAnswered(f"the connection ended: {error}") from error
        except BaseException:
            # A request whose answer nobody waits for any more would be answered to the next one.
            writer.close()
            raise
        self._idle.append((reader, writer))
        return status, answer

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_connection(*self._address)
        except OSError as error:
            raise NotAnswered(f"no connection: {error}") from error


class ServiceFront:
    """`plusone serve` on a store, as a process that can be killed."""

    def __init__(self, store: str) -> None:
        # Its store stands in a file that only we can read: a command line is read by everybody.
        self._settings = msgspec.json.encode(store).decode()
        self.process = ServerProcess("service", self._command, _is_ready)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"

    async def kill(self) -> None:
        await _to_its_end(self.process.restart)

    async def __aenter__(self) -> ServiceFront:
        try:
            await _to_its_end(self.process.__enter__)
        except asyncio.CancelledError:
            await asyncio.to_thread(self.process.close)
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self.process.close)

    def _command(self, port: int, folder: Path) -> Sequence[str]:
        configuration = folder / "service.toml"
        configuration.touch(mode=0o600)
        configuration.write_text(
            f"token_retention = {TOKEN_RETENTION_SECONDS}\n[stores]\ndefault = {self._settings}\n", encoding="utf-8"
        )
        settings = [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX) or name in WITHOUT_PREFIX]
        without = [part for name in settings if not name.startswith(_KEPT) for part in ("-u", name)]
        serve = ("serve", "--config", str(configuration), "--port", str(port))
        return ("env", *without, sys.executable, "-c", _PROGRAM, *serve)


async def _to_its_end(work: Callable[[], object]) -> None:
    """Do it in a thread, and wait for it even if cancelled: a thread goes on, and would start what nobody ends."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


def _request(name: str, operation: Operation) -> tuple[str, str, Mapping[str, int] | None]:
    """Method, path and body."""
    path = _path(name)
    if operation.kind == "delete":
        return "DELETE", path, None
    if operation.kind == "set":
        return "PUT", path, {"value": operation.amount}
    members = {"by": operation.amount, "ceiling": operation.ceiling, "floor": operation.floor}
    return "POST", f"{path}/increment", {member: number for member, number in members.items() if number is not None}


def _path(name: str) -> str:
    return f"/v1/counters/{quote(name, safe='')}"


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *fields = head.lower().splitlines()
    length = next((int(field.partition(":")[2]) for field in fields if field.startswith("content-length:")), 0)
    return int(status_line.split()[1]), await reader.readexactly(length)


def _is_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


@contextlib.asynccontextmanager
async def _connect(url: str, place: str = PLACE) -> AsyncIterator[HTTPCounting]:
    """At the service of this URL; or, on a store's URL, at one that is started for as long as this lasts."""
    if url.startswith("http://"):
        counting = HTTPCounting(url)
        try:
            yield counting
        finally:
            counting.close()
        return
    async with ServiceFront(url) as front, _connect(front.url, place) as counting:
        yield counting


SERVICE: Final = Subject(
    name="service",
    title="plusone's HTTP service",
    schemes=frozenset(STORES),
    found="README.md",
    told="value and revision",
    bounded=True,
    tokens=True,
    writes=None,
    connect=_connect,
    front=ServiceFront,
)
