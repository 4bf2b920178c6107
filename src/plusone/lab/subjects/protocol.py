"""What a way of counting looks like to the lab."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from plusone.lab.results import Violation

Told: TypeAlias = Literal["nothing", "value", "value and revision"]
"""What an increment answers beyond that it happened."""


class Counted(msgspec.Struct, frozen=True, gc=False):
    """What an increment or a read answered."""

    applied: bool = True
    """False for an increment that the ceiling rejected."""
    value: int | None = None
    """The value afterwards; of a rejected one the value that rejected it. None where the recipe does not tell."""
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


@runtime_checkable
class CountsWrites(Protocol):
    """A connected subject that combines increments, and counts what it really writes."""

    @property
    def writes(self) -> int:
        """Writes that the datastore applied since it was connected."""
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
    retried: bool = True
    """Whether a caller that gets an error asks again until it is answered, as people do. Else its doubt is recorded."""
    writes: float | None = 1.0
    """Writes to the datastore that an increment takes; None where it cannot be told, or where `CountsWrites` tells."""
    weaknesses: frozenset[Violation] = frozenset()
    """What `verify` finds: nothing else, and each of them."""
    connect: Callable[[str], AbstractAsyncContextManager[Counting]]
    """Connect with the driver's defaults to the host that a store URL names."""
