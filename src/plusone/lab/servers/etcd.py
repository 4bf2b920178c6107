"""etcd, one member or three."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from plusone.lab.processes import ServerProcess, free_port, until
from plusone.lab.servers.available import no_driver, not_installed, with_parameters

_ANYONE: Final = ssl._create_unverified_context()  # noqa: S323  # whoever it is, it only has to be ready


def missing() -> str | None:
    """Why none can be started here, and what helps."""
    return not_installed("etcd-server", "etcd") or no_driver("etcd", "aetcd")


def etcd_server(*options: str, scheme: str = "http", asked_at: int | None = None) -> ServerProcess:
    """One member; `options` are those of its command line. Its health is asked at a port of its own, or `asked_at`."""
    peer = free_port()
    member = _Member("etcd", peer, f"etcd=http://127.0.0.1:{peer}", options, scheme)
    if asked_at is not None:
        return ServerProcess("etcd", member.command, lambda _: _serves(asked_at))
    return ServerProcess("etcd", member.command, lambda port: _serves(port, scheme))


@contextmanager
def etcd_cluster(*options: str) -> Iterator[Sequence[ServerProcess]]:
    """Three members, once all of them serve."""
    peers = {f"member-{number}": free_port() for number in range(3)}
    cluster = ",".join(f"{name}=http://127.0.0.1:{peer}" for name, peer in peers.items())
    most_run = False

    def is_ready(port: int) -> bool:
        # A member serves once most of them run, which is not before the second one does.
        return _serves(port) if most_run else _listens(port)

    members = [
        ServerProcess(name, _Member(name, peer, cluster, options).command, is_ready) for name, peer in peers.items()
    ]
    with ExitStack() as stack:
        for member in members:
            stack.enter_context(member)
            most_run = member is not members[0]
        until(lambda: all(_serves(member.port) for member in members), "etcd's members to serve")
        yield members


def url_of(*members: ServerProcess, **parameters: str | int) -> str:
    hosts = ",".join(f"127.0.0.1:{member.port}" for member in members)
    return with_parameters(f"etcd://{hosts}", parameters)


class _Member:
    def __init__(self, name: str, peer: int, cluster: str, options: Sequence[str], scheme: str = "http") -> None:
        self._name, self._peer, self._cluster, self._options, self._scheme = name, peer, cluster, options, scheme

    def command(self, port: int, folder: Path) -> Sequence[str]:
        client, peer = f"{self._scheme}://127.0.0.1:{port}", f"http://127.0.0.1:{self._peer}"
        return (
            *("etcd", "--name", self._name, "--data-dir", str(folder / "data")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", self._cluster, "--initial-cluster-token", self._cluster),
            *("--logger", "zap", *self._options),
        )


def _serves(port: int, scheme: str = "http") -> bool:
    """Whether the member and most others answer: `/health` is a linearizable read."""
    url = f"{scheme}://127.0.0.1:{port}/health"
    try:
        with urllib.request.urlopen(url, timeout=1, context=_ANYONE) as answer:  # noqa: S310  # http or https
            return b'"true"' in answer.read()
    except OSError:
        return False


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
