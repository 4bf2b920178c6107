"""Each recipe on the real datastore that it is for: what `verify` finds is what the recipe is known to get wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plusone.cli import app
from plusone.errors import ConfigurationError
from plusone.lab import servers
from plusone.lab.subjects.registry import SUBJECTS, expected, named, subjects_for
from plusone.lab.verify import FaultName, verify

SECONDS = 4.0
SEED = 7
RECIPES = [
    *(("redis", name) for name in SUBJECTS if name.startswith("redis-")),
    *(("dynamodb", name) for name in SUBJECTS if name.startswith("dynamodb-")),
    *(("mongodb", name) for name in SUBJECTS if name.startswith("mongodb-")),
    *(("mariadb", name) for name in SUBJECTS if name.startswith("mysql-")),
    *(("tidb", name) for name in SUBJECTS if name.startswith("mysql-")),
    *(("postgresql", name) for name in SUBJECTS if name.startswith("postgresql-")),
    *(("momento", name) for name in SUBJECTS if name.startswith("momento-")),
    *(("etcd", name) for name in SUBJECTS if name.startswith("etcd-")),
]


@pytest.fixture(scope="module")
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    name: str = request.param
    if reason := servers.missing(name):
        pytest.skip(reason)
    with servers.start(name) as server:
        yield server.url


@pytest.mark.filterwarnings(
    # PyMongo, asyncmy and gRPC leave to the garbage collector what is cut while it connects.
    "ignore:unclosed:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.parametrize(("server_url", "name"), RECIPES, indirect=["server_url"])
def test_a_recipe_has_its_weaknesses_and_no_others(server_url: str, name: str, tmp_path: Path) -> None:
    faults: list[FaultName] = ["replies"]
    [found] = verify(server_url, subjects=[name], faults=faults, seconds=SECONDS, seed=SEED, output=tmp_path)
    sentences = [f"{each.kind}: {each.sentence}" for each in found.contradictions]
    has_to, may = expected(SUBJECTS[name], found.store)
    kinds = {each.kind for each in found.contradictions}
    assert has_to <= kinds <= may, (found.command, sentences)
    assert not found.held
    assert found.faults["cut_after_request"] >= 3
    assert not [note for note in found.notes if note.startswith("left behind")]


def test_sqlite_recipes(tmp_path: Path) -> None:
    """Without a network nothing is lost on it; two statements in a row are two steps nevertheless."""
    url = f"sqlite:{tmp_path}/counters.db"
    names = ["sqlite-upsert", "sqlite-select-then-update"]
    upsert, select = verify(url, subjects=names, seconds=2, seed=SEED, output=tmp_path / "run")
    assert (upsert.held, upsert.contradictions) == (True, ())
    assert not select.held
    assert {each.kind for each in select.contradictions} == SUBJECTS["sqlite-select-then-update"].weaknesses


def test_names_are_listed_in_one_piece() -> None:
    """They are to be typed: on a terminal of 80 columns too."""
    listed = CliRunner().invoke(app, ["verify", "--list-subjects"], env={"COLUMNS": "80"}).stdout
    assert {line.split(" ")[0] for line in listed.splitlines()} >= set(SUBJECTS)


def test_what_counts_on_which_datastore() -> None:
    everywhere = ["plusone", "service"]
    assert [each.name for each in subjects_for("memory")] == everywhere
    assert [each.name for each in subjects_for("etcd")] == [*everywhere, "etcd-put-if-unchanged"]
    assert [each.name for each in subjects_for("tidb")] == [
        *everywhere,
        "mysql-upsert",
        "mysql-upsert-then-read",
        "mysql-select-then-update",
    ]
    assert subjects_for("nonsense") == []


@pytest.mark.parametrize(
    ("name", "scheme", "said"),
    [
        ("redis-incrby", "etcd", "subject 'redis-incrby' does not count on etcd: known there are plusone, service,"),
        ("redis-icnrby", "redis", "subject 'redis-icnrby' is no subject, on redis: known there are plusone, service,"),
    ],
)
def test_a_subject_that_does_not_fit(name: str, scheme: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        named(name, scheme)


def test_the_documents_table_of_recipes() -> None:
    text = Path("docs/lab.md").read_text(encoding="utf-8")
    for subject in SUBJECTS.values():
        if subject.name not in ("plusone", "service"):
            found = ", ".join(sorted(subject.weaknesses)) or "nothing: no network, and one statement"
            assert f"| `{subject.name}` | {subject.title} | {found} | {subject.found} |" in text
    rare = [f"`{subject.name}`: {', '.join(sorted(subject.rare))}" for subject in SUBJECTS.values() if subject.rare]
    assert f"({'; '.join(rare)})" in " ".join(text.split())
