"""What is counted on: a datastore of the user's, or a server that the lab starts; and the faults that it bears."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from plusone.errors import ConfigurationError
from plusone.lab import servers
from plusone.lab.disks import no_small_disk
from plusone.lab.proxies import proxied
from plusone.lab.servers import Started
from plusone.lab.subjects.protocol import Subject
from plusone.stores.registry import STORES, StoreURL, store_class

FaultName: TypeAlias = Literal["replies", "partition", "clock", "kill", "pause", "failover", "disk_full"]

FAULTS: Final[tuple[FaultName, ...]] = get_args(FaultName)
"""In the order in which a run has them.

replies    replies are lost after the datastore acted, requests before they reach it, others arrive late or never
partition  nothing passes in one direction, then in the other; connections are refused, throttled, half closed; of a
           cluster, the leader is cut off
clock      the clock of the process that counts is set forward, then back
kill       the server is killed as by kill -9, and started again; the service too, where that is what counts
pause      the server stands still for some seconds, with its connections open
failover   the primary is lost, and another one takes over
disk_full  the server's disk is full for a while
"""
NO_NETWORK: Final = frozenset({"memory", "sqlite"})
"""Schemes of stores that are part of the process: nothing can be lost on the way to them."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A place to count on."""

    given: str
    """As the user named it, without a password."""
    name: str
    """The scheme, or the server's name: what the tables call the store."""
    title: str
    url: str
    started: Started | None = None
    """The server, if the lab started it."""
    goes: bool = False
    """Whether it is a file that did not exist before, and is removed at the end."""

    @property
    def scheme(self) -> str:
        return self.parsed.scheme

    @property
    def parsed(self) -> StoreURL:
        return StoreURL.parse(self.url)

    @property
    def keeps(self) -> bool | None:
        """Whether what was acknowledged survives the end of the server's process; None if that is left alone.

        Where SQLite counts there is no server: the process that counts is the one that ends, and the file stays.
        """
        if self.scheme == "sqlite":
            return True
        return None if self.started is None else self.started.keeps

    def offers(self, subject: Subject) -> tuple[Sequence[FaultName], str]:
        """The faults that are to be had for this subject, and why not those of the network, if they are not."""
        why_not = ""
        offered: set[str] = set(self.started.faults) if self.started is not None else set()
        if subject.clocked:
            offered.add("clock")
        # A service is a process of the lab's own, before which there can always be a proxy. With the counters in its
        # memory it would be the store that is killed.
        if subject.front is not None:
            offered |= {"replies", "partition"}
            if self.scheme != "memory":
                offered.add("kill")
        else:
            try:
                proxied(self.url)
                offered |= {"replies", "partition"}
            except ConfigurationError as error:
                why_not = str(error)
        return [fault for fault in FAULTS if fault in offered], why_not


@contextlib.contextmanager
def opened(given: str, faults: Collection[FaultName] | None = None) -> Iterator[Target]:
    """The target of this name or URL; a server is started, and gone behind this. Raises `ConfigurationError`.

    The server is made for `faults`, as far as it is their matter; None means all that it can be made for here.
    """
    if given in servers.SERVERS:
        harm = servers.SERVERS[given].faults
        if faults is not None:
            _check_offered(given, faults)
            harm = harm.intersection(faults)
        elif "disk_full" in harm and no_small_disk() is not None:
            harm = harm - {"disk_full"}
        with servers.start(given, faults=harm) as started:
            yield Target(given=given, name=given, title=started.title, url=started.url, started=started)
        return
    check_named(given)
    url = StoreURL.parse(given)
    title = store_class(url.scheme).CAPABILITIES.title
    with _file(url) as goes:
        yield Target(given=url.redacted(), name=url.scheme, title=title, url=given, goes=goes)


def check_named(given: str) -> None:
    """Raises `ConfigurationError` for what is neither a store URL nor a server's name."""
    if given not in servers.SERVERS and ":" not in given:
        raise ConfigurationError(
            f"{given!r} is neither a store URL (memory:, sqlite:FILE, redis://HOST) nor a server that the lab starts:"
            f" {', '.join(servers.SERVERS)}"
        )


def _check_offered(server: str, faults: Collection[FaultName]) -> None:
    """Refuse what cannot befall this server, before it is started in vain."""
    known: Collection[str] = {"replies", "partition", "clock", *servers.SERVERS[server].faults}
    offered = [fault for fault in FAULTS if fault in known]
    for fault in faults:
        if fault not in offered:
            raise ConfigurationError(f"{server} cannot be verified under {fault!r}: offered: {', '.join(offered)}")


@contextlib.contextmanager
def _file(url: StoreURL) -> Iterator[bool]:
    """Whether a file is made for the run: behind this it is gone. Its folder has to be there, or the name is a slip."""
    path = Path(url.path)
    if url.scheme != "sqlite" or path.exists():
        yield False
        return
    if not path.parent.is_dir():
        raise ConfigurationError(f"sqlite: there is no folder {path.parent}; name a file in one that exists")
    try:
        yield True
    finally:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def scheme_of(given: str) -> str:
    """The scheme of a store URL, of a server that the lab starts, or that is given itself."""
    if given in servers.SERVERS:
        return servers.SERVERS[given].scheme
    if ":" in given:
        scheme = StoreURL.parse(given).scheme
        if scheme not in STORES:
            store_class(scheme)  # says so
        return scheme
    if given not in STORES:
        raise ConfigurationError(
            f"{given!r} is neither a store URL, nor a server that the lab starts ({', '.join(servers.SERVERS)}), nor a"
            f" scheme ({', '.join(STORES)})"
        )
    return given
