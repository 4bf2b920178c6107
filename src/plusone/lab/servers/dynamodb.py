"""DynamoDB Local, which is AWS's own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from plusone.lab.processes import ServerProcess
from plusone.lab.servers import build
from plusone.lab.servers.available import no_driver, not_built, not_installed
from plusone.lab.servers.started import ServerFault, Started, to_all

_RECIPE: Final = "dynamodb"
_SOON_WARM: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""A JVM that compiles fast rather than well: the lab's server ends before better code has paid for its compilation."""


def missing() -> str | None:
    """Why it cannot be started here, and what helps."""
    return not_installed("default-jdk-headless", "java") or not_built(_RECIPE) or no_driver("dynamodb", "aiobotocore")


@contextmanager
def start(*, keeps: bool, faults: frozenset[ServerFault]) -> Iterator[Started]:
    with dynamodb_server(keeps=keeps) as server:
        title = f"DynamoDB Local {build.version(_RECIPE)}, {'on disk' if keeps else 'in memory'}"
        yield Started(name="dynamodb", title=title, url=url_of(server), keeps=keeps, harms=to_all([server]))


def dynamodb_server(*, keeps: bool = False, java: Sequence[str] = _SOON_WARM) -> ServerProcess:
    """DynamoDB Local, in memory, or on disk where it is to keep what it acknowledged over a crash.

    `java` are options of the JVM that it runs in.
    """
    place = build.folder(_RECIPE)

    def command(port: int, folder: Path) -> Sequence[str]:
        classes = f"{place}/lib/*{os.pathsep}{place}"
        data = ("-dbPath", str(folder)) if keeps else ("-inMemory",)
        options = ("-sharedDb", "-disableTelemetry", "-port", str(port))
        libraries = f"-Djava.library.path={place}/lib"
        return ("java", *java, libraries, "-cp", classes, "Main", *data, *options)

    return ServerProcess("dynamodb-local", command, _answers)


def url_of(server: ServerProcess, table: str = "plusone", **parameters: str | int) -> str:
    query = "".join(f"&{name}={value}" for name, value in parameters.items())
    return f"dynamodb://key:secret@{table}?region=eu-central-1&endpoint=http://127.0.0.1:{server.port}{query}"


def _answers(port: int) -> bool:
    """It answers whatever it is asked with some HTTP status."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False
