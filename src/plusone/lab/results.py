"""What the lab found, as data: a run's `result.json`, and what the report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

FORMAT: Final = 1

Word: TypeAlias = Literal["ok", "illegal", "unknown", "not tested"]
Violation: TypeAlias = Literal[
    "lost update",
    "duplicate value",
    "phantom increment",
    "bound crossed",
    "false rejection",
    "stale read",
    "order reversed",
    "lost after acknowledgement",
    "wrong value",
]
"""What a contradiction is an instance of.

lost update                 two increments were acknowledged, and the counter rose by less
duplicate value             two increments were told the same value
phantom increment           the counter rose by more than anybody asked for
bound crossed               an increment was applied beyond its ceiling or floor
false rejection             an increment was rejected at a value that admitted it
stale read                  a read told a value from before an operation that had been acknowledged
order reversed              the values contradict the order in which the operations followed one another
lost after acknowledgement  what had been acknowledged was gone later
wrong value                 an answer that no order explains
"""


OF_PROCESS: Final = frozenset({"clock"})
"""Faults that are of the process that counts, and neither of the network nor of a server."""
UNDISTURBED: Final = "no fault of network or server"


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that takes part in a contradiction: a line of the space-time diagram."""

    number: int
    process: int
    kind: Literal["add", "set", "delete", "read"]
    amount: int = 0
    ceiling: int | None = None
    floor: int | None = None
    called_ns: int
    """Nanoseconds since the history's beginning."""
    answered_ns: int | None
    """None if no answer came."""
    result: Literal["applied", "rejected", "read", "unknown", "refused"]
    value: int | None = None
    previous: int | None = None
    revision: int | None = None


class Contradiction(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest set of operations that cannot all be true of one counter."""

    kind: Violation
    counter: str
    sentence: str
    """In words, with the numbers."""
    operations: Sequence[Witness]


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a verification: what is claimed, and whether it held."""

    name: str
    """exactly once, bounds, idempotency keys, durable, losses noticed, …"""
    claimed: bool
    """Whether the capability table, or the recipe, claims it. What is not claimed may fail without failing the run."""
    claim: str
    """In the table's own words."""
    verdict: Word
    evidence: str
    """What was counted: operations, faults hit, and what was found, in a sentence with numbers."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A point of the timeline: what was answered within one interval."""

    second: float
    answered: int
    errors: int
    """Errors that callers saw, and unknown outcomes."""


class FaultMark(msgspec.Struct, frozen=True, kw_only=True):
    """When a fault was in force."""

    fault: str
    begin: float
    """Seconds since the run's beginning."""
    end: float


class Verification(msgspec.Struct, frozen=True, kw_only=True, tag="verification"):
    """What `plusone verify` found about one subject on one datastore."""

    format: int = FORMAT
    subject: str
    subject_title: str
    store: str
    """The scheme or the name of the server that the lab started: redis, dynamodb, …"""
    store_title: str
    """Server, version, durability, as far as known."""
    url: str
    """Redacted."""
    command: str
    """Repeats this run, seed included."""
    seed: int
    started: str
    """UTC, ISO 8601."""
    seconds: float
    versions: Mapping[str, str]
    settings: Mapping[str, str | int | float]
    operations: int
    acknowledged: int
    unknown: int
    errors: int
    """Errors that callers saw and answered by asking again."""
    faults: Mapping[str, int]
    """How often each fault was hit."""
    no_fault: str = ""
    """Why none of the network or of a server was met; empty where one was."""
    expected: int
    """What the counters should add up to: acknowledged increments, where no outcome is unknown."""
    counted: int
    """What they added up to."""
    lost: int = 0
    """Acknowledged increments that the datastore itself lost, by its own property."""
    gaps_noticed: int = 0
    """Losses that the sessions noticed."""
    promises: Sequence[Promise]
    contradictions: Sequence[Contradiction] = ()
    """The first of each kind."""
    timeline: Sequence[Moment] = ()
    marks: Sequence[FaultMark] = ()
    histories: Sequence[str] = ()
    """File names within the run's folder."""
    notes: Sequence[str] = ()

    @property
    def calm_only(self) -> bool:
        """Whether neither network nor server did any harm: what held then says nothing of worse days."""
        return not any(hit for fault, hit in self.faults.items() if fault not in OF_PROCESS)

    @property
    def held(self) -> bool:
        """Whether every promise that is claimed, and was tested, held."""
        return all(promise.verdict in ("ok", "not tested") for promise in self.promises if promise.claimed)


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Of an open-loop load, corrected for coordinated omission; microseconds."""

    rate: float
    """Operations per second that were asked for."""
    achieved: float
    """Operations per second that were answered while the load lasted; less than `rate` where it was too much."""
    unsent: int = 0
    """Operations that were due and never sent, since all connections were busy. They count as having waited until the
    end."""
    errors: int = 0
    """Operations that failed. They have no latency."""
    lag_p99_us: float = 0.0
    """By how much the load generator itself was late: that much of a latency may be its own."""
    p50_us: float
    p95_us: float
    p99_us: float
    p999_us: float
    max_us: float
    histogram: str
    """HdrHistogram V2, base64."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One subject on one datastore at one concurrency and number of keys."""

    concurrency: int
    keys: int
    increments_per_second: float
    """Closed loop: every caller awaits one increment after the other."""
    errors: int
    latency: Latency | None = None
    writes_per_increment: float | None = None
    """Writes that reach the datastore; None where it cannot be told."""
    dollars_per_million: float | None = None
    """By the price list, at so many writes; None where these cannot be told, or the price depends on machines."""


class Lossy(msgspec.Struct, frozen=True, kw_only=True):
    """What lost replies did to the count."""

    increments: int
    lost_replies: int
    counted: int
    """What the counter was in the end; it should be `increments`."""
    errors: int


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One subject on one datastore."""

    subject: str
    subject_title: str
    store: str
    store_title: str
    url: str
    cells: Sequence[Cell]
    lossy: Lossy | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True, tag="comparison"):
    """What `plusone compare` measured."""

    format: int = FORMAT
    command: str
    seed: int
    started: str
    seconds: float
    """Of each measurement."""
    versions: Mapping[str, str]
    machine: str
    columns: Sequence[Column]
    notes: Sequence[str] = ()


Result: TypeAlias = Verification | Comparison
