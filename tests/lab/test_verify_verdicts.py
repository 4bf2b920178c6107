"""What a run's phases come to: what is claimed, what tests it, and the exit code. Nothing is counted here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from plusone.cli import verifying
from plusone.lab.checker import Verdict
from plusone.lab.history import Answer, Call, Header, HistoryWriter
from plusone.lab.history.events import Event
from plusone.lab.history.operations import history_of
from plusone.lab.results import Promise
from plusone.lab.subjects.registry import SUBJECTS
from plusone.lab.tally import Tally
from plusone.lab.verify.evidence import Evidence, evidence_of
from plusone.lab.verify.phases import Phase, PhaseName
from plusone.lab.verify.promises import Claims, Judged, promises
from plusone.lab.verify.running import _judge
from tests.lab.report_samples import contradiction, verification

SEEN = Evidence(values=1_000, rejected=40, bounded=5, reads=300, repeated=12)


def judged(name: PhaseName, *kinds: str, gaps: int | None = 0, evidence: Evidence = SEEN, lost: int = 0) -> Judged:
    phase = Phase(name=name, history=Path("history"), counters=["c"], gaps=gaps)
    found = tuple(contradiction(kind) for kind in kinds)  # type: ignore[arg-type]
    verdict = Verdict(verdict="illegal" if found else "ok", operations=1_340, counters=1, contradictions=found)
    return Judged(phase=phase, verdict=verdict, evidence=evidence, acknowledged=1_000, counted=1_000, lost=lost)


def promised(
    *phases: Judged, keeps: bool | None = True, survives_failover: bool = False, calm_only: bool = False
) -> dict[str, Promise]:
    claims = Claims(keeps=keeps, survives_failover=survives_failover, capabilities=None)
    found = promises(SUBJECTS["plusone"], claims, phases, calm_only=calm_only)
    return {promise.name: promise for promise in found}


def test_each_promise_says_what_tests_it() -> None:
    found = promised(judged("calm"), judged("replies"))
    assert {name: promise.evidence for name, promise in found.items()} == {
        "exactly once": "2,000 acknowledged, 2,000 counted: calm, replies",
        "distinct answers": "2,000 values were told",
        "bounds": "80 operations rejected at the bounds of 10 counters",
        "strong reads": "600 reads",
        "idempotency keys": "24 keys were sent more than once",
        "durable": "no kill was run",
        "survives failover": "no failover was run",
        "losses noticed": "nothing was lost",
    }
    assert [promise.claimed for promise in found.values()] == [True] * 5 + [False] * 3


def test_what_nothing_tested_is_not_said_to_have_held() -> None:
    found = promised(judged("calm", evidence=Evidence(values=1_000, reads=300)))
    assert [found[name].verdict for name in ("bounds", "idempotency keys", "strong reads")] == [
        *("not tested", "not tested", "ok")
    ]


def test_what_held_in_calm_says_so() -> None:
    found = promised(judged("calm"), calm_only=True)
    assert found["exactly once"].evidence == "1,000 acknowledged, 1,000 counted: calm; no fault of network or server"
    assert found["strong reads"].evidence == "300 reads; no fault of network or server"


@pytest.mark.parametrize(
    ("phase", "keeps", "survives_failover", "broken"),
    [
        ("disk_full", True, False, "durable"),
        ("disk_full", None, False, "durable"),
        ("kill", True, False, "durable"),
        ("kill", None, False, "durable"),  # of a service: the datastore was not touched
        ("failover", True, True, "survives failover"),
        ("pause", True, False, "exactly once"),
        ("calm", None, False, "exactly once"),
    ],
)
def test_a_loss_breaks_a_promise_that_is_claimed(
    phase: PhaseName, keeps: bool | None, survives_failover: bool, broken: str
) -> None:
    lossy = judged(phase, "lost after acknowledgement")
    found = promised(lossy, keeps=keeps, survives_failover=survives_failover)
    assert [(each.name, each.claimed) for each in found.values() if each.verdict == "illegal"] == [(broken, True)]


def test_a_server_that_keeps_nothing_may_lose_when_it_ends() -> None:
    forgets = Claims(keeps=False, survives_failover=False, capabilities=None)
    assert [name for name in ("calm", "replies", "kill", "pause", "disk_full") if forgets.may_lose(name)] == [
        *("kill", "disk_full")
    ]


def test_what_nobody_was_left_to_notice_is_not_held_against_them() -> None:
    """A service that was killed as well has forgotten what it had acknowledged; one that was not has to say."""
    lossy = judged("kill", gaps=0, lost=7)
    found = promised(lossy, keeps=False)
    assert (found["losses noticed"].verdict, found["losses noticed"].claimed) == ("illegal", True)
    forgot = msgspec.structs.replace(lossy, phase=msgspec.structs.replace(lossy.phase, forgot=True))
    found = promised(forgot, keeps=False)
    assert (found["losses noticed"].verdict, found["losses noticed"].evidence) == (
        *("not tested", "7 were lost with the process that had counted them"),
    )


def test_a_gap_where_nothing_can_have_been_lost_is_a_false_alarm() -> None:
    found = promised(judged("calm", gaps=2))["losses noticed"]
    assert (found.verdict, found.claimed, found.evidence) == (
        *(
            "illegal",
            True,
            "0 acknowledged increments were lost, gaps noticed: 2; where nothing can have been lost: calm",
        ),
    )
    assert promised(judged("kill", gaps=2), keeps=False)["losses noticed"].verdict == "ok"


@pytest.mark.parametrize(("keeps", "verdict"), [(True, "illegal"), (False, "ok")])
def test_what_a_changed_counter_lost_is_seen_where_nothing_may_be_lost(
    keeps: bool, verdict: str, tmp_path: Path
) -> None:
    """Beside a gap it is passed over only where the datastore may lose something: it has no sum that would tell."""
    name, path = "p/changed-1", tmp_path / "history-kill.jsonl"
    with HistoryWriter(path, Header(subject="s", store="redis:", seed=1, started="")) as history:
        history.answer(history.call(1, name, "add", 1), "applied", value=1, revision=1)
        history.answer(history.call(1, name, "read"), "read", value=0, revision=0)
    phase = Phase(name="kill", history=path, counters=[], gaps=1)
    claims = Claims(keeps=keeps, survives_failover=False, capabilities=None)
    assert _judge(phase, Tally(), claims).verdict.verdict == verdict


def test_a_changed_counter_tells_values_twice() -> None:
    """Where values are set and deleted, two that are the same are no evidence of anything."""
    asked: list[Event] = [
        Call(number=1, at_ns=0, process=1, counter="p/changed-1", kind="add", amount=1),
        Answer(number=1, at_ns=1, result="applied", value=1),
    ]
    assert evidence_of(history_of(asked).counters) == Evidence()


def test_the_evidence_of_a_history() -> None:
    asked: list[Event] = [
        Call(number=1, at_ns=0, process=1, counter="a", kind="add", amount=1, ceiling=1, token="t"),
        Answer(number=1, at_ns=1, result="applied", value=1),
        Call(number=2, at_ns=2, process=1, counter="a", kind="add", amount=1, ceiling=1, token="t"),
        Answer(number=2, at_ns=3, result="applied", value=1),
        Call(number=3, at_ns=4, process=1, counter="a", kind="add", amount=1, ceiling=1, token="u"),
        Answer(number=3, at_ns=5, result="rejected", value=1),
        Call(number=4, at_ns=6, process=1, counter="b", kind="add", amount=1),
        Answer(number=4, at_ns=7, result="applied"),
        Call(number=5, at_ns=8, process=1, counter="b", kind="read"),
        Answer(number=5, at_ns=9, result="read", value=1),
        Call(number=6, at_ns=10, process=1, counter="b", kind="read"),
    ]
    assert evidence_of(history_of(asked).counters) == Evidence(values=2, rejected=1, bounded=1, reads=1, repeated=1)


BROKEN = (Promise(name="bounds", claimed=True, claim="", verdict="illegal", evidence=""),)
HELD, WRONG = verification(), verification("redis-incrby", promises=BROKEN)
CALM, CALM_FILE = verification(faults={}), verification(faults={"kill": 0}, url="sqlite:counters.db")


@pytest.mark.parametrize(
    ("found", "subjects", "any_fault", "code"),
    [
        ([HELD], [], True, 0),
        ([verification(promises=BROKEN)], [], True, 1),
        ([WRONG], ["redis-incrby"], True, 1),
        ([HELD, WRONG], ["all"], True, 0),  # shown beside it
        ([HELD, WRONG], ["all", "redis-incrby"], True, 1),
        ([CALM], [], True, 6),
        ([CALM], [], False, 0),  # --faults none
        ([CALM_FILE], [], True, 0),
        ([verification(faults={}, promises=BROKEN)], [], True, 1),
    ],
)
def test_the_exit_code(found: Sequence[object], subjects: Sequence[str], any_fault: bool, code: int) -> None:
    assert verifying._exit_code(found, subjects, any_fault=any_fault) == code  # type: ignore[arg-type]
