"""What a way of counting looks like to the lab."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from plusone.lab.results import Violation
from plusone.types import Operation

PLACE: Final = "plusone_lab"
"""The table or collection that a recipe makes for itself, unless it is told another one."""

Told: TypeAlias = Literal["nothing", "value", "value and revision"]
"""What an increment answers beyond that it happened."""


class Counted(msgspec.Struct, frozen=True, gc=False):
    """What an increment or a read answered."""

    applied: bool = True
    """False for one that a bound rejected."""
    value: int | None = None
    """The value afterwards; of a rejected one the value that rejected it. None where that is not told."""
    previous: int | None = None
    revision: int | None = None


class Counting(Protocol):
    """A subject that is connected, for as many callers as ask."""

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        """Add 1, unless that would exceed `ceiling`. Raises the driver's own errors, or plusone's."""
        ...

    async def read(self, name: str) -> Counted:
        """The value now, as strong as the recipe reads."""
        ...

    async def remove(self, names: Sequence[str]) -> None:
        """Remove these counters, and the place that was made for them, if one was."""
        ...


@runtime_checkable
class Tokened(Counting, Protocol):
    """One that takes an idempotency key: the same call with the same key counts once."""

    async def increment_once(self, name: str, ceiling: int | None, token: str) -> Counted:
        """As `increment`; sent again with the same token it is answered as it was the first time."""
        ...


@runtime_checkable
class Changing(Counting, Protocol):
    """One that also counts down to a floor, sets and deletes."""

    async def change(self, name: str, operation: Operation) -> Counted:
        """Do it, as plusone means it. Raises the driver's own errors, or plusone's."""
        ...


@runtime_checkable
class Watchful(Counting, Protocol):
    """One that notices when its datastore has lost what it had acknowledged."""

    async def gaps(self) -> int:
        """How many such losses it has noticed since it was connected."""
        ...


@runtime_checkable
class CountsWrites(Protocol):
    """A connected subject that combines increments, and counts what it really writes."""

    @property
    def writes(self) -> int:
        """Writes that the datastore applied since it was connected."""
        ...


@runtime_checkable
class Clocked(Counting, Protocol):
    """One whose clock is in the lab's hands."""

    def jump(self, seconds: float) -> None:
        """Set its wall clock by so much; back, if it is negative."""
        ...


class Front(Protocol):
    """A process of the subject's own between its callers and the datastore."""

    @property
    def url(self) -> str:
        """Where it serves: the subject's `connect` takes this in the place of the store's URL."""
        ...

    async def kill(self) -> None:
        """End it as a crash would, start it again, and wait until it serves."""
        ...


class Connect(Protocol):
    """Connects with the driver's defaults to the host that a store URL names."""

    def __call__(self, url: str, place: str = PLACE) -> AbstractAsyncContextManager[Counting]:
        """`place` (A-Z a-z 0-9 _) is the table or collection that a recipe with tables makes for its counters."""
        ...


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A way of counting on some datastores."""

    name: str
    """As `--subject` takes it: `redis-incrby`."""
    title: str
    """As the tables name it: "redis-py `INCRBY`"."""
    schemes: frozenset[str]
    """Schemes of the store URLs that it counts on."""
    found: str
    """Where the recipe is commonly found."""
    told: Told
    bounded: bool
    """Whether it has a maximum. One that has none is only asked without."""
    tokens: bool = False
    """Whether it takes idempotency keys (`Tokened`). If it is retried too, every increment has one."""
    retried: bool = True
    """Whether a caller that gets an error asks again until it is answered, as people do. Else its doubt is recorded."""
    clocked: bool = False
    """Whether its clock can be made to jump (`Clocked`)."""
    writes: float | None = 1.0
    """Writes to the datastore that an increment takes; None where it cannot be told, or where `CountsWrites` tells."""
    weaknesses: frozenset[Violation] = frozenset()
    """What `verify` finds: nothing else, and each of them but those of `rare`."""
    rare: frozenset[Violation] = frozenset()
    """Weaknesses that take a race, a datastore that is down when a process ends, or luck: not every run shows them."""
    connect: Connect
    front: Callable[[str], AbstractAsyncContextManager[Front]] | None = None
    """Starts what stands between the callers and the datastore of a store URL, where there is such a thing."""
