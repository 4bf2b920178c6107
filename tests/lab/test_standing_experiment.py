"""`python -m tools.lab`: what fails does not end the rest, what is not renewed stays, and the exit status tells."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from plusone.lab.results import Promise, Verification
from tests.lab.report_samples import contradiction, verification
from tools import lab

SMALL = msgspec.structs.replace(
    lab.SHORT, targets={"memory": ("plusone",)}, verify_seconds=1.0, compare_seconds=0.05, concurrency=(4,)
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "SHORT", SMALL)


@pytest.mark.usefixtures("small")
def test_what_is_not_renewed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None)  # the picture is not what is tested
    earlier = tmp_path / "runs" / "redis" / "plusone" / "result.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(msgspec.json.encode(verification()))
    here = Path.cwd()
    assert lab.main(["--short", "--output", str(tmp_path)]) == 0
    assert Path.cwd() == here
    files = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file())
    assert files == [
        "index.html",
        "latency-memory.svg",
        "runs/memory/comparison/result.json",
        "runs/memory/plusone/result.json",
        "runs/redis/plusone/result.json",
        "throughput-1.svg",
    ]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Redis 7.0.15, every write flushed" in page
    assert "in 2 runs on 2 datastores" in page
    assert str(tmp_path) not in page
    first = (tmp_path / "runs" / "memory" / "plusone" / "result.json").read_bytes()
    assert lab.main(["--short", "--only", "memory", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "runs" / "memory" / "plusone" / "result.json").read_bytes() != first
    assert msgspec.json.decode(first, type=Verification).command == (
        f"plusone verify memory: --subject plusone --faults clock --seconds 1 --seed {lab.SEED}"
    )


@pytest.mark.usefixtures("small")
def test_what_fails_does_not_end_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the server did not start")

    monkeypatch.setattr(lab, "verify", fail)
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert lab.main(["--short", "--output", str(tmp_path)]) == 1
    assert [file.parent.name for file in (tmp_path / "runs").rglob("*.json")] == ["comparison"]
    assert (tmp_path / "index.html").exists()
    assert "✗ verify plusone on memory: RuntimeError: the server did not start\n" in capsys.readouterr().err


@pytest.mark.usefixtures("small")
def test_when_the_time_is_over_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lab, "SHORT", msgspec.structs.replace(SMALL, minutes_max=-1.0))
    assert lab.main(["--short", "--output", str(tmp_path)]) == 1  # nothing was found, so nothing was shown
    assert "are over: verify plusone on memory" in capsys.readouterr().err


def test_unknown_datastores_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        lab.main(["--only", "redis,oracle"])
    assert "unknown: oracle; known are memory, sqlite, redis" in capsys.readouterr().err


def broken(claimed: bool) -> Promise:
    return Promise(name="bounds", claimed=claimed, claim="", verdict="illegal", evidence="a bound was crossed")


def test_a_broken_promise_of_ours_is_unexpected() -> None:
    (trouble,) = lab.unexpected(verification(promises=(broken(claimed=True),)))
    assert trouble.startswith("plusone on redis: bounds: illegal: a bound was crossed; again: plusone verify redis")
    assert lab.unexpected(verification(promises=(broken(claimed=False),))) == []


def test_a_weakness_of_others_is_unexpected_unless_it_is_known() -> None:
    known = verification("redis-incrby", contradictions=(contradiction("phantom increment"),))
    assert lab.unexpected(known) == []
    both = (contradiction("phantom increment"), contradiction("bound crossed"))
    new = verification("redis-incrby", contradictions=both)
    assert [trouble.partition(";")[0] for trouble in lab.unexpected(new)] == [
        "redis-incrby on redis: bound crossed, which was not known of it"
    ]


def test_a_weakness_that_is_known_and_not_found_is_unexpected() -> None:
    """Whatever the form: the short one, too, has to catch the recipes in its selection."""
    missed = [trouble.partition(";")[0] for trouble in lab.unexpected(verification("redis-incrby"))]
    assert missed == ["redis-incrby on redis: phantom increment, which it is known for, was not found"]
    one = verification("redis-claimed-key", contradictions=(contradiction("lost update"),))
    assert lab.unexpected(one) == []  # the others are rare


def test_what_a_stand_in_shows_is_not_new() -> None:
    shown = (contradiction("phantom increment"), contradiction("duplicate value"))
    assert lab.unexpected(verification("mongodb-inc", "mongodb", contradictions=shown)) == []
    assert len(lab.unexpected(verification("mongodb-inc", "documentdb", contradictions=shown))) == 1


def test_the_readme_shows_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "ROOT", tmp_path)
    assert lab.region() == "Not run yet: `make lab`."
    file = tmp_path / "docs" / "report" / "runs" / "redis" / "plusone" / "result.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(msgspec.json.encode(verification()))
    (tmp_path / "docs" / "report" / "report.png").touch()
    assert lab.region().splitlines() == [
        "- ✓ plusone held every promise that it claims and that was tested, in 1 run on 1 datastore: 14,203 operations,"
        " 144 faults.",
        "",
        "| datastore | plusone |",
        "| --- | --- |",
        "| Redis 7.0.15, every write flushed | ✓ held |",
        "",
        "[![The head of the report](docs/report/report.png)](docs/report/index.html)",
    ]
