"""What the phases say about each promise: what is claimed, whether it held, and by what evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from plusone.lab.checker import Verdict
from plusone.lab.results import UNDISTURBED, Contradiction, Promise, Violation, Word
from plusone.lab.subjects.protocol import Subject
from plusone.lab.verify.evidence import Evidence
from plusone.lab.verify.phases import Phase, PhaseName
from plusone.lab.workload import CHANGED, TOKEN
from plusone.stores.protocol import Capabilities

EXACTLY_ONCE: Final = "exactly once"
DISTINCT: Final = "distinct answers"
BOUNDS: Final = "bounds"
READS: Final = "strong reads"
TOKENS: Final = "idempotency keys"
DURABLE: Final = "durable"
FAILOVER: Final = "survives failover"
NOTICED: Final = "losses noticed"

_BROKEN_BY: Final[Mapping[Violation, str]] = {
    "lost update": EXACTLY_ONCE,
    "phantom increment": EXACTLY_ONCE,
    "lost after acknowledgement": EXACTLY_ONCE,
    "duplicate value": DISTINCT,
    "wrong value": DISTINCT,
    "order reversed": DISTINCT,
    "bound crossed": BOUNDS,
    "false rejection": BOUNDS,
    "stale read": READS,
}
_TESTS_DURABILITY: Final[Mapping[PhaseName, str]] = {"kill": DURABLE, "failover": FAILOVER, "disk_full": DURABLE}


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A phase, and what its history turned out to be."""

    phase: Phase
    verdict: Verdict
    loss: Verdict | None = None
    """On the counters that lost what was acknowledged, where the datastore may do that; they are not in `verdict`."""
    evidence: Evidence = Evidence()
    acknowledged: int
    counted: int = 0
    wrong: Sequence[str] = ()
    """Other counters whose last value lies outside of what was acknowledged and what may have happened besides."""
    lost: int = 0
    """By how much counters ended below what was acknowledged, summed up."""


def attributed(judged: Sequence[Judged]) -> Sequence[Judged]:
    """The same, with what the subject loses by itself called so.

    Behind a harm to the datastore, an update that is missing looks like one that the datastore forgot. From a subject
    that loses updates where nothing befell the datastore, nothing can be learned of that.
    """
    harmless = (each for each in judged if each.phase.name in ("calm", "replies"))
    if not any("lost update" in each.verdict.found for each in harmless):
        return judged
    return [msgspec.structs.replace(each, verdict=_own_losses(each), loss=None, lost=0) for each in judged]


def _own_losses(each: Judged) -> Verdict:
    contradictions = (*each.verdict.contradictions, *(each.loss.contradictions if each.loss is not None else ()))
    found: dict[Violation, Contradiction] = {}
    for contradiction in contradictions:
        kind = "lost update" if contradiction.kind == "lost after acknowledgement" else contradiction.kind
        found.setdefault(kind, msgspec.structs.replace(contradiction, kind=kind))
    return msgspec.structs.replace(each.verdict, contradictions=tuple(found.values()))


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What may be expected of the datastore and of how it is set up."""

    keeps: bool | None
    """Whether it keeps what it acknowledged when it is killed; None if that is not known."""
    survives_failover: bool
    capabilities: Capabilities | None
    """plusone's own words; None for a recipe."""

    def may_lose(self, phase: PhaseName) -> bool:
        """Whether acknowledged operations may be lost in this phase by the datastore's own property."""
        if phase == "failover":
            return not self.survives_failover
        # A server that cannot write may end, and what it only had in its memory ends with it.
        return phase in ("kill", "disk_full") and self.keeps is False


def promises(subject: Subject, claims: Claims, judged: Sequence[Judged], *, calm_only: bool) -> Sequence[Promise]:
    """A verdict for each promise of the capability table, or of what a recipe is taken to promise.

    `calm_only` says that no fault of network or server was met, which belongs to the evidence.
    """
    broken: dict[str, list[str]] = {}
    for each in judged:
        for promise, sentence in _broken(each):
            broken.setdefault(promise, []).append(f"{each.phase.name}: {sentence}")
    undecided = [f"{each.phase.name}: {each.verdict.undecided}" for each in judged if each.verdict.verdict == "unknown"]
    evidence = sum((each.evidence for each in judged), Evidence())
    acknowledged, counted = sum(each.acknowledged for each in judged), sum(each.counted for each in judged)
    phases = ", ".join(each.phase.name for each in judged)

    def of_history(name: str, claim: str, count: int, tested_by: str, *, has: bool = True) -> Promise:
        found = broken.get(name, ())
        if not has:
            verdict: Word = "not tested"
            said = "the subject has none"
        elif found:
            verdict, said = "illegal", "; ".join(found[:2])
        elif undecided:
            verdict, said = "unknown", "; ".join(undecided)
        else:
            verdict, said = "ok" if count else "not tested", f"{tested_by}; {UNDISTURBED}" if calm_only else tested_by
        return Promise(name=name, claimed=has, claim=claim, verdict=verdict, evidence=said)

    own = claims.capabilities
    bounds_claim = "no operation passes its ceiling or floor, and none is rejected that does not reach it"
    tokens_claim = f"the same key counts once; {own.token_retention}" if own else "the same key counts once"
    once = f"each of {acknowledged:,} acknowledged increments is counted once, and nothing else is"
    sums = f"{acknowledged:,} acknowledged, {counted:,} counted: {phases}"
    told = f"{evidence.values:,} values were told"
    at_ceilings = f"{evidence.rejected:,} operations rejected at the bounds of {evidence.bounded:,} counters"
    reads = f"{evidence.reads:,} reads"
    keys = f"{evidence.repeated:,} keys were sent more than once"
    reads_claim = "a read shows whatever was acknowledged before it"
    return [
        of_history(EXACTLY_ONCE, once, acknowledged, sums),
        of_history(
            DISTINCT,
            "no two increments are told the same value",
            evidence.values,
            told,
            has=subject.told != "nothing",
        ),
        of_history(BOUNDS, bounds_claim, evidence.rejected, at_ceilings, has=subject.bounded),
        of_history(READS, reads_claim, evidence.reads, reads),
        of_history(TOKENS, tokens_claim, evidence.repeated, keys, has=subject.tokens),
        _durable(claims, judged, broken.get(DURABLE, ())),
        _failover(claims, judged, broken.get(FAILOVER, ())),
        _noticed(claims, judged),
    ]


def _durable(claims: Claims, judged: Sequence[Judged], found: Sequence[str]) -> Promise:
    """Whether what was acknowledged outlived what it is to outlive.

    A datastore that is not the lab's is left alone. What is killed then is the service before it, behind which nothing
    may be missing, however durable the datastore is.
    """
    claim = "what was acknowledged outlives the end of the processes (kill -9); the loss of a machine was not tried"
    if claims.keeps is None:
        claim = "what the service acknowledged is in the datastore, which itself was not killed"
    return _of_datastore(DURABLE, ("kill", "disk_full"), claim, judged, found, claimed=claims.keeps is not False)


def _failover(claims: Claims, judged: Sequence[Judged], found: Sequence[str]) -> Promise:
    own = claims.capabilities
    claim = own.survives_failover if own else "what the datastore's own replication keeps"
    return _of_datastore(FAILOVER, ("failover",), claim, judged, found, claimed=claims.survives_failover)


def _of_datastore(
    name: str,
    phases: Sequence[PhaseName],
    claim: str,
    judged: Sequence[Judged],
    found: Sequence[str],
    *,
    claimed: bool,
) -> Promise:
    tested = [each for each in judged if each.phase.name in phases]
    if not tested:
        evidence = f"no {phases[0]} was run"
        return Promise(name=name, claimed=False, claim=claim, verdict="not tested", evidence=evidence)
    lost = sum(each.lost for each in tested)
    total = sum(each.acknowledged for each in tested)
    during = ", ".join(each.phase.name for each in tested)
    evidence = f"{total:,} increments acknowledged, {f'{lost:,} of them lost' if lost else 'none lost'}: {during}"
    verdict: Word = "illegal" if found else "ok"
    if found:
        evidence = f"{evidence}; {found[0]}"
    return Promise(name=name, claimed=claimed, claim=claim, verdict=verdict, evidence=evidence)


def first_of_each_kind(judged: Iterable[Judged]) -> Sequence[Contradiction]:
    """The first contradiction of each kind, in the order of the phases."""
    found: dict[Violation, Contradiction] = {}
    for each in judged:
        for contradiction in (*each.verdict.contradictions, *_of_a_loss(each)):
            found.setdefault(contradiction.kind, contradiction)
    return tuple(found.values())


def _of_a_loss(each: Judged) -> Sequence[Contradiction]:
    """The contradiction that says best that something was lost."""
    found = each.loss.contradictions if each.loss is not None else ()
    return sorted(found, key=lambda contradiction: contradiction.kind != "lost after acknowledgement")[:1]


def _broken(each: Judged) -> Iterable[tuple[str, str]]:
    """The promises that this phase's history contradicts, with the sentences that say how."""
    of_datastore = _TESTS_DURABILITY.get(each.phase.name)
    for contradiction in each.verdict.contradictions:
        kind = contradiction.kind
        if of_datastore is not None and kind == "lost after acknowledgement":
            yield of_datastore, contradiction.sentence
            continue
        if TOKEN in contradiction.counter and kind not in ("stale read", "bound crossed"):
            yield TOKENS, contradiction.sentence
        amiss = kind == "wrong value" and CHANGED in contradiction.counter
        yield EXACTLY_ONCE if amiss else _BROKEN_BY[kind], contradiction.sentence
    for contradiction in _of_a_loss(each):
        yield of_datastore or EXACTLY_ONCE, contradiction.sentence
    if each.wrong and not each.verdict.contradictions:
        yield EXACTLY_ONCE, f"{', '.join(each.wrong[:3])}: the last value is not the sum of what was acknowledged"


def _noticed(claims: Claims, judged: Sequence[Judged]) -> Promise:
    """Whether every phase that lost something was noticed to have, and no other."""
    watched = [each for each in judged if each.phase.gaps is not None]
    lost = sum(each.lost for each in watched if each.phase.name in _TESTS_DURABILITY)
    gaps = sum(each.phase.gaps or 0 for each in watched)
    unnoticed = [
        each
        for each in watched
        if each.lost and each.phase.name in _TESTS_DURABILITY and not (each.phase.gaps or each.phase.forgot)
    ]
    claim = "who counts on a counter is told when its datastore has lost what it had acknowledged"
    if not watched:
        evidence = "nothing in it would notice" if claims.capabilities is None else "it was not asked"
        return Promise(name=NOTICED, claimed=False, claim=claim, verdict="not tested", evidence=evidence)
    unfounded = [
        each.phase.name
        for each in watched
        if each.phase.gaps and not each.lost and each.verdict.verdict == "ok" and not claims.may_lose(each.phase.name)
    ]
    if not (gaps or unnoticed):
        evidence = f"{lost:,} were lost with the process that had counted them" if lost else "nothing was lost"
        return Promise(name=NOTICED, claimed=False, claim=claim, verdict="not tested", evidence=evidence)
    verdict: Word = "illegal" if unnoticed or unfounded else "ok"
    evidence = f"{lost:,} acknowledged increments were lost, gaps noticed: {gaps:,}"
    if unfounded:
        evidence += f"; where nothing can have been lost: {', '.join(unfounded)}"
    return Promise(name=NOTICED, claimed=True, claim=claim, verdict=verdict, evidence=evidence)
