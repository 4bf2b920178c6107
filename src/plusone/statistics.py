"""What a combiner may take, and what it did: the numbers behind settings, metrics and readiness."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from plusone.errors import ConfigurationError

DEADLINE_SECONDS_MAX: Final = 60.0
WAITING_MAX: Final = 10_000_000
TOKEN_RETENTION_SECONDS_MAX: Final = 31_536_000.0  # a year


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how much. Raises `ConfigurationError`, which names the setting."""

    timeout: float = 10.0
    """Each operation's deadline, in seconds over all its attempts."""
    attempt_timeout: float = 3.0
    """How long one call to the datastore may take, in seconds, before it counts as unanswered and is sent again."""
    waiting_max: int = 100_000
    """Operations that may wait for an answer at once; more are refused with `Overloaded`."""
    on_gap: Literal["continue", "stop"] = "continue"
    """What to do when the datastore turns out to have lost what it had acknowledged."""
    token_retention: float = 86_400.0
    """How long a token is remembered at least, in seconds."""

    def __post_init__(self) -> None:
        _check_seconds("timeout", self.timeout, DEADLINE_SECONDS_MAX)
        _check_seconds("attempt_timeout", self.attempt_timeout, DEADLINE_SECONDS_MAX)
        _check_seconds("token_retention", self.token_retention, TOKEN_RETENTION_SECONDS_MAX)
        if type(self.waiting_max) is not int or not 1 <= self.waiting_max <= WAITING_MAX:
            raise ConfigurationError(f"waiting_max must be an integer from 1 to {WAITING_MAX}")
        if self.on_gap not in ("continue", "stop"):
            raise ConfigurationError('on_gap must be "continue" or "stop"')


class Gap(msgspec.Struct, frozen=True):
    """A datastore was found to have lost batches of this writer that it had acknowledged."""

    key: str
    acked: int
    """The last sequence number that the datastore had acknowledged."""
    last: int
    """The last one that it still has."""
    at_ms: int


class Statistics(msgspec.Struct, kw_only=True):
    """What a combiner did since it was made. Totals only rise."""

    operations_waiting: int = 0
    """Accepted and not yet answered."""
    calls_in_flight: int = 0
    operations_total: int = 0
    """Answered with an outcome, rejections and replays included."""
    replays_total: int = 0
    batches_total: int = 0
    """Batches that the datastore applied: its writes."""
    attempts_total: int = 0
    """Batches in calls to the datastore, resends included."""
    failures_total: int = 0
    """Attempts that definitely did not happen."""
    ambiguous_total: int = 0
    """Attempts whose effect was not known."""
    missed_total: int = 0
    """Attempts that met a state outside their guard, or a token that was known."""
    unknown_total: int = 0
    """Operations that ended as `OutcomeUnknown`."""
    gaps_total: int = 0
    recent_gaps: tuple[Gap, ...] = ()
    """Those of the last five minutes, 100 at most: readiness shows them."""


def _check_seconds(name: str, value: float, highest: float) -> None:
    if type(value) not in (int, float) or not 0.001 <= value <= highest:
        raise ConfigurationError(f"{name} must be a number of seconds from 0.001 to {highest:g}")
