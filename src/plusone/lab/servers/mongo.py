"""mongo-java-server, which speaks MongoDB's protocol and keeps its data in H2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plusone.lab.processes import ServerProcess
from plusone.lab.servers import build
from plusone.lab.servers.available import no_driver, not_built, not_installed, with_parameters
from plusone.lab.servers.started import ServerFault, Started, to_all


def missing() -> str | None:
    """Why it cannot be started here, and what helps."""
    return not_installed("default-jdk-headless", "java") or not_built("mongo") or no_driver("mongodb", "pymongo")


@contextmanager
def start(*, keeps: bool, faults: frozenset[ServerFault]) -> Iterator[Started]:
    with mongo_server(keeps=keeps) as server:
        written = "every write in its file" if keeps else "the last second may be lost"
        title = f"mongo-java-server {build.version('mongo')}, {written}"
        yield Started(name="mongodb", title=title, url=url_of(server), keeps=keeps, harms=to_all([server]))


def mongo_server(*, keeps: bool = False) -> ServerProcess:
    """With `keeps`, what it acknowledged survives the end of its process; else the last second may be lost."""

    def command(port: int, folder: Path) -> Sequence[str]:
        built = build.folder("mongo")
        java = ("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        return (*java, "-cp", f"{built}/lib/*:{built}", "Main", str(port), str(folder / "data"), _commits(keeps))

    return ServerProcess("mongo-java-server", command, _answers)


def _commits(keeps: bool) -> str:
    return "each" if keeps else "second"


def url_of(server: ServerProcess, **parameters: str | int) -> str:
    return with_parameters(f"mongodb://127.0.0.1:{server.port}/plusone", parameters)


def _answers(port: int) -> bool:
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    try:
        probe: MongoClient[dict[str, Any]]
        with MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=500) as probe:
            probe.admin.command("ping")
    except PyMongoError:
        return False
    return True
