"""etcd, one member or three."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from plusone.lab.processes import ServerProcess, Together, all_of, free_port, until
from plusone.lab.relays import Relay, anybody, nobody
from plusone.lab.servers.available import no_driver, not_installed, version_of, with_parameters
from plusone.lab.servers.started import Harm, ServerFault, Started, to_all

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
    with _members([free_port() for _ in range(3)], None, options) as members:
        yield members


@contextmanager
def start(*, keeps: bool, faults: frozenset[ServerFault]) -> Iterator[Started]:
    """It keeps what it acknowledged, whatever `keeps` is: this version has no other way."""
    with ExitStack() as stack:
        peers = [free_port() for _ in range(3)]
        relays = [stack.enter_context(Relay(peer)) for peer in peers] if "partition" in faults else None
        members = stack.enter_context(_members(peers, relays, ()))
        harms = {**to_all(members), "failover": _failover(members)}
        if relays is not None:
            harms["partition"] = _partition(members, relays)
        title = f"etcd {version_of('etcd', '--version')}, three members"
        yield Started(name="etcd", title=title, url=url_of(*members), keeps=True, harms=harms)


@contextmanager
def _members(
    peers: Sequence[int], relays: Sequence[Relay] | None, options: Sequence[str]
) -> Iterator[Sequence[ServerProcess]]:
    """Members that listen to one another at these ports, and reach one another by way of the relays, if any."""
    reached = peers if relays is None else [relay.port for relay in relays]
    urls = {f"member-{number}": f"http://127.0.0.1:{port}" for number, port in enumerate(reached)}
    cluster = ",".join(f"{name}={url}" for name, url in urls.items())
    members = [
        ServerProcess(name, _Member(name, peer, cluster, options, advertised=url).command, _serves)
        for (name, url), peer in zip(urls.items(), peers, strict=True)
    ]
    with all_of(members):
        yield members


def _failover(members: Sequence[ServerProcess]) -> Harm:
    def begin() -> str:
        before = _elected(members)
        before.kill()
        others = [member for member in members if member is not before]
        after = _elected(others)
        return f"SIGKILL to the leader, {before.name}; {after.name} was elected"

    return Harm(begin, Together(members).start)


def _partition(members: Sequence[ServerProcess], relays: Sequence[Relay]) -> Harm:
    def begin() -> str:
        alone = _elected(members)
        # What members send one another says who they are (etcd, server/etcdserver/api/rafthttp).
        its_own = f"X-Server-From: {int(_status(alone)['header']['member_id']):x}\r\n".encode()
        for member, relay in zip(members, relays, strict=True):
            # Whoever calls the one that is alone is cut off, and whomever that one calls.
            relay.admit(nobody if member is alone else lambda first: its_own not in first)
        after = _elected([member for member in members if member is not alone])
        return f"the leader, {alone.name}, was cut off from the others; {after.name} was elected"

    def end() -> None:
        for relay in relays:
            relay.admit(anybody)
        until(lambda: all(_serves(member.port) for member in members), "etcd's members to serve again")

    return Harm(begin, end)


def _elected(members: Sequence[ServerProcess]) -> ServerProcess:
    """Who leads these members, once one does and all of them serve."""
    leading: list[ServerProcess] = []

    def elected() -> bool:
        leading[:] = filter(_leads, members)
        return bool(leading) and all(_serves(member.port) for member in members)

    until(elected, "etcd to elect a leader")
    return leading[0]


def _leads(member: ServerProcess) -> bool:
    try:
        status = _status(member)
    except OSError:
        return False
    return bool(status.get("leader") == status["header"]["member_id"])


def _status(member: ServerProcess) -> Any:
    url = f"http://127.0.0.1:{member.port}/v3/maintenance/status"
    request = urllib.request.Request(url, data=b"{}", method="POST")  # http
    with urllib.request.urlopen(request, timeout=1) as answer:  # noqa: S310  # http
        return json.loads(answer.read())


def url_of(*members: ServerProcess, **parameters: str | int) -> str:
    hosts = ",".join(f"127.0.0.1:{member.port}" for member in members)
    return with_parameters(f"etcd://{hosts}", parameters)


class _Member:
    def __init__(
        self,
        name: str,
        peer: int,
        cluster: str,
        options: Sequence[str],
        scheme: str = "http",
        advertised: str | None = None,
    ) -> None:
        self._name, self._peer, self._cluster, self._options, self._scheme = name, peer, cluster, options, scheme
        self._advertised = advertised or f"http://127.0.0.1:{peer}"

    def command(self, port: int, folder: Path) -> Sequence[str]:
        client, peer = f"{self._scheme}://127.0.0.1:{port}", f"http://127.0.0.1:{self._peer}"
        return (
            *("etcd", "--name", self._name, "--data-dir", str(folder / "data")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", self._advertised),
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
