"""The kinds of schedules: which misfortunes meet, and how often."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from tests.model.network import Faults

_MINUTE = 60.0


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What the schedules of one kind have in common; each seed draws the rest."""

    name: str
    processes: Sequence[int] = (1, 2, 2, 3)
    events: tuple[int, int] = (15, 40)
    burst: Sequence[int] = (1, 1, 2, 4)
    """How many operations are asked for at the same moment."""
    pauses: Sequence[float] = (0.001, 0.001, 0.01, 0.1, 1.0)
    """Magnitudes of the time between events, in seconds."""
    timeouts: Sequence[float] = (0.2, 1.0, 5.0)
    worst: Faults = Faults()
    """The faults at their likeliest; each seed takes a part of each."""
    happenings: dict[str, float] = msgspec.field(default_factory=lambda: {"one": 8, "bulk": 1, "again": 0.5, "read": 1})
    kinds: Sequence[float] = (8, 1, 0.5)
    """Weights of add, set and delete."""
    bounds: float = 0.4
    preconditions: float = 0.08
    tokens: float = 0.2
    token_retentions: Sequence[float] = (86_400.0, 600.0)
    ttl: float = 0.05
    ones: float = 0.0
    cancel: float = 0.05
    levels: bool = False
    """Whether the bounds are a few steps apart, so that the counter moves between them."""
    near_expiry: float = 0.0
    """How often a token is used again in the last seconds of its retention."""

    @property
    def weights(self) -> tuple[list[str], list[float]]:
        return list(self.happenings), list(self.happenings.values())

    def pause(self, rng: random.Random) -> float:
        return rng.choice(self.pauses) * rng.random()

    def faults(self, rng: random.Random) -> Faults:
        worst = msgspec.structs.asdict(self.worst)
        return Faults(**{name: most * rng.choice([0.0, 0.3, 1.0]) for name, most in worst.items()})


_STORM = Faults(
    delay_max=0.05, lose_request=0.3, lose_reply=0.3, refuse=0.2, break_off=0.2, partial=0.3, duplicate=0.3, late=0.8
)
_RAIN = Faults(
    delay_max=0.02, lose_request=0.1, lose_reply=0.1, refuse=0.1, break_off=0.1, partial=0.1, duplicate=0.2, late=0.8
)
_GHOSTS = Faults(delay_max=0.02, lose_request=0.6, late=1.0)
_LONG = (0.01, 0.1, 1.0, 30.0, 2.5 * _MINUTE, 6 * _MINUTE)

PROFILES = (
    Profile(name="storm", worst=_STORM),
    Profile(name="ones", worst=_STORM, ones=1.0, kinds=(1, 0, 0), bounds=0.0, preconditions=0.0, ttl=0.0),
    Profile(name="ghosts", worst=_STORM, timeouts=(0.05, 0.2), pauses=(0.01, 0.1, 1.0, 30.0), tokens=0.4),
    Profile(name="crowd", worst=_RAIN, processes=(3, 4), pauses=(0.0, 0.001, 0.01), bounds=0.6, burst=(1, 4, 8)),
    Profile(
        name="tokens",
        worst=_STORM,
        tokens=0.9,
        happenings={"one": 6, "bulk": 2, "again": 5},
        token_retentions=(600.0, 300.0),
        pauses=(0.001, 0.1, 1.0, 100.0),
    ),
    Profile(
        name="expiry",
        worst=_GHOSTS,
        tokens=0.9,
        events=(5, 20),
        near_expiry=0.8,
        token_retentions=(300.0,),
        pauses=(0.01, 0.1, 1.0),
        timeouts=(5.0,),
    ),
    Profile(
        name="edges",
        worst=_GHOSTS,
        bounds=1.0,
        levels=True,
        kinds=(1, 0, 0),
        tokens=0.05,
        pauses=(0.1, 1.0, 10.0),
        burst=(1, 1, 2),
        timeouts=(5.0, 20.0),
    ),
    Profile(
        name="lives",
        worst=_RAIN,
        ttl=0.5,
        kinds=(6, 1, 2),
        preconditions=0.15,
        pauses=(0.01, 0.1, 1.0, 60.0, 1000.0, 5000.0),
    ),
    Profile(
        name="freezes",
        worst=_STORM,
        pauses=_LONG,
        happenings={"one": 8, "bulk": 1, "again": 0.5, "freeze": 2, "kill": 0.7, "restart": 0.5},
    ),
    Profile(
        name="suspensions",
        worst=_STORM,
        processes=(3, 4),
        pauses=(0.01, 0.1, 1.0, 100.0),
        happenings={"one": 10, "suspend": 2, "kill": 2},
        timeouts=(5.0, 60.0),
    ),
    Profile(
        name="removal",
        worst=_STORM,
        kinds=(3, 0.2, 3),
        bounds=0.7,
        tokens=0.1,
        ttl=0.7,
        token_retentions=(600.0,),
        pauses=(0.01, 0.1, 100.0, 200.0),
        timeouts=(0.1, 0.3),
    ),
    Profile(
        name="crashes",
        worst=_RAIN,
        tokens=0.5,
        happenings={"one": 8, "bulk": 1, "again": 1, "kill": 1.5, "restart": 1},
    ),
    Profile(
        name="failovers",
        worst=_RAIN,
        pauses=(0.01, 0.1, 1.0, 30.0),
        happenings={"one": 8, "bulk": 1, "again": 0.5, "read": 0.5, "snapshot": 1.5, "failover": 0.8},
    ),
)
BY_NAME = {profile.name: profile for profile in PROFILES}
