"""What verify and compare are pointed at: refused before anything is begun, and left as it was."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plusone.cli import app
from plusone.lab import servers
from plusone.lab.verify import verify


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Nobody listens at it, and nobody else gets it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize("command", ["verify", "compare"])
@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}/0", "dynamodb://table?region=x&endpoint=http://127.0.0.1:{}"])
def test_a_datastore_out_of_reach(command: str, url: str, closed_port: int, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    result = CliRunner().invoke(app, [command, url.format(closed_port), "--output", str(run)])
    assert (result.exit_code, f"is out of reach (127.0.0.1:{closed_port}: " in result.stderr) == (3, True)
    assert "left behind" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("redis", "--faults", "failover"),
            "redis cannot be verified under 'failover': offered: replies, partition, clock, kill, pause, disk_full",
        ),
        (("memory:", "--subject", "all", "--faults", "disk_full"), "cannot be verified under disk_full with any"),
        (("dynamodb:counters",), "dynamodb: the store URL must read dynamodb://"),
        (("nonsense", "--list-subjects"), "'nonsense' is neither a store URL, nor a server that the lab starts (redis"),
        (("sqlite:nowhere/counters.db",), "sqlite: there is no folder nowhere; name a file in one that exists"),
    ],
)
def test_what_is_refused_before_anything_is_started(
    arguments: Sequence[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(servers, "start", None)
    result = CliRunner().invoke(app, ["verify", *arguments])
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["redis-sentinel", "redis+sentinel", "redis+sentinel://a:1/name"])
def test_subjects_are_listed_by_server_scheme_and_url(name: str) -> None:
    result = CliRunner().invoke(app, ["verify", name, "--list-subjects", "--json"])
    listed = [json.loads(line)["name"] for line in result.stdout.splitlines()]
    assert listed[:3] == ["plusone", "service", "redis-incrby"]


def test_a_file_that_the_run_made_goes_with_it(tmp_path: Path) -> None:
    [found] = verify(f"sqlite:{tmp_path}/counters.db", seconds=1, seed=1, output=tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not [note for note in found.notes if "tables stay" in note]


def test_what_stays_in_somebodys_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "counters.db").touch()
    [found] = verify(f"sqlite:{tmp_path}/counters.db", seconds=1, seed=1, output=tmp_path / "run")
    assert [note for note in found.notes if "tables stay" in note] == [
        "plusone's own tables stay; what was counted is deleted, and its rows go an hour later, when some plusone"
        " process counts there"
    ]
    assert (tmp_path / "counters.db").stat().st_size > 0


def test_a_subject_that_cannot_bear_a_fault_says_that_it_was_left_out(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/counters.db"
    plusone, service, *_ = verify(url, subjects=["all"], faults=["kill"], seconds=1, seed=1, output=tmp_path / "run")
    assert "left out of what was asked for: kill; it can be verified under clock here" in plusone.notes
    assert (plusone.calm_only, plusone.no_fault) == (True, "kill cannot befall it here")
    assert (service.calm_only, service.no_fault) == (False, "")
    assert not [note for note in service.notes if note.startswith("left out")]
