"""A datastore that the lab started, and the harm that may be done to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from plusone.errors import ConfigurationError
from plusone.lab.processes import ServerProcess, Together

ServerFault: TypeAlias = Literal["kill", "pause", "failover", "partition", "disk_full"]
"""What can befall a server that the lab started.

kill        its processes end as in a crash (SIGKILL), all of them, and are started again on what they kept
pause       its processes stand still (SIGSTOP), all of them, with their connections open
failover    the primary or leader is killed, and another takes over; it comes back as one that follows
partition   the leader is cut off from the other members, while clients reach all of them
disk_full   the kernel refuses what the server writes (ENOSPC)
"""


class Harm(msgspec.Struct, frozen=True):
    """How a fault begins and ends. Both return when it is so, and so may take seconds."""

    begin: Callable[[], str]
    """Tells in a few words what was done, to which process."""
    end: Callable[[], None]


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A datastore that runs, empty, on this machine.

    Its methods block, some for seconds: call them by `asyncio.to_thread`. They raise `ServerFailed` where the server
    does not do what it should, and `ConfigurationError` for a fault that is not among `faults`. One fault at a time.
    """

    name: str
    """As SERVERS names it."""
    title: str
    """Server, version, durability."""
    url: str
    """The store URL of an empty place."""
    keeps: bool
    """Whether what it acknowledged survives SIGKILL, as it is configured."""
    harms: Mapping[ServerFault, Harm]

    @property
    def faults(self) -> frozenset[ServerFault]:
        return frozenset(self.harms)

    def begin(self, fault: ServerFault) -> str:
        """Do this harm; what was done, to which process. Behind `kill` it is down, behind `failover` another leads."""
        return self._harm(fault).begin()

    def end(self, fault: ServerFault) -> None:
        """Undo it, and return when the datastore is whole again."""
        self._harm(fault).end()

    def kill(self) -> None:
        """End it as a crash would, start it again, and wait until it is ready."""
        self.begin("kill")
        self.end("kill")

    def pause(self) -> None:
        self.begin("pause")

    def resume(self) -> None:
        self.end("pause")

    def failover(self) -> str:
        """Have another take over, and the one that led come back; who it was and is."""
        told = self.begin("failover")
        self.end("failover")
        return told

    def _harm(self, fault: ServerFault) -> Harm:
        if fault not in self.harms:
            offered = ", ".join(sorted(self.harms))
            raise ConfigurationError(f"faults: {fault} is not offered on {self.name} as it was started; {offered} are")
        return self.harms[fault]


def to_all(servers: Sequence[ServerProcess]) -> dict[ServerFault, Harm]:
    """The harm that can be done to any servers: each is done to all of them, as many as there are by then."""
    together = Together(servers)
    names = ", ".join(dict.fromkeys(server.name for server in servers))

    def kill() -> str:
        together.kill()
        return f"SIGKILL to {names}"

    def pause() -> str:
        together.pause()
        return f"SIGSTOP to {names}"

    harms: dict[ServerFault, Harm] = {"kill": Harm(kill, together.start), "pause": Harm(pause, together.resume)}
    if all(server.disk is None for server in servers):
        return harms

    def fill() -> str:
        for server in servers:
            if server.disk is not None:
                server.disk.fill()
        return f"no space left for {names}"

    def free() -> None:
        for server in servers:
            if server.disk is not None:
                server.disk.free()
        # Some servers end when they cannot write, and may be about to.
        for server in servers:
            server.revive()

    return {**harms, "disk_full": Harm(fill, free)}


def and_then(harm: Harm, wait: Callable[[], None]) -> Harm:
    """The same harm, which is over only once `wait` has returned too."""

    def end() -> None:
        harm.end()
        wait()

    return Harm(harm.begin, end)
