"""A golden run for the report: every verdict, a contradiction of each kind, two datastores with three subjects each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, get_args

import msgspec

from plusone.lab.report.reading import FILE, Run
from plusone.lab.results import (
    Cell,
    Column,
    Comparison,
    Contradiction,
    FaultMark,
    Latency,
    Lossy,
    Moment,
    Promise,
    Result,
    Verification,
    Violation,
    Witness,
)

HOSTILE: Final = "<script>alert(1)</script>&\"'`{{7*7}}`\x1b[31m\u202e"
"""What a counter's name, or a server's message, may be in a file that somebody else wrote."""


def verification(subject: str = "plusone", store: str = "redis", **changed: object) -> Verification:
    """A run that held."""
    sample = Verification(
        subject=subject,
        subject_title=TITLES.get(subject, subject),
        store=store,
        store_title=STORES.get(store, store),
        url="redis://127.0.0.1:6379/0",
        command=f"plusone verify {store} --subject {subject} --faults replies,kill --seconds 60 --seed 7",
        seed=7,
        started="2026-11-21T12:00:00Z",
        seconds=60.0,
        versions={"plusone": "0.1.0", "redis-server": "7.0.15"},
        settings={"callers": 8, "counters": 4, "ceiling": 100},
        operations=14_203,
        acknowledged=14_203,
        unknown=0,
        errors=37,
        faults={"cut_after_request": 142, "kill": 2},
        expected=5_000,
        counted=5_000,
        promises=(
            Promise(
                name="exactly once",
                claimed=True,
                claim="every acknowledged increment counts once",
                verdict="ok",
                evidence="14,203 operations under 144 faults: counted 5,000 of 5,000",
            ),
            Promise(
                name="bounds",
                claimed=True,
                claim="no value beyond the ceiling",
                verdict="ok",
                evidence="1,204 rejections, each at the ceiling",
            ),
            Promise(
                name="failover",
                claimed=False,
                claim="the last acknowledged ones may be lost, which is noticed",
                verdict="not tested",
                evidence="one server has none",
            ),
        ),
        timeline=[
            Moment(
                second=float(second),
                answered=0 if second in (20, 21, 41) else 240 + round(30 * math.sin(second)),
                errors=9 if second in (20, 21, 41) else 0,
            )
            for second in range(60)
        ],
        marks=(
            FaultMark(fault="kill", begin=20.1, end=21.9),
            FaultMark(fault="kill", begin=41.0, end=41.8),
            FaultMark(fault="replies lost", begin=5.0, end=55.0),
        ),
        histories=("history-1.jsonl.gz",),
        notes=("The server writes each command to disk (`appendfsync always`).",),
    )
    return msgspec.structs.replace(sample, **changed)


def witness(number: int, process: int, called_us: int, answered_us: int | None, **said: object) -> Witness:
    taken = {"kind": "add", "amount": 1, "result": "applied", **said}
    answered_ns = None if answered_us is None else answered_us * 1000
    return msgspec.convert(
        {"number": number, "process": process, "called_ns": called_us * 1000, "answered_ns": answered_ns, **taken},
        type=Witness,
    )


def contradiction(kind: Violation, counter: str = "seats") -> Contradiction:
    """One of each kind, of one to three processes."""
    operations: dict[Violation, tuple[Witness, ...]] = {
        "lost update": (
            witness(11, 0, 1_000, 1_900, value=5),
            witness(12, 1, 1_100, 2_000, value=6),
            witness(13, 2, 2_400_000, 2_400_700, kind="read", amount=0, result="read", value=5),
        ),
        "duplicate value": (witness(21, 0, 4_000, 5_200, value=9), witness(22, 3, 4_100, 5_100, value=9)),
        "phantom increment": (
            witness(31, 0, 100, 900, value=1),
            witness(32, 0, 2_000, 2_600, kind="read", amount=0, result="read", value=3),
        ),
        "bound crossed": (witness(41, 5, 100, 700, ceiling=10, value=11, previous=10, revision=11),),
        "false rejection": (
            witness(51, 1, 100, 950, ceiling=10, value=4),
            witness(52, 2, 1_500, 2_500, ceiling=10, result="rejected", value=4),
        ),
        "stale read": (
            witness(61, 0, 100, 900, value=8, revision=8),
            witness(62, 1, 1_500, 1_900, kind="read", amount=0, result="read", value=7, revision=7),
        ),
        "order reversed": (witness(71, 0, 100, 900, value=12), witness(72, 1, 1_500, 2_000, value=11)),
        "lost after acknowledgement": (
            witness(81, 0, 100, 900, value=40, revision=40),
            witness(82, 1, 31_500_000, 31_502_000, kind="read", amount=0, result="read", value=37, revision=37),
        ),
        "wrong value": (
            witness(91, 0, 100, None, result="unknown"),
            witness(92, 1, 200, 900, value=900),
            witness(93, 1, 1_000, 1_500, kind="delete", amount=0, result="refused"),
        ),
    }
    sentence = f"The counter {counter} contradicts itself: {len(operations[kind])} operations cannot all be true."
    return Contradiction(kind=kind, counter=counter, sentence=sentence, operations=operations[kind])


KINDS: Final[tuple[Violation, ...]] = get_args(Violation)
TITLES: Final = {
    "plusone": "plusone",
    "service": "plusone over HTTP",
    "redis-incrby": "redis-py `INCRBY`",
    "redis-get-check-incr": "redis-py get, check, `INCR`",
    "mariadb-upsert": "asyncmy `INSERT … ON DUPLICATE KEY UPDATE`",
    "mariadb-select-then-update": "asyncmy select, then update",
}
STORES: Final = {
    "redis": "Redis 7.0.15, every write flushed",
    "mariadb": "MariaDB 10.11, every transaction flushed",
}


def verifications() -> list[Verification]:
    """Held, lost by the datastore, counts wrong, broken, undecided, and not tested."""
    recipe = Promise(
        name="exactly once",
        claimed=False,
        claim="",
        verdict="illegal",
        evidence="counted 5,057 of 5,000: 63 replies were lost, and asked for again",
    )
    broken = Promise(
        name="exactly once", claimed=True, claim="counts once", verdict="illegal", evidence="two were told the same"
    )
    undecided = Promise(
        name="exactly once", claimed=True, claim="counts once", verdict="unknown", evidence="too many unknown outcomes"
    )
    untested = Promise(
        name="failover", claimed=True, claim="loses nothing", verdict="not tested", evidence="no replica"
    )
    lost = (contradiction("lost after acknowledgement"),)
    return [
        verification(),
        verification("service", counted=4_997, lost=3, gaps_noticed=1, contradictions=lost),
        verification(
            "redis-incrby",
            counted=5_057,
            promises=(recipe,),
            contradictions=(contradiction("phantom increment"), contradiction("order reversed")),
        ),
        verification(
            "redis-get-check-incr",
            counted=4_811,
            promises=(recipe,),
            contradictions=[contradiction(kind, HOSTILE) for kind in KINDS],
        ),
        verification(
            "plusone",
            "mariadb",
            promises=(broken,),
            contradictions=(contradiction("duplicate value"),),
            notes=(HOSTILE,),
        ),
        verification("service", "mariadb", promises=(undecided, untested)),
        verification(
            "mariadb-upsert",
            "mariadb",
            counted=5_059,
            promises=(broken,),
            contradictions=(contradiction("phantom increment"),),
        ),
        verification("mariadb-select-then-update", "mariadb", promises=(untested,), timeline=(), marks=()),
    ]


def writes(subject: str, callers: int, keys: int) -> float | None:
    """Of plusone fewer the more callers share a counter; of the service nobody knows."""
    if subject == "service":
        return None
    return round(min(1.0, keys / callers), 4) if subject == "plusone" else 1.0


def price(subject: str, callers: int, keys: int) -> float:
    """A write of plusone's is twice as dear."""
    return (writes(subject, callers, keys) or 0.0) * (1.0 if subject == "plusone" else 0.5)


def column(subject: str, store: str, rate: float) -> Column:
    latency = Latency(
        rate=rate / 2,
        achieved=rate / 2,
        p50_us=2e6 / rate,
        p95_us=4e6 / rate,
        p99_us=9e6 / rate,
        p999_us=3e7 / rate,
        max_us=8e7 / rate,
        histogram="",
    )
    cells = [
        Cell(
            concurrency=callers,
            keys=keys,
            increments_per_second=rate * callers**0.5 / keys**0.2,
            errors=0,
            latency=latency if callers == 64 else None,
            writes_per_increment=writes(subject, callers, keys),
            dollars_per_million=None if store == "redis" or subject == "service" else price(subject, callers, keys),
        )
        for callers in (1, 64, 256)
        for keys in (1, 1000)
    ]
    wrong = 0 if subject in ("plusone", "service") else 57
    return Column(
        subject=subject,
        subject_title=TITLES[subject],
        store=store,
        store_title=STORES[store],
        url=f"{store}://127.0.0.1/0",
        cells=cells,
        lossy=Lossy(increments=5_000, lost_replies=61, counted=5_000 + wrong, errors=0),
    )


def comparison() -> Comparison:
    """Two datastores, three subjects each."""
    return Comparison(
        command="plusone compare redis mariadb --seconds 5 --seed 7",
        seed=7,
        started="2026-11-21T13:00:00Z",
        seconds=5.0,
        versions={"plusone": "0.1.0", "redis-server": "7.0.15"},
        machine="2 cores of AMD EPYC, Linux 6.18, Python 3.11",
        columns=[
            column("plusone", "redis", 9_000.0),
            column("service", "redis", 3_000.0),
            column("redis-incrby", "redis", 4_000.0),
            column("plusone", "mariadb", 800.0),
            column("service", "mariadb", 700.0),
            column("mariadb-upsert", "mariadb", 300.0),
        ],
        notes=("Callers and servers share the cores.",),
    )


def runs() -> list[Run]:
    results: list[Result] = [*verifications(), comparison()]
    return [Run(f"2026-11-21T1200{number:02}Z", result) for number, result in enumerate(results)]


def written(folder: Path) -> list[Path]:
    """The golden run as run folders."""
    folders = []
    for run in runs():
        place = folder / run.name
        place.mkdir(parents=True)
        (place / FILE).write_bytes(msgspec.json.encode(run.result))
        folders.append(place)
    return folders
