"""Real servers of the datastores, started for a while on this machine: 127.0.0.1, temporary folders, nothing left.

    with start("redis") as started:
        async with plusone.open(started.url) as counters: ...
        await asyncio.to_thread(started.kill)

A datastore's module is imported when it is asked for, and its driver not before something is asked of a server.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol, cast

import msgspec

from plusone.errors import ConfigurationError
from plusone.lab.disks import no_small_disk
from plusone.lab.results import Violation
from plusone.lab.servers.started import ServerFault, Started

__all__ = ["SERVERS", "Kind", "Started", "missing", "start"]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A datastore that the lab can start."""

    module: str
    scheme: str
    """Of its store URLs."""
    title: str
    faults: frozenset[ServerFault]
    """What can befall it, if it was started for it."""
    shows: Mapping[str, frozenset[Violation]] = {}
    """By subject, what counting on it shows besides, of which the datastore that it stands in for is innocent."""


def _kind(
    module: str,
    scheme: str,
    title: str,
    *faults: ServerFault,
    shows: Mapping[str, frozenset[Violation]] | None = None,
) -> Kind:
    harm: frozenset[ServerFault] = frozenset({"kill", "pause", *faults})
    return Kind(module=module, scheme=scheme, title=title, faults=harm, shows=shows or {})


_ANSWERS_LATE: Final[Mapping[str, frozenset[Violation]]] = {"mongodb-inc": frozenset({"duplicate value"})}
"""mongo-java-server answers findAndModify with what the document has become by then; MongoDB, with what it made."""


SERVERS: Final[Mapping[str, Kind]] = {
    "redis": _kind("redis", "redis", "Redis", "disk_full"),
    "redis-cluster": _kind("redis_cluster", "redis+cluster", "Redis Cluster", "failover"),
    "redis-sentinel": _kind("redis_sentinel", "redis+sentinel", "Redis Sentinel", "failover"),
    "dynamodb": _kind("dynamodb", "dynamodb", "DynamoDB Local"),
    "mongodb": _kind("mongo", "mongodb", "mongo-java-server", shows=_ANSWERS_LATE),
    "mariadb": _kind("mariadb", "mariadb", "MariaDB", "disk_full"),
    "tidb": _kind("tidb", "tidb", "TiDB, embedded storage"),
    "postgresql": _kind("postgresql", "postgresql", "PostgreSQL", "failover", "disk_full"),
    "momento": _kind("momento", "momento", "an emulator of Momento"),
    "etcd": _kind("etcd", "etcd", "etcd, three members", "failover", "partition"),
}


class _Starts(Protocol):
    def missing(self) -> str | None: ...
    def start(self, *, keeps: bool, faults: frozenset[ServerFault]) -> AbstractContextManager[Started]: ...


def missing(name: str) -> str | None:
    """Why it cannot be started here, and what helps; None if it can. Raises `ConfigurationError` if it is no server."""
    return _module(name).missing()


@contextmanager
def start(name: str, *, keeps: bool = True, faults: Collection[ServerFault] = ()) -> Iterator[Started]:
    """Start it, as durable as `keeps` says where it has the choice, and end it behind this, whatever state it is in.

    `faults` are those that it is to be made for. Most need nothing; for `failover` PostgreSQL gets a standby, for
    `partition` etcd's members reach one another by way of relays, for `disk_full` the data is on a small disk in
    memory, where nothing that measures speed belongs. Raises
    `ConfigurationError` where it
    cannot be started, which `missing` tells before, and `ServerFailed` where it fails.
    """
    module = _module(name)
    if reason := module.missing():
        raise ConfigurationError(f"{name}: {reason}")
    if unknown := sorted(set(faults) - SERVERS[name].faults):
        offered = ", ".join(sorted(SERVERS[name].faults))
        raise ConfigurationError(f"faults: {unknown[0]} is not offered on {name}; {offered} are")
    if "disk_full" in faults and (reason := no_small_disk()):
        raise ConfigurationError(f"faults: disk_full: {reason}")
    with module.start(keeps=keeps, faults=frozenset(faults)) as started:
        yield started


def _module(name: str) -> _Starts:
    kind = SERVERS.get(name)
    if kind is None:
        raise ConfigurationError(f"the lab starts no server named {name!r}; it starts {', '.join(SERVERS)}")
    return cast(_Starts, importlib.import_module(f"plusone.lab.servers.{kind.module}"))
