"""One verification from its beginning to its end: phases, verdicts, and the removal of what was made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import shlex
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

import plusone
from plusone.errors import ConfigurationError, PlusoneError, StoreUnavailable
from plusone.lab.checker import Verdict, check
from plusone.lab.history import Header, History, read_history
from plusone.lab.machine import versions
from plusone.lab.reach import reach
from plusone.lab.results import OF_PROCESS, Verification
from plusone.lab.subjects.protocol import Front, Subject
from plusone.lab.subjects.registry import OWN
from plusone.lab.tally import Tally
from plusone.lab.target import FAULTS, NO_NETWORK, FaultName, Target
from plusone.lab.verify.evidence import evidence_of
from plusone.lab.verify.phases import Bench, Phase, PhaseName, run_phase
from plusone.lab.verify.promises import Claims, Judged, attributed, first_of_each_kind, promises
from plusone.lab.workload import CHANGED, TOKEN, Load
from plusone.stores.protocol import Capabilities
from plusone.stores.registry import store_class

SECONDS_MIN: Final = 1.0
SECONDS_MAX: Final = 3_600.0
"""A phase's history is read as a whole to be judged: at 3,000 operations a second an hour is some ten million."""
SEED_MAX: Final = 2**63 - 1
_REACH_SECONDS: Final = 30.0
_FIRST_INCREMENTS: Final = 10
_REMOVAL_SECONDS: Final = 60.0
_REPORTED_EVERY_SECONDS: Final = 0.2
_SWEPT: Final = frozenset({"sqlite", "postgresql", "postgres", "mysql", "mariadb", "tidb", "etcd"})
"""Schemes of datastores where what is dead is removed by whoever counts there, and not by the datastore."""
_log: Final = logging.getLogger(__name__)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a verification has come."""

    what: str
    share: float
    """Of the whole that is done, from 0 to 1."""
    operations: int = 0
    errors: int = 0


Report: TypeAlias = Callable[[Progress], None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a subject is verified. Raises `ConfigurationError`."""

    seconds: float = 60.0
    """Of counting, over all phases; faults that take longer make it longer."""
    seed: int
    faults: Sequence[FaultName] | None = None
    """None: all that are to be had."""
    left_out: Sequence[FaultName] = ()
    """Faults that were asked for besides, for other subjects: this one cannot be verified under them."""
    load: Load = Load()

    def __post_init__(self) -> None:
        if not SECONDS_MIN <= self.seconds <= SECONDS_MAX:
            raise ConfigurationError(f"seconds must be a number from {SECONDS_MIN:g} to {SECONDS_MAX:g}")
        if not 0 <= self.seed <= SEED_MAX:
            raise ConfigurationError(f"seed must be an integer from 0 to {SEED_MAX}")
        for fault in self.faults or ():
            if fault not in FAULTS:
                raise ConfigurationError(f"no fault is named {fault!r}; there are {', '.join(FAULTS)}")


async def verify_subject(
    target: Target, subject: Subject, options: Options, folder: Path, report: Report = lambda progress: None
) -> Verification:
    """Count on the target as the subject does, under each fault, and judge what it was told; into `folder`.

    Raises `ConfigurationError` for faults that are not to be had here, and `StoreUnavailable` where the subject cannot
    connect at all. Whatever happens, what was made is removed, unless the datastore itself was the lab's.
    """
    offered, why_not = target.offers(subject)
    phases, notes = _phases(target, options, offered, why_not)
    notes += _left_behind(target, subject)
    _check_folder(folder)
    if target.started is None:
        await reach(target.url)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    run = f"{random.SystemRandom().getrandbits(40):010x}"
    header = Header(
        subject=subject.name,
        store=target.parsed.redacted(),
        seed=options.seed,
        settings=_settings(options, phases),
        versions=versions(),
        started=started,
    )
    claims = _claims(target, subject)
    tally = Tally()
    made: list[str] = []
    judged: list[Judged] = []
    async with _front(subject, target) as front:
        bench = Bench(
            subject=subject,
            target=target,
            front=front,
            header=header,
            load=_load(subject, target, options.load),
            tally=tally,
            place=f"plusone_lab_{run}",
            prefix=f"plusone-lab/{run}",
            folder=folder,
            by_network=not why_not,
            made=made,
            may_lose=[name for name in phases if claims.may_lose(name)],
        )
        async with _removed(bench, notes):
            _make_folder(folder)
            seconds = options.seconds / len(phases)
            for number, name in enumerate(phases):
                async with _reported(report, subject, name, tally, (number, len(phases)), seconds):
                    phase = await run_phase(bench, name, seconds, options.seed + number)
                    judged.append(await asyncio.to_thread(_judge, phase, tally, claims))
            report(Progress(what=f"{subject.name}: removing", share=1.0, operations=tally.operations))
    no_fault = "" if tally.faults.keys() - OF_PROCESS else _why_none(target, options, why_not)
    result = _result(target, subject, options, header, tally, claims, attributed(judged), notes, no_fault)
    (folder / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return result


@contextlib.asynccontextmanager
async def _reported(
    report: Report, subject: Subject, phase: str, tally: Tally, part: tuple[int, int], seconds: float
) -> AsyncIterator[None]:
    """Report as the phase goes on, which is the first of `part` of so many."""
    number, parts = part
    begin = tally.seconds

    async def tell() -> None:
        while True:
            within = min((tally.seconds - begin) / seconds, 1.0)
            errors = sum(tally.errors.values())
            share = (number + within) / parts
            what = f"{subject.name}: {phase if within < 1 else f'{phase}, its end and its check'}"
            report(Progress(what=what, share=share, operations=tally.operations, errors=errors))
            await asyncio.sleep(_REPORTED_EVERY_SECONDS)

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])


def _phases(
    target: Target, options: Options, offered: Sequence[FaultName], why_not: str
) -> tuple[Sequence[PhaseName], list[str]]:
    """Which phases there will be, and what has to be said about those that there will not be."""
    notes = [f"no faults of the network: {why_not}"] if why_not else []
    wanted = offered if options.faults is None else list(dict.fromkeys(options.faults))
    for fault in wanted:
        if fault not in offered:
            reason = (
                why_not if why_not and fault in ("replies", "partition") else f"offered: {', '.join(offered) or 'none'}"
            )
            raise ConfigurationError(f"{target.given} cannot be verified under {fault!r}: {reason}")
    if target.started is None and target.parsed.scheme not in NO_NETWORK:
        notes.append("the datastore is not the lab's: its processes are left alone, and durability is not tested")
    if options.left_out:
        could = f"it can be verified under {', '.join(offered)}" if offered else "no fault is to be had for it"
        notes.append(f"left out of what was asked for: {', '.join(options.left_out)}; {could} here")
    return ["calm", *wanted], notes


def _left_behind(target: Target, subject: Subject) -> Sequence[str]:
    """What plusone leaves in a datastore of somebody's own, by intention."""
    if subject.name not in OWN or target.started is not None or target.goes or target.parsed.scheme == "memory":
        return ()
    if target.parsed.scheme in _SWEPT:
        return (
            "plusone's own tables stay; what was counted is deleted, and its rows go an hour later, when some plusone"
            " process counts there",
        )
    return ("what was counted is deleted, and what plusone remembers of it expires by itself, within about an hour",)


def _why_none(target: Target, options: Options, why_not: str) -> str:
    """Why a run met no fault of the network or of a server."""
    if options.left_out:
        return f"{', '.join(options.left_out)} cannot befall it here"
    if options.faults is not None and not set(options.faults) - OF_PROCESS:
        return "none was asked for"
    if target.parsed.scheme in NO_NETWORK:
        return "part of the process: there is no network before it, and no server"
    return why_not or "none struck in the time that there was"


def _check_folder(folder: Path) -> None:
    if any(folder.glob("history-*")) or (folder / "result.json").exists():
        raise ConfigurationError(f"output {folder} holds a run already; name another folder")


def _make_folder(folder: Path) -> None:
    """Not before the datastore was reached: a run that could not begin leaves nothing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"output {folder} cannot be made: {error.strerror}") from None


def _load(subject: Subject, target: Target, load: Load) -> Load:
    """The load, with no more tokens on a counter than its datastore keeps."""
    most = capabilities(target).tokens_per_counter
    if most is None or not (subject.tokens and subject.retried):
        return load
    return msgspec.structs.replace(load, operations_per_counter=min(load.operations_per_counter, max(1, most // 4)))


def capabilities(target: Target) -> Capabilities:
    """What plusone's store promises on this target."""
    try:
        return plusone.open(target.url).capabilities
    except ConfigurationError:
        return store_class(target.parsed.scheme).CAPABILITIES


@contextlib.asynccontextmanager
async def _front(subject: Subject, target: Target) -> AsyncIterator[Front | None]:
    if subject.front is None:
        yield None
        return
    async with subject.front(target.url) as front:
        yield front


@contextlib.asynccontextmanager
async def _removed(bench: Bench, notes: list[str]) -> AsyncIterator[None]:
    """Behind this what the run made is removed, however it ended; what could not be is said."""
    try:
        await _reach(bench)
        yield
    finally:
        # A server of the lab's own goes as a whole.
        if bench.target.started is None and bench.made and not bench.in_process:
            left = await _remove(bench)
            if left:
                notes.append(left)
                _log.warning("%s", left)


async def _reach(bench: Bench) -> None:
    """Raise `StoreUnavailable` unless the subject can connect and count.

    It counts a little besides, for a server that has just been started may take seconds for its first answers.
    """
    name = f"{bench.prefix}/first"
    bench.made.append(name)
    connected = False
    try:
        async with asyncio.timeout(_REACH_SECONDS), bench.subject.connect(bench.url, bench.place) as counting:
            connected = True  # it may have made a table already
            for _ in range(_FIRST_INCREMENTS):
                await counting.increment(name, None)
                await counting.read(name)
    except Exception as error:
        if not connected:
            bench.made.clear()
        if isinstance(error, PlusoneError):
            raise
        described = " ".join(f"{type(error).__name__}: {error}".split())
        raise StoreUnavailable(f"{bench.subject.name} cannot count on {bench.target.given}: {described}") from error


async def _remove(bench: Bench) -> str:
    """Remove the counters; what to say if that did not succeed."""
    try:
        async with (
            asyncio.timeout(_REMOVAL_SECONDS),
            bench.subject.connect(bench.url, bench.place) as counting,
        ):
            await counting.remove(bench.made)
    except Exception as error:
        described = " ".join(f"{type(error).__name__}: {error}".split())
        return (
            f"left behind: counters under {bench.prefix}/ and, if there is one, the table {bench.place} ({described})"
        )
    return ""


def _judge(phase: Phase, tally: Tally, claims: Claims) -> Judged:
    """What the phase's history turns out to be.

    Where the datastore may lose what it acknowledged, the counters that lost something are judged by themselves: what
    was counted anew contradicts what was counted before, and nothing but the loss is to be learned from it.
    """
    history = read_history(phase.history)
    wrong, losers, lost, acknowledged = [], [], 0, 0
    for name in phase.counters:
        known, unknown, final = tally.acknowledged_on[name], tally.unknown_on[name], tally.final[name]
        acknowledged += known
        lost += max(0, known - final)
        if final < known and claims.may_lose(phase.name):
            losers.append(name)
        elif not known <= final <= known + unknown:
            wrong.append(name)
    others = {name: operations for name, operations in history.counters.items() if name not in losers}
    if claims.may_lose(phase.name) and (losers or phase.gaps):
        # Their sums do not tell whether they lost something too: a lost key counts again, and what is set has no sum.
        others = {name: operations for name, operations in others.items() if TOKEN not in name and CHANGED not in name}
    loss = {name: operations for name, operations in history.counters.items() if name in losers}
    rose = [name for name in phase.counters if name in others and tally.final[name] > tally.acknowledged_on[name]]
    return Judged(
        phase=phase,
        verdict=_without_overwritten(check(msgspec.structs.replace(history, counters=others)), history, rose),
        loss=check(msgspec.structs.replace(history, counters=loss)) if loss else None,
        evidence=evidence_of(others),
        acknowledged=acknowledged,
        counted=sum(tally.final[name] for name in phase.counters),
        wrong=wrong,
        lost=lost,
    )


def _without_overwritten(verdict: Verdict, history: History, rose: Sequence[str]) -> Verdict:
    """The verdict, without phantom increments that lost updates explain.

    Where older values overwrite newer ones, a counter jumps back, and forward again when a newer one is written late.
    Whether it counted anything twice is to be seen only on those that ended above what was acknowledged: `rose`.
    """
    if not {"lost update", "phantom increment"} <= verdict.found.keys():
        return verdict
    again = check(msgspec.structs.replace(history, counters={name: history.counters[name] for name in rose}))
    found = [each for each in verdict.contradictions if each.kind != "phantom increment"]
    found += [each for each in again.contradictions if each.kind == "phantom increment"]
    return msgspec.structs.replace(verdict, contradictions=tuple(found))


def _claims(target: Target, subject: Subject) -> Claims:
    own = capabilities(target)
    return Claims(
        keeps=target.keeps,
        survives_failover=own.failover_keeps,
        capabilities=own if subject.name in OWN else None,
    )


def _result(
    target: Target,
    subject: Subject,
    options: Options,
    header: Header,
    tally: Tally,
    claims: Claims,
    judged: Sequence[Judged],
    notes: Sequence[str],
    no_fault: str,
) -> Verification:
    said = list(notes)
    if tally.errors:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in tally.errors.most_common(5))
        said.append(f"errors that callers saw: {kinds}; the last: {tally.last_error}")
    return Verification(
        subject=subject.name,
        subject_title=subject.title,
        store=target.name,
        store_title=target.title,
        url=target.parsed.redacted(),
        command=command(target, subject, options, [each.phase.name for each in judged]),
        seed=options.seed,
        started=header.started,
        seconds=round(tally.seconds, 1),
        versions=header.versions,
        settings={name: value for name, value in header.settings.items() if isinstance(value, str | int | float)},
        operations=tally.operations,
        acknowledged=tally.acknowledged,
        unknown=tally.unknown,
        errors=sum(tally.errors.values()),
        faults=dict(tally.faults),
        no_fault=no_fault,
        expected=tally.acknowledged,
        counted=sum(tally.final.values()),
        lost=sum(each.lost for each in judged if each.loss is not None),
        gaps_noticed=sum(each.phase.gaps or 0 for each in judged),
        promises=promises(subject, claims, judged, calm_only=bool(no_fault)),
        contradictions=first_of_each_kind(judged),
        timeline=tally.timeline,
        marks=sorted(tally.marks, key=lambda mark: mark.begin),
        histories=[each.phase.history.name for each in judged],
        notes=said,
    )


def command(target: Target, subject: Subject, options: Options, phases: Sequence[PhaseName]) -> str:
    """What repeats the run."""
    faults = ",".join(name for name in phases if name != "calm") or "none"
    words = ["plusone", "verify", target.given, "--subject", subject.name, "--faults", faults]
    return shlex.join([*words, "--seconds", f"{options.seconds:g}", "--seed", str(options.seed)])


def _settings(options: Options, phases: Sequence[PhaseName]) -> dict[str, str | int | float | bool | None]:
    load: Mapping[str, int] = msgspec.structs.asdict(options.load)
    return {"seconds": options.seconds, "phases": ", ".join(phases), **load}
