"""What a fault is: what can befall a request on its way, and what the line to a datastore can be like for a while.

A fault befalls one request, by number or at random. A condition is in force from its beginning to its end, for every
connection: whoever tests says when, with `begin` and `end` of the proxy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias, get_args

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

Condition: TypeAlias = Literal[
    "partition_to_server", "partition_to_client", "throttle", "refuse", "slow_close", "duplicate"
]
"""What a line to the datastore can be like for a while.

partition_to_server what clients send vanishes, and that they close; what the datastore still sends arrives
partition_to_client what the datastore sends vanishes, and that it closes; what clients send arrives, and is acted upon
throttle            so many bytes per second pass, on each connection and in each direction
refuse              a new connection is reset at once, as by a load balancer that has nobody behind it
slow_close          that one side has closed its connection is not passed on to the other
duplicate           what is sent on a new connection reaches the datastore over another one too, whose answers are
                    dropped: a middlebox that sends twice. TCP never does, and docs/protocol.md assumes that nobody
                    does: so this is in force only where it is asked for by name

A connection on which bytes vanished never carries anything in that direction again, not even behind the end of the
partition: a stream with a hole in it is none that TCP would deliver. One that is made during a partition, in either
direction, leads nowhere.
"""

Event: TypeAlias = Fault | Condition | Literal["connections", "requests", "ghosts", "refused"]
"""What a proxy counts.

`requests` are those that the matcher let be subject to faults. A cut after the request counts when the reply was there
to be lost. `ghosts` are requests that the datastore answered after their client had gone, any of them; `refused` are
connections that it did not take. A partition counts the connections that it broke, `throttle` those that it slowed,
`refuse` those that it reset, `slow_close` the closings that it held back, and `duplicate` the requests that the
datastore answered a second time.
"""

FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
CONDITIONS: Final[tuple[Condition, ...]] = get_args(Condition)

_BYTES_PER_SECOND_MAX: Final = 10**9


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
    throttle_bytes_per_second: int = 65_536
    """What passes on each connection, in each direction, while `throttle` is in force."""
    matcher: Callable[[bytes], bool] | None = None
    """Whether a request that begins with these bytes is subject to faults, and counted; None: all are."""

    def __post_init__(self) -> None:
        for fault in (*self.rates, *self.schedule.values()):
            if fault not in FAULTS:
                raise ConfigurationError(f"no fault of a request is named {fault!r}; there are {', '.join(FAULTS)}")
        if any(rate < 0 for rate in self.rates.values()) or sum(self.rates.values()) > 1:
            raise ConfigurationError("rates of faults must not be negative, nor add up to more than 1")
        if self.delay_ms < 0:
            raise ConfigurationError("delay_ms must not be negative")
        if not 1 <= self.throttle_bytes_per_second <= _BYTES_PER_SECOND_MAX:
            raise ConfigurationError(f"throttle_bytes_per_second must be from 1 to {_BYTES_PER_SECOND_MAX}")
