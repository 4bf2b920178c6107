"""What a fault is: what can befall a request on its way to a datastore and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import msgspec

from plusone.errors import ConfigurationError

Fault: TypeAlias = Literal["cut_before_request", "cut_after_request", "delay", "half_open"]
"""What can befall a request.

cut_before_request  the connection is cut, and the datastore never sees the request
cut_after_request   the datastore acts and replies, and the connection is cut instead of handing the reply over
delay               the request reaches the datastore later, even if the client has gone away meanwhile; what the client
                    sends behind it waits for the reply, lest a cancellation catches up with what it cancels
half_open           the request is swallowed, and whatever else the connection carries; it stays open
"""

Event: TypeAlias = Literal[
    "connections", "requests", "cut_before_request", "cut_after_request", "delay", "half_open", "ghosts", "refused"
]
"""What a proxy counts.

`requests` are those that the matcher let be subject to faults. A cut after the request counts when the reply was there
to be lost. `ghosts` are requests that the datastore answered after their client had gone, any of them; `refused` are
connections that it did not take.
"""


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests meet which fault. Requests are numbered from 1, over all connections, as they arrive."""

    schedule: Mapping[int, Fault] = {}
    """By number. It wins over the rates, and takes no random number."""
    rates: Mapping[Fault, float] = {}
    """Each fault's share of the requests that are not on the schedule; together 1 at most."""
    seed: int = 0
    """The same seed and the same order of requests meet the same faults."""
    delay_ms: int = 50
    """How long a delayed request is held."""
    matcher: Callable[[bytes], bool] | None = None
    """Whether a request that begins with these bytes is subject to faults, and counted; None: all are."""

    def __post_init__(self) -> None:
        if any(rate < 0 for rate in self.rates.values()) or sum(self.rates.values()) > 1:
            raise ConfigurationError("rates of faults must not be negative, nor add up to more than 1")
