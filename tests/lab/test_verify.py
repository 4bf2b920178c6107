"""`plusone verify`: what holds is found to hold, what is broken is found broken, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest
from typer.testing import CliRunner

import plusone
from plusone.cli import app
from plusone.errors import ConfigurationError
from plusone.lab import servers
from plusone.lab.clocks import JumpingClock
from plusone.lab.results import Verification, Word
from plusone.lab.subjects import registry
from plusone.lab.subjects.own import Own
from plusone.lab.subjects.protocol import PLACE, Connect, Counted, Subject
from plusone.lab.subjects.registry import SUBJECTS
from plusone.lab.subjects.service import ServiceFront
from plusone.lab.target import Target, opened
from plusone.lab.verify import FaultName, Options, verify, verify_subject
from plusone.types import Operation

ALL_HELD: Final[dict[str, Word]] = {
    "exactly once": "ok",
    "distinct answers": "ok",
    "bounds": "ok",
    "strong reads": "ok",
    "idempotency keys": "ok",
    "durable": "not tested",
    "survives failover": "not tested",
    "losses noticed": "not tested",
}


def verdicts(found: Verification) -> dict[str, Word]:
    return {promise.name: promise.verdict for promise in found.promises}


def names(url: str) -> Sequence[str]:
    """The counters that exist."""

    async def listed() -> Sequence[str]:
        async with plusone.open(url) as counters:
            return [counter.name for counter in (await counters.list()).counters]

    return asyncio.run(listed())


def test_memory(tmp_path: Path) -> None:
    [found] = verify("memory:", seconds=1, seed=1, output=tmp_path)
    assert verdicts(found) == ALL_HELD
    assert (found.held, found.contradictions, found.faults) == (True, (), {"clock": 3})
    assert 100 < found.expected <= found.counted <= found.expected + found.unknown
    assert (found.calm_only, found.no_fault) == (
        True,
        "part of the process: there is no network before it, and no server",
    )
    assert all(promise.evidence.endswith("; no fault of network or server") for promise in found.promises[:5])
    assert found.command == "plusone verify memory: --subject plusone --faults clock --seconds 1 --seed 1"
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        *("history-calm.jsonl.gz", "history-clock.jsonl.gz", "result.json")
    ]
    assert json.loads((tmp_path / "result.json").read_bytes())["type"] == "verification"


def test_the_same_seed_asks_for_the_same(tmp_path: Path) -> None:
    """Whose turn it is next is not the seed's: with what the first of each of the two races begins is."""

    def ceilings(folder: Path) -> list[int]:
        verify("memory:", seconds=1, seed=42, output=folder)
        lines = subprocess.run(["zcat", folder / "history-calm.jsonl.gz"], capture_output=True, check=True).stdout
        calls = [json.loads(line) for line in lines.splitlines()]
        bounded = {
            call["counter"].split("/")[-1]: call["ceiling"]
            for call in calls
            if "/bounded" in call.get("counter", "") and "ceiling" in call
        }
        return list(bounded.values())[:2]

    assert ceilings(tmp_path / "one") == ceilings(tmp_path / "two")


def test_a_file_is_left_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/counters.db"
    asyncio.run(_set(url, "mine", 5))
    [found] = verify(url, seconds=1, seed=1, output=tmp_path / "run")
    assert verdicts(found) == ALL_HELD
    assert names(url) == ["mine"]


async def _set(url: str, name: str, value: int) -> None:
    async with plusone.open(url) as counters:
        await counters.set(name, value)


def test_the_service_is_killed_and_replies_are_lost(tmp_path: Path) -> None:
    """Its callers repeat by its own means, the Idempotency-Key, and so nothing counts twice."""
    url = f"sqlite:{tmp_path}/counters.db"
    faults: list[FaultName] = ["replies", "kill"]
    [found] = verify(url, subjects=["service"], faults=faults, seconds=4, seed=3, output=tmp_path / "run")
    assert verdicts(found) == {**ALL_HELD, "durable": "ok"}
    assert [promise.claimed for promise in found.promises if promise.name == "durable"] == [True]
    assert found.faults["kill of the service"] in (1, 2)  # once, where it takes long to come back
    assert found.faults["cut_after_request"] >= 1
    assert found.errors >= 1
    assert found.expected == found.counted
    assert names(url) == []


needs_redis = pytest.mark.skipif(servers.missing("redis") is not None, reason=str(servers.missing("redis")))


@needs_redis
def test_plusone_on_a_redis_that_is_harmed(tmp_path: Path) -> None:
    faults: list[FaultName] = ["replies", "partition", "clock", "kill", "pause"]
    [found] = verify("redis", faults=faults, seconds=5, seed=1, output=tmp_path)
    assert verdicts(found) == {**ALL_HELD, "durable": "ok"}
    assert found.held
    assert found.faults["cut_after_request"] >= 5
    partitions = ["partition_to_client", "partition_to_server", "refuse", "throttle", "slow_close"]
    assert list(dict.fromkeys(mark.fault for mark in found.marks)) == ["replies", *partitions, *faults[2:]]
    assert found.histories == [f"history-{name}.jsonl.gz" for name in ("calm", *faults)]


def killed_on_a_redis_that_forgets(subject: str, folder: Path) -> Verification:
    with servers.start("redis", keeps=False) as started:
        target = Target(given="redis", name="redis", title=started.title, url=started.url, started=started)
        options = Options(seconds=4, seed=1, faults=["kill"])
        return asyncio.run(verify_subject(target, SUBJECTS[subject], options, folder))


@needs_redis
def test_a_service_that_is_killed_with_a_redis_that_forgets(tmp_path: Path) -> None:
    """Nobody is left who would notice; and keys that were lost count again, as they may, which is no phantom."""
    found = killed_on_a_redis_that_forgets("service", tmp_path)
    assert [(each.name, each.claimed) for each in found.promises if each.verdict == "illegal"] == [("durable", False)]
    assert found.held
    assert found.lost == found.expected - found.counted >= 100


def test_a_service_that_is_cancelled_while_it_starts_is_ended(tmp_path: Path) -> None:
    async def cancelled() -> ServiceFront:
        front = ServiceFront("memory:")
        starting = asyncio.create_task(front.__aenter__())
        while not front.process.runs:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()
        return front

    process = asyncio.run(cancelled()).process
    assert (process.runs, process.folder.exists()) == (False, False)


def test_of_several_subjects_one_that_cannot_count_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(url: str) -> contextlib.AbstractAsyncContextManager[ServiceFront]:
        raise ConfigurationError("the HTTP service is not installed")

    broken = msgspec.structs.replace(SUBJECTS["service"], front=missing)
    monkeypatch.setattr(registry, "SUBJECTS", {"service": broken, "plusone": SUBJECTS["plusone"]})
    asked = ["verify", "memory:", "--subject", "all", "--seconds", "1", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, asked)
    assert (result.exit_code, result.stderr) == (2, "plusone: the HTTP service is not installed\n")
    assert "plusone on Memory" in result.stdout
    assert (tmp_path / "plusone" / "result.json").exists()


@needs_redis
def test_a_redis_that_forgets(tmp_path: Path) -> None:
    """What it loses when it is killed is its property, which nobody claims to be otherwise; that it lost is noticed."""
    found = killed_on_a_redis_that_forgets("plusone", tmp_path)
    assert verdicts(found) == {**ALL_HELD, "durable": "illegal", "losses noticed": "ok"}
    assert [promise.claimed for promise in found.promises if promise.name == "durable"] == [False]
    assert found.held
    assert found.lost == found.expected - found.counted >= 100
    assert found.gaps_noticed >= 10
    assert [each.kind for each in found.contradictions] == ["lost after acknowledgement"]


@needs_redis
def test_a_users_datastore_is_left_as_it_was(tmp_path: Path) -> None:
    """Keys of others are not touched, a recipe's own are removed, and what plusone keeps of deleted ones expires."""
    from redis import Redis

    with servers.start("redis") as started, Redis.from_url(started.url, decode_responses=True) as redis:
        redis.set("theirs", 5)
        found = verify(started.url, subjects=["redis-sharded"], faults=[], seconds=1, seed=1, output=tmp_path / "one")
        assert [found[0].store, redis.keys()] == ["redis", ["theirs"]]
        verify(started.url, faults=[], seconds=1, seed=1, output=tmp_path / "two")
        assert names(started.url) == []
        left = [key for key in redis.scan_iter(count=1_000) if key != "theirs"]
        assert [key for key in left if not key.startswith("plusone:")] == []
        assert [key for key in left if not 0 < redis.ttl(key) <= 3_660] == []
        assert redis.get("theirs") == "5"


class Planted(Own):
    """Counters with a bug."""

    calls = 0

    def now(self) -> bool:
        """Whether it is the bug's turn."""
        self.calls += 1
        return self.calls % 40 == 0


class CountsTwice(Planted):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        if self.now():
            await super().increment(name, ceiling)
        return await super().increment(name, ceiling)


class CountsNot(Planted):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        if self.now():
            counter = await self.read(name)
            return Counted(True, (counter.value or 0) + 1, counter.value, (counter.revision or 0) + 1)
        return await super().increment(name, ceiling)


class TellsAnOlderValue(Planted):
    async def read(self, name: str) -> Counted:
        counter = await super().read(name)
        if self.now() and counter.value and counter.revision and counter.value > 5:
            return Counted(value=counter.value - 5, revision=counter.revision - 5)
        return counter


class PassesTheCeiling(Planted):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        return await super().increment(name, None if ceiling and self.now() else ceiling)


class RejectsTooEarly(Planted):
    async def increment(self, name: str, ceiling: int | None) -> Counted:
        return await super().increment(name, ceiling and ceiling - 1)


class PassesTheFloor(Planted):
    async def change(self, name: str, operation: Operation) -> Counted:
        if operation.floor is not None:
            operation = Operation.add(operation.amount, floor=operation.floor - 3)
        return await super().change(name, operation)


class DeletesNot(Planted):
    """It says that it did, and what was there goes on."""

    async def change(self, name: str, operation: Operation) -> Counted:
        if operation.kind == "delete":
            operation = Operation.add(0)
        return await super().change(name, operation)


class ForgetsTokens(Planted):
    async def increment_once(self, name: str, ceiling: int | None, token: str) -> Counted:
        if self.now():
            return await super().increment(name, ceiling)
        return await super().increment_once(name, ceiling, token)


def connect(kind: type[Planted]) -> Connect:
    @contextlib.asynccontextmanager
    async def connected(url: str, place: str = PLACE) -> AsyncIterator[Own]:
        async with plusone.open(url) as counters:
            yield kind(counters, JumpingClock())

    return connected


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (CountsTwice, "exactly once"),
        (CountsNot, "exactly once"),
        (TellsAnOlderValue, "strong reads"),
        (PassesTheCeiling, "bounds"),
        (RejectsTooEarly, "bounds"),
        (PassesTheFloor, "bounds"),
        (DeletesNot, "exactly once"),
        (ForgetsTokens, "idempotency keys"),
    ],
)
def test_a_planted_bug_is_found(kind: type[Planted], promise: str, tmp_path: Path) -> None:
    bug = Subject(
        name="bug",
        title="a bug",
        schemes=frozenset({"memory"}),
        found="here",
        told="value and revision",
        bounded=True,
        tokens=True,
        retried=False,
        connect=connect(kind),
    )
    with opened("memory:") as target:
        found = asyncio.run(verify_subject(target, bug, Options(seconds=1.5, seed=1), tmp_path))
    assert not found.held
    assert verdicts(found)[promise] == "illegal"
    assert len(found.contradictions[0].operations) >= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a store URL, or a server that the lab starts"),
        (("nonsense",), "'nonsense' is neither a store URL (memory:, sqlite:FILE"),
        (("memory:", "--seconds", "0.5"), "seconds must be a number from 1 to"),
        (("memory:", "--seconds", "nan"), "seconds must be a number from 1 to"),
        (("memory:", "--seed", "-1"), "seed must be an integer from 0"),
        (("memory:", "--faults", "flood"), "no fault is named 'flood'; there are replies, partition"),
        (("memory:", "--faults", ""), "faults: name at least one, or none for a run in calm"),
        (("memory:", "--seconds", "3601"), "seconds must be a number from 1 to 3600"),
        (("memory:", "--faults", "kill"), "memory: cannot be verified under 'kill': offered: clock"),
        (("memory:", "--faults", "replies"), "there is no way to put a proxy before it"),
        (("memory:", "--subject", "redis-incrby"), "subject 'redis-incrby' does not count on memory"),
        (("carrier-pigeon://loft",), "unknown store scheme 'carrier-pigeon'"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: Sequence[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", *arguments, "--output", str(tmp_path)])
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_a_folder_that_holds_a_run(tmp_path: Path) -> None:
    verify("memory:", seconds=1, seed=1, output=tmp_path)
    with pytest.raises(ConfigurationError, match="holds a run already; name another folder"):
        verify("memory:", seconds=1, seed=1, output=tmp_path)


def test_exit_codes_and_json(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/counters.db"
    arguments = ["verify", url, "--seconds", "2", "--seed", "1", "--json"]
    held = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "one")])
    assert (held.exit_code, json.loads(held.stdout)["subject"]) == (0, "plusone")
    wrong = ["--subject", "sqlite-select-then-update", "--output", str(tmp_path / "two")]
    broken = CliRunner().invoke(app, [*arguments, *wrong])
    assert (broken.exit_code, len(json.loads(broken.stdout)["contradictions"])) == (1, 2), broken.stdout


def test_a_table_for_people(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", "memory:", "--seconds", "1", "--output", str(tmp_path)])
    assert result.exit_code == 0
    for words in (
        "plusone on Memory",
        "exactly once",
        "held",
        "not tested",
        "repeat it: plusone verify memory:",
        "no fault of network or server was met: part",
    ):
        assert words in result.stdout


def test_subjects_are_listed() -> None:
    result = CliRunner().invoke(app, ["verify", "etcd", "--list-subjects", "--json"])
    listed = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["name"] for each in listed] == ["plusone", "service", "etcd-put-if-unchanged"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    url = f"sqlite:{tmp_path}/counters.db"
    program = "import sys; sys.argv[0] = 'plusone'; from plusone.cli import main; main()"
    command = [sys.executable, "-c", program, "verify", url, "--seconds", "60", "--output", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as run:
        while run.poll() is None and not (tmp_path / "counters.db").exists():
            pass
        while run.poll() is None and not names(url):
            pass
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    assert (run.returncode, said) == (130, b"plusone: interrupted\n")
    assert names(url) == []
