"""The file: its schema, whose it is, where it is, and what the URL says of it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from plusone.errors import ConfigurationError, InvalidRequest, StoreRefused
from plusone.stores.protocol import Answer, TokenWrite
from plusone.stores.sqlite import connection as connections
from tests.conformance.harness import NOTES, A, B, add, apply, state
from tests.unit.sqlite_files import open_store, query, store_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters.db"


SCHEMA_1 = f"""
    PRAGMA application_id = 1886156147;
    CREATE TABLE counters (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value INTEGER NOT NULL,
        revision INTEGER NOT NULL, expires_ms INTEGER, updated_ms INTEGER, writer TEXT NOT NULL, seq INTEGER NOT NULL,
        value_before INTEGER, revision_before INTEGER NOT NULL, existed_before INTEGER NOT NULL,
        written_ms INTEGER NOT NULL, others TEXT NOT NULL) STRICT;
    CREATE INDEX counters_expiring ON counters (expires_ms, id) WHERE expires_ms IS NOT NULL;
    CREATE TABLE tokens (counter INTEGER NOT NULL REFERENCES counters (id), token TEXT NOT NULL, data TEXT NOT NULL,
        value INTEGER NOT NULL, revision INTEGER NOT NULL, existed INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
        PRIMARY KEY (counter, token)) STRICT, WITHOUT ROWID;
    CREATE INDEX tokens_expiring ON tokens (expires_ms);
    INSERT INTO counters VALUES (7, 'default/counter', 12, 2, NULL, 1800000000000, '{B}', 4, 5, 1, 1, 1800000000000,
        '{{"{A}":[3,0,0,0,1799999999000]}}');
    INSERT INTO tokens VALUES (7, 't', 'notes', 5, 1, 1, 4000000000000);
    PRAGMA user_version = 1;
"""
"""A file as schema 1 left it. It stays when the schema moves on."""


def test_a_file_of_schema_1_is_understood(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_1)

    async def run() -> None:
        async with open_store(path) as store:
            assert await state(store) == (12, 2, True)
            assert await apply(store, add(7, writer=B, seq=4)) == Answer("duplicate", 5, 1, True)
            assert await apply(store, add(5, seq=3)) == Answer("duplicate", 0, 0, False)
            again = await apply(store, add(1, seq=4, acked=3, tokens=(TokenWrite("t", NOTES),)))
            assert [(record.data, record.value, record.revision) for record in again.tokens] == [("notes", 5, 1)]
            assert await apply(store, add(1, seq=4, acked=3)) == Answer("applied", 12, 2, True)

    asyncio.run(run())


def test_the_schema_goes_forward_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def count(value: int) -> None:
        async with open_store(path) as store:
            assert (await apply(store, add(1, seq=value + 1))).value == value

    asyncio.run(count(0))
    second = ["-- One more; with a semicolon.\nALTER TABLE counters ADD COLUMN more TEXT", "CREATE TABLE t (a)"]
    scripts = [*connections._migrations(), second]
    monkeypatch.setattr(connections, "_migrations", lambda: scripts)
    for value in (1, 2):
        asyncio.run(count(value))
        assert query(path, "PRAGMA user_version") == [(2,)]
    monkeypatch.undo()
    with pytest.raises(StoreRefused, match="newer plusone"):
        asyncio.run(count(3))
    assert query(path, "SELECT value, more FROM counters") == [(3, None)]


def test_a_schema_script_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start() -> None:
        async with open_store(path):
            pass

    asyncio.run(start())
    scripts = [*connections._migrations(), ["CREATE TABLE more (a)", "CREATE TABLE counters (a)"]]
    monkeypatch.setattr(connections, "_migrations", lambda: scripts)
    with pytest.raises(StoreRefused, match="already exists"):
        asyncio.run(start())
    monkeypatch.undo()
    asyncio.run(start())
    assert query(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'more'") == [(0,)]


@pytest.mark.parametrize("kind", ["database", "text"])
def test_a_file_of_others_is_refused_and_left_as_it_is(path: Path, kind: str) -> None:
    if kind == "database":
        query(path, "CREATE TABLE counters (id INTEGER PRIMARY KEY)")
    else:
        path.write_text("name,value\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreRefused, match=r"another application|NOTADB"):
        asyncio.run(_open_and_close(f"sqlite://{path}"))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["counters.db"]


@pytest.mark.parametrize(("parameters", "synchronous"), [("", 2), ("?synchronous=full", 2), ("?synchronous=normal", 1)])
def test_durability_is_what_the_url_says(
    path: Path, monkeypatch: pytest.MonkeyPatch, parameters: str, synchronous: int
) -> None:
    seen: list[object] = []

    def looked_at(path: Path, synchronous: str, busy_seconds: float) -> sqlite3.Connection:
        connection = connections.connect_writer(path, synchronous, busy_seconds)
        for pragma in ("synchronous", "journal_mode"):
            seen.extend(connection.execute(f"PRAGMA {pragma}").fetchone())
        return connection

    monkeypatch.setattr("plusone.stores.sqlite.writer.connect_writer", looked_at)
    asyncio.run(_open_and_close(f"sqlite://{path}{parameters}"))
    assert seen == [synchronous, "wal"]


def test_a_file_that_is_not_there_is_not_made_where_the_url_says_so(path: Path) -> None:
    """Setup is asked for what it makes, and makes it."""
    for folder in (path.parent, path.parent / "folder"):
        url = f"sqlite:{folder / 'typo.db'}?create=no"
        with pytest.raises(ConfigurationError, match=r"there is no file .*typo\.db; counting makes it"):
            asyncio.run(_open_and_close(url))
    assert list(path.parent.iterdir()) == []
    assert asyncio.run(store_of(url).setup(dry_run=False))
    asyncio.run(_open_and_close(url))


def test_the_promise_follows_the_setting(path: Path) -> None:
    full, normal = (store_of(f"sqlite:{path}?synchronous={setting}") for setting in ("full", "normal"))
    assert full.capabilities.durable == "process crash and loss of power (synchronous=full)"
    assert normal.capabilities.durable == "process crash; a loss of power may take the latest (synchronous=normal)"


async def _open_and_close(url: str) -> None:
    store = store_of(url)
    await store.open()
    await store.open()
    await store.close()


def test_folders_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_open_and_close(f"sqlite://{tmp_path}/a/b%20c/x%23%3F.db"))
    assert (tmp_path / "a" / "b c" / "x#?.db").exists()
    monkeypatch.chdir(tmp_path)
    asyncio.run(_open_and_close("sqlite:data/counters.db"))
    assert (tmp_path / "data" / "counters.db").exists()


def test_a_folder_that_cannot_be_made(path: Path) -> None:
    path.write_text("")
    with pytest.raises(ConfigurationError, match="cannot make the folder"):
        asyncio.run(_open_and_close(f"sqlite://{path}/below/counters.db"))


def test_a_path_that_is_a_folder_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreRefused, match="CANTOPEN"):
        asyncio.run(_open_and_close(f"sqlite://{path}"))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite://counters.db", "sqlite:///absolute"),
        ("sqlite://host/counters.db", "sqlite:///absolute"),
        ("sqlite:", "must name a file"),
        ("sqlite:///", "must name a file"),
        ("sqlite:data/", "must name a file"),
        ("sqlite:a%00b", "must name a file"),
        ("sqlite:a#b", "%23"),
        ("sqlite::memory:", "not durable"),
        ("sqlite:///:memory:", "not durable"),
        ("sqlite:a.db?synchronous=off", "full or normal"),
        ("sqlite:a.db?busy_timeout=61", "from 0 to 60"),
        ("sqlite:a.db?journal_mode=wal", "unknown parameter"),
    ],
)
def test_urls_that_are_refused(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        store_of(url)


def test_page_tokens_are_those_of_the_listing(path: Path) -> None:
    async def run() -> None:
        async with open_store(path) as store:
            await store.apply([add(1, key=f"default/{name}") for name in ("a", "b\U0010ffff", "b\U0010ffffc", "c")])
            [[(first, _)], page_token] = await store.list("default/", 1, None)
            assert first == "default/a"
            page, end = await store.list("default/b", 5, None)
            assert [key for key, _ in page] == ["default/b\U0010ffff", "default/b\U0010ffffc"]
            assert end is None
            assert page_token is not None
            for foreign in (
                "",
                "=",
                page_token + "=",
                page_token + "A",
                " " + page_token,
                "gICA",
                "b3RoZXIvYQ",
                "\u00e9",
            ):
                with pytest.raises(InvalidRequest, match="page_token"):
                    await store.list("default/", 1, foreign)

    asyncio.run(run())
