"""What is to be compared: datastores and subjects, and the loads that they get."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from plusone.errors import ConfigurationError, PlusoneError, StoreUnavailable
from plusone.lab.load import OPERATIONS_MAX
from plusone.lab.reach import reach
from plusone.lab.servers import SERVERS, missing
from plusone.lab.subjects.own import PLUSONE
from plusone.lab.subjects.protocol import Subject
from plusone.lab.subjects.registry import SUBJECTS, subjects_for
from plusone.lab.target import check_named, scheme_of
from plusone.stores.registry import StoreURL

WARM_UP_SHARE: Final = 0.2
"""Each closed loop is preceded by one of this share of its time, which is not counted."""
_LISTED_MAX: Final = 16
_CONCURRENCY_MAX: Final = 4_096
_KEYS_MAX: Final = 100_000
_SECONDS_MAX: Final = 600.0
_SEED_MAX: Final = 2**63 - 1
_FIRST_SECONDS: Final = 30.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared. Raises `ConfigurationError`, which names the field."""

    targets: Sequence[str]
    """Store URLs, or names of servers that the lab starts."""
    subjects: Sequence[str] = ()
    """Names of subjects; all that count on a target, if there are none."""
    seconds: float = 10.0
    """Of each measurement."""
    concurrency: Sequence[int] = (1, 64, 256)
    keys: Sequence[int] = (1, 1_000)
    rate: float | None = None
    """Of the open loop, operations per second."""
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("targets", "concurrency", "keys"):
            values = getattr(self, name)
            if not 1 <= len(values) <= _LISTED_MAX or len(set(values)) < len(values):
                raise ConfigurationError(f"{name} must be 1 to {_LISTED_MAX} different values")
        _check("seconds", self.seconds, 0.05, _SECONDS_MAX)
        _check("seed", self.seed, 0, _SEED_MAX)
        for concurrency in self.concurrency:
            _check("concurrency", concurrency, 1, _CONCURRENCY_MAX)
        for keys in self.keys:
            _check("keys", keys, 1, _KEYS_MAX)
        if self.rate is not None:
            _check("rate", self.rate, 0.1, 1e6)
            _check("rate times seconds, the operations of an open loop,", self.rate * self.seconds, 1, OPERATIONS_MAX)

    @property
    def cells(self) -> list[tuple[int, int]]:
        """Concurrency and keys of each measurement."""
        return [(concurrency, keys) for keys in self.keys for concurrency in self.concurrency]

    def command(self) -> str:
        """What repeats this."""
        words = ["plusone", "compare", *(redacted(target) for target in self.targets)]
        for subject in self.subjects:
            words += ["--subject", subject]
        words += ["--seconds", f"{self.seconds:g}", "--concurrency", _listed(self.concurrency)]
        words += ["--keys", _listed(self.keys)]
        if self.rate is not None:
            words += ["--rate", f"{self.rate:g}"]
        return shlex.join([*words, "--seed", str(self.seed)])


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A datastore that is to be compared, not yet started, and the subjects on it."""

    given: str
    """A store URL, or a server that the lab starts."""
    subjects: Sequence[Subject]

    @property
    def scheme(self) -> str:
        return scheme_of(self.given)


async def reach_all(targets: Sequence[Compared]) -> None:
    """Raise an error of plusone's for the first that is out of reach or does not count, before anything is begun."""
    for target in targets:
        if target.given not in SERVERS:
            await reach(target.given)
            subject = next((each for each in target.subjects if each.front is None), PLUSONE)
            await _count_once(subject, target.given)


async def _count_once(subject: Subject, url: str) -> None:
    run = secrets.token_hex(4)
    name = f"plusone-lab/{run}/first"
    try:
        async with asyncio.timeout(2 * _FIRST_SECONDS), subject.connect(url, f"plusone_lab_{run}") as counting:
            try:
                async with asyncio.timeout(_FIRST_SECONDS):
                    await counting.increment(name, None)
            finally:
                await counting.remove([name])
    except PlusoneError:
        raise
    except Exception as error:
        described = " ".join(f"{type(error).__name__}: {error}".split())
        raise StoreUnavailable(f"{subject.name} cannot count on {redacted(url)}: {described}") from error


def planned_seconds(plan: Plan, targets: Sequence[Compared]) -> float:
    """How long it will take, but for starting and ending things."""
    return (cells_seconds(plan) + plan.seconds) * sum(len(target.subjects) for target in targets)


def cells_seconds(plan: Plan) -> float:
    """How long one subject takes, without lost replies."""
    return len(plan.cells) * plan.seconds * (1 + WARM_UP_SHARE + 1)


def resolve(plan: Plan) -> list[Compared]:
    """What the plan names. Raises `ConfigurationError` for what is not there, or cannot be started here."""
    return [Compared(given=given, subjects=_subjects(_scheme(given), plan)) for given in plan.targets]


def _scheme(given: str) -> str:
    check_named(given)
    if given in SERVERS and (problem := missing(given)):
        raise ConfigurationError(f"target {given} cannot be started here: {problem}")
    return scheme_of(given)


def _subjects(scheme: str, plan: Plan) -> list[Subject]:
    for name in plan.subjects:
        if name not in SUBJECTS:
            raise ConfigurationError(f"subject {name!r} is unknown: known are {', '.join(SUBJECTS)}")
    fitting = [subject for subject in subjects_for(scheme) if not plan.subjects or subject.name in plan.subjects]
    if not fitting:
        known = ", ".join(subject.name for subject in subjects_for(scheme))
        raise ConfigurationError(f"none of the subjects counts on {scheme}: known there are {known}")
    return fitting


def redacted(target: str) -> str:
    """A target without its password."""
    return StoreURL.parse(target).redacted() if ":" in target else target


def _listed(values: Iterable[int]) -> str:
    return ",".join(str(value) for value in values)


def _check(name: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise ConfigurationError(f"{name} must be {lowest:,.15g} to {highest:,.15g}, not {value:,.15g}")
