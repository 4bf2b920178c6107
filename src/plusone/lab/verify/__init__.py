"""Whether counting on a datastore is exact under faults: what `plusone verify` runs."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from plusone.errors import ConfigurationError, PlusoneError
from plusone.lab.results import Verification
from plusone.lab.subjects.registry import OWN, named, subjects_for
from plusone.lab.target import FAULTS, NO_NETWORK, FaultName, opened
from plusone.lab.verify.running import Options, Progress, Report, verify_subject

__all__ = [
    "ALL",
    "FAULTS",
    "NO_NETWORK",
    "OWN",
    "FaultName",
    "Options",
    "Progress",
    "Report",
    "run_folder",
    "verify",
    "verify_subject",
]

ALL: Final = "all"
"""In the place of a subject's name: all that count on the target."""
_RUNS: Final = Path("plusone-runs")
_SEED_BITS: Final = 31


def verify(
    target: str,
    *,
    subjects: Sequence[str] = ("plusone",),
    faults: Sequence[FaultName] | None = None,
    seconds: float = 60.0,
    seed: int | None = None,
    output: Path | None = None,
    report: Report = lambda progress: None,
    ended: Callable[[Verification, Path], None] = lambda found, folder: None,
) -> list[Verification]:
    """Verify each subject on `target`, which is a store URL, or the name of a server that the lab starts.

    With several subjects, each has a folder of its own in `output`. `faults` None means all that are to be had; with
    all subjects those of `faults` that each can bear. `ended` is told of each verification, and of its folder. Raises
    `ConfigurationError`, and plusone's errors where the datastore is out of reach; of several subjects the others are
    verified first.
    """
    seed = secrets.randbits(_SEED_BITS) if seed is None else seed
    options = Options(seconds=seconds, seed=seed, faults=faults)  # refused before a server is started in vain
    found: list[Verification] = []
    trouble: PlusoneError | None = None
    with opened(target, faults) as place:
        everything = ALL in subjects
        names = (
            [each.name for each in subjects_for(place.parsed.scheme)] if everything else list(dict.fromkeys(subjects))
        )
        chosen = [named(name, place.parsed.scheme) for name in names]
        if not chosen:
            raise ConfigurationError("subject: name at least one, or all")
        if everything and faults and not any(fault in place.offers(each)[0] for fault in faults for each in chosen):
            raise ConfigurationError(f"{place.given} cannot be verified under {', '.join(faults)} with any subject")
        folder = output or run_folder("verify", place.name)
        for subject in chosen:
            offered, _ = place.offers(subject)
            left_out = [fault for fault in faults or () if everything and fault not in offered]
            borne = None if faults is None else [fault for fault in faults if fault not in left_out]
            its_options = Options(seconds=seconds, seed=options.seed, faults=borne, left_out=left_out)
            its_folder = folder if len(chosen) == 1 else folder / subject.name
            try:
                found.append(asyncio.run(verify_subject(place, subject, its_options, its_folder, report)))
            except PlusoneError as error:
                trouble = trouble or error
            else:
                ended(found[-1], its_folder)
    if trouble is not None:
        raise trouble
    return found


def run_folder(command: str, target: str) -> Path:
    """Where a run's result and histories go, unless its user says where."""
    return _RUNS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{command}-{target.partition(':')[0]}"
