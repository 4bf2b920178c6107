"""The comparison: what it counts, notes and leaves behind; on stores in the process, and on Redis."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("hdrh.histogram")

from hdrh.histogram import HdrHistogram

import plusone
from plusone.cli import app
from plusone.errors import ConfigurationError
from plusone.lab import cost, servers
from plusone.lab.compare import Compared, Plan, compare, planned_seconds, resolve
from plusone.lab.results import Comparison
from plusone.lab.subjects.protocol import PLACE, Counted, Subject
from plusone.lab.subjects.registry import SUBJECTS

PLUSONE = SUBJECTS["plusone"]


class Steps:
    """What the progress was told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, description: str, seconds: float) -> None:
        assert description
        self.seconds += seconds


class Planted:
    """A way of counting in this process whose faults are known."""

    def __init__(self, *, seconds: float = 0.0, fails: bool = False, removes: bool = True) -> None:
        self.values: dict[str, int] = {}
        self._seconds, self._fails, self._removes = seconds, fails, removes

    async def increment(self, name: str, ceiling: int | None) -> Counted:
        await asyncio.sleep(self._seconds)
        if self._fails:
            raise ConnectionError("refused")
        self.values[name] = self.values.get(name, 0) + 1
        return Counted()

    async def read(self, name: str) -> Counted:
        return Counted(value=self.values.get(name, 0))

    async def remove(self, names: Sequence[str]) -> None:
        if not self._removes:
            raise ConnectionError("refused")
        for name in names:
            self.values.pop(name, None)

    def subject(self, name: str = "planted", *, writes: float = 1.0) -> Subject:
        @contextlib.asynccontextmanager
        async def connect(url: str, place: str = PLACE) -> AsyncIterator[Planted]:
            yield self

        return Subject(
            name=name,
            title=name,
            schemes=frozenset({"memory"}),
            found="here",
            told="nothing",
            bounded=False,
            connect=connect,
            writes=writes,
        )


def target(*subjects: Subject) -> Compared:
    return Compared(given="memory:", subjects=subjects)


def plan(**changes: object) -> Plan:
    return Plan(**{"targets": ["memory:"], "seconds": 0.1, "concurrency": [4], "keys": [1], "seed": 3, **changes})  # type: ignore[arg-type]


def compared(chosen: Plan, *subjects: Subject) -> Comparison:
    steps = Steps()
    comparison = compare(chosen, [target(*subjects)], steps)
    assert steps.seconds == pytest.approx(planned_seconds(chosen, [target(*subjects)]))
    return comparison


def noted(comparison: Comparison, subject: str) -> list[str]:
    start = f"memory, {subject}: "
    return [note.removeprefix(start) for note in comparison.notes if note.startswith(start)]


def test_every_cell_of_every_subject_is_measured() -> None:
    planted = Planted()
    found = compared(plan(concurrency=[1, 8], keys=[1, 20]), PLUSONE, planted.subject(writes=2.0))
    assert [column.subject for column in found.columns] == ["plusone", "planted"]
    for column in found.columns:
        assert (column.store, column.url, column.lossy) == ("memory", "memory:", None)
        assert [cell.dollars_per_million for cell in column.cells] == [None] * 4
        assert [(cell.concurrency, cell.keys) for cell in column.cells] == [(1, 1), (8, 1), (1, 20), (8, 20)]
        assert [cell.errors for cell in column.cells] == [0, 0, 0, 0]
        for cell in column.cells:
            assert cell.increments_per_second > 0
            assert cell.latency is not None
            histogram = HdrHistogram.decode(cell.latency.histogram.encode())
            assert histogram.get_total_count() == max(1, round(cell.latency.rate * 0.1))
            assert cell.latency.rate <= 20_000
    ours, others = found.columns
    assert [cell.writes_per_increment for cell in others.cells] == [2.0] * 4
    # One caller at a time: each increment is a batch. Eight on one counter: as many as wait are one.
    alone, together = ours.cells[:2]
    assert alone.writes_per_increment == 1.0
    assert together.writes_per_increment is not None
    assert together.writes_per_increment <= 0.25


def test_each_load_has_its_own_price() -> None:
    """At a dollar for a million writes a cell's price is its writes, on one counter and on many."""
    price = cost.Price(
        store="own",
        title="Own",
        schemes=["memory"],
        unit="write",
        dollars=1.0,
        region="here",
        date="2026-11-21",
        source="a contract",
        url="https://example.org/prices",
    )
    chosen = plan(concurrency=[1, 8], keys=[1, 1_000])
    found = compare(chosen, [target(PLUSONE)], Steps(), cost.PriceList(format=1, prices=[price]))
    [column] = found.columns
    writes = [cell.writes_per_increment for cell in column.cells]
    assert [cell.dollars_per_million for cell in column.cells] == pytest.approx(writes)
    alone, together, *spread = column.cells
    assert alone.dollars_per_million == 1.0
    assert together.dollars_per_million is not None
    assert together.dollars_per_million <= 0.25
    assert all(cell.dollars_per_million is not None and cell.dollars_per_million > 0.9 for cell in spread)


def test_what_was_counted_on_is_removed() -> None:
    planted = Planted()
    compared(plan(keys=[1, 250]), planted.subject())
    assert planted.values == {}


def test_what_could_not_be_removed_is_told() -> None:
    planted = Planted(removes=False)
    [note] = [note for note in noted(compared(plan(), planted.subject()), "planted") if "removed" in note]
    assert re.fullmatch(
        r"its counters plusone-lab/[0-9a-f]{8}/planted/… could not all be removed: ConnectionError: refused\.", note
    )


def test_a_load_that_is_too_much_is_told() -> None:
    """Four connections of 20 ms answer 200 a second, not 2,000."""
    found = compared(plan(rate=2_000, seconds=0.2), Planted(seconds=0.02).subject())
    [cell] = found.columns[0].cells
    assert cell.latency is not None
    assert cell.latency.rate == 2_000
    assert cell.latency.achieved <= 200
    assert cell.latency.unsent >= 340
    [note] = [note for note in noted(found, "planted") if "too much" in note]
    assert note == (
        f"the open loop was too much with 4 at once on 1 counter: {cell.latency.unsent} of its operations were"
        " never sent, and its latencies are those of a queue."
    )


def test_errors_are_counted_and_told() -> None:
    found = compared(plan(), Planted(fails=True).subject(), Planted().subject("sound"))
    broken, sound = found.columns
    [cell] = broken.cells
    assert (cell.increments_per_second, cell.latency) == (0.0, None)
    assert cell.errors >= 4
    assert noted(found, "planted") == [
        f"{cell.errors:,} errors with 4 at once on 1 counter, the first ConnectionError: refused.",
        "nothing was answered with 4 at once on 1 counter, so there was no open loop.",
    ]
    assert [cell.errors for cell in sound.cells] == [0]


def test_a_subject_that_cannot_be_connected_does_not_end_the_comparison() -> None:
    class Away(contextlib.AbstractAsyncContextManager[Planted]):
        def __init__(self, url: str, place: str = PLACE) -> None: ...

        async def __aenter__(self) -> Planted:
            raise ConnectionError("nobody there")

        async def __aexit__(self, *error: object) -> None: ...

    away = msgspec.structs.replace(Planted().subject("away"), connect=Away)
    found = compared(plan(), away, Planted().subject())
    assert [len(column.cells) for column in found.columns] == [0, 1]
    assert noted(found, "away") == [
        "it was not measured, since it could not be connected: ConnectionError: nobody there."
    ]


def test_the_generators_own_lag_is_told() -> None:
    class Blocking(Planted):
        """It keeps the event loop from turning: what falls due meanwhile is late, and no datastore made it so."""

        async def increment(self, name: str, ceiling: int | None) -> Counted:
            import time

            end = time.perf_counter() + 0.004
            while time.perf_counter() < end:
                pass
            await asyncio.sleep(0)
            return Counted()

    found = compared(plan(rate=120, seconds=0.3), Blocking().subject())
    assert any("may be the load generator's own" in note for note in noted(found, "planted"))


def test_the_command_repeats_the_comparison_without_the_password() -> None:
    chosen = plan(targets=["redis://user:secret@host/0", "etcd"], subjects=["plusone"], rate=500, keys=[1, 10])
    assert chosen.command() == (
        "plusone compare 'redis://user:***@host/0' etcd --subject plusone --seconds 0.1 --concurrency 4 --keys 1,10"
        " --rate 500 --seed 3"
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"targets": []}, "targets must be 1 to 16 different values"),
        ({"targets": ["memory:", "memory:"]}, "targets must be 1 to 16 different values"),
        ({"concurrency": []}, "concurrency must be 1 to 16 different values"),
        ({"concurrency": [0]}, "concurrency must be 1 to 4,096, not 0"),
        ({"keys": [100_001]}, "keys must be 1 to 100,000, not 100,001"),
        ({"seconds": 0.01}, "seconds must be 0.05 to 600, not 0.01"),
        ({"rate": 0.01}, "rate must be 0.1 to 1,000,000, not 0.01"),
        ({"rate": 1e6, "seconds": 60}, "of an open loop, must be 1 to 5,000,000, not 60,000,000"),
        ({"seed": -1}, "seed must be 0 to"),
    ],
)
def test_a_plan_that_makes_no_sense(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        plan(**wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"targets": ["abacus"]}, "'abacus' is neither a store URL .* nor a server that the lab starts: redis, "),
        ({"targets": ["abacus://here"]}, "unknown store scheme 'abacus'"),
        ({"subjects": ["abacus"]}, "subject 'abacus' is unknown: known are plusone, "),
        ({"subjects": ["redis-incrby"]}, "none of the subjects counts on memory: known there are plusone, service"),
    ],
)
def test_a_target_or_subject_that_is_none(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        resolve(plan(**wrong))


def run(*arguments: str, columns: int = 160) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments], env={"COLUMNS": str(columns)})


def test_the_command(tmp_path: Path) -> None:
    store, folder = tmp_path / "counters.db", tmp_path / "run"
    short = ("--seconds", "0.1", "--concurrency", "1,4", "--keys", "1,10", "--seed", "5", "--output", str(folder))
    done = run(f"sqlite:{store}", "--subject", "plusone", "--subject", "sqlite-upsert", *short)
    assert done.exit_code == 0, done.output
    # Twice for each of the four loads, and once for the lost replies.
    assert len([line for line in done.stdout.splitlines() if line.startswith("sqlite-upsert ")]) == 9
    assert "4 at once on 10 counters" in done.stdout
    assert done.stdout.count("*") >= 4 * 7
    found = msgspec.json.decode((folder / "result.json").read_bytes(), type=Comparison)
    assert found.seed == 5
    assert [column.subject for column in found.columns] == ["plusone", "sqlite-upsert"]
    assert asyncio.run(left_behind(f"sqlite:{store}")) == []

    again = run(f"sqlite:{store}", *short)
    assert again.exit_code == 2
    assert "holds a run already" in again.stderr


def test_the_commands_tables_fit_a_terminal_of_80_columns(tmp_path: Path) -> None:
    short = ("--seconds", "0.1", "--concurrency", "4", "--keys", "1,1000", "--output", str(tmp_path / "run"))
    subjects = ("--subject", "plusone", "--subject", "sqlite-select-then-update")
    done = run(f"sqlite:{tmp_path / 'counters.db'}", *subjects, *short, columns=80)
    assert done.exit_code == 0, done.output
    tables = done.stdout[: done.stdout.index("* the best")].splitlines()
    assert max(map(len, tables)) <= 80
    heads = [line.split() for line in tables if line.startswith("subject")]
    assert heads == [
        *[["subject", "increments/s", "each", "million", "errors"], ["subject", "loop/s", *LATENCIES]] * 2,
        ["subject", "increments", "lost", "count", "errors"],
    ]
    assert len([line for line in tables if line.startswith("sqlite-select-then-update ")]) == 5


LATENCIES = ("p50", "p95", "p99", "p99.9", "max")


async def left_behind(url: str) -> list[str]:
    async with plusone.open(url) as counters:
        return [counter.name for counter in (await counters.list("plusone-lab/")).counters]


def test_the_command_for_machines(tmp_path: Path) -> None:
    short = ("--seconds", "0.1", "--concurrency", "2", "--keys", "1", "--output", str(tmp_path))
    done = run("memory:", "--subject", "plusone", "--json", *short)
    assert done.exit_code == 0, done.output
    assert msgspec.json.decode(done.stdout, type=Comparison) == msgspec.json.decode(
        (tmp_path / "result.json").read_bytes(), type=Comparison
    )


def test_the_command_fails_where_nothing_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 1 is nobody's, as of a server that ends once it was reached. The run is written: its notes say what was."""
    pytest.importorskip("redis")

    async def reached(targets: object) -> None:
        pass

    monkeypatch.setattr("plusone.lab.compare.reach_all", reached)
    short = ("--seconds", "0.1", "--concurrency", "2", "--keys", "1", "--output", str(tmp_path))
    done = run("redis://127.0.0.1:1/0", "--subject", "plusone", *short)
    assert done.exit_code == 3
    assert "nothing was measured" in done.stderr
    found = msgspec.json.decode((tmp_path / "result.json").read_bytes(), type=Comparison)
    assert [column.cells for column in found.columns] == [[]]
    assert any("could not be connected: StoreUnavailable" in note for note in found.notes)


@pytest.mark.parametrize(
    "wrong", [["--concurrency", "1,x"], ["--keys", ""], ["--keys", "-1"], ["--seconds", "0"], ["--seed", "-1"]]
)
def test_the_command_refuses_what_makes_no_sense(tmp_path: Path, wrong: list[str]) -> None:
    done = run("memory:", *wrong, "--output", str(tmp_path / "run"))
    assert done.exit_code == 2
    assert wrong[0].removeprefix("--") in done.stderr
    assert not (tmp_path / "run").exists()


def test_lost_replies_on_redis() -> None:
    """redis-py's INCRBY counts repetitions, plusone and its service do not; and nothing is left on the server."""
    if reason := servers.missing("redis"):
        pytest.skip(reason)
    with servers.start("redis") as started:
        # With this seed the 36th request is the first to lose its reply: plusone combines, and so has few of them.
        subjects = ["plusone", "service", "redis-incrby"]
        chosen = plan(targets=[started.url], subjects=subjects, seconds=1.0, concurrency=[16], seed=56)
        found = compare(chosen, resolve(chosen), Steps())
        columns = {column.subject: column for column in found.columns}
        lossy = {name: column.lossy for name, column in columns.items()}
        assert all(each is not None and each.lost_replies >= 1 for each in lossy.values()), (lossy, found.notes)
        wrong = {name: each.counted - each.increments for name, each in lossy.items() if each is not None}
        assert (wrong["plusone"], wrong["service"]) == (0, 0)
        assert wrong["redis-incrby"] > 0
        assert columns["redis-incrby"].cells[0].dollars_per_million == pytest.approx(0.0023)
        assert columns["service"].cells[0].dollars_per_million is None
        assert asyncio.run(keys_of(started.url)) == 0


def test_as_many_callers_of_a_recipe_as_of_ours() -> None:
    """redis-py's pool would answer the 101st caller with an error, and errors would be what is compared."""
    if reason := servers.missing("redis"):
        pytest.skip(reason)
    with servers.start("redis") as started:
        chosen = plan(targets=[started.url], subjects=["redis-incrby"], seconds=0.3, concurrency=[256])
        [column] = compare(chosen, resolve(chosen), Steps()).columns
    [cell] = column.cells
    assert (cell.concurrency, cell.errors) == (256, 0)
    assert cell.increments_per_second > 0


async def keys_of(url: str) -> int:
    """Keys on the server that belong to a recipe. Those of plusone's deleted counters go an hour after."""
    redis = pytest.importorskip("redis.asyncio").Redis.from_url(url.partition("?")[0])
    async with redis:
        return sum([1 async for key in redis.scan_iter(match="plusone-lab*")])
