"""How the PostgreSQL store's tables come to be: by setup, by opening, by several at once, or not at all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence

import pytest

pytest.importorskip("asyncpg")

from plusone.errors import StoreRefused
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.postgresql import postgresql_server, url_of
from plusone.stores import resources
from plusone.stores.postgresql import migration
from plusone.stores.protocol import Answer, TokenWrite
from tests.conformance.harness import add, apply, asynchronous, opened, state
from tests.servers.postgresql import (
    connected,
    own_schema,
    run,
    schema_of,
    skip_without_postgresql,
    store_at,
)

skip_without_postgresql(own=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with postgresql_server() as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_schema(url_of(server))


async def tables(url: str) -> set[str]:
    async with connected(url) as connection:
        found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema_of(url))
        return {name for [name] in found}


@asynchronous
async def test_setup_says_what_it_does_and_does_it_once(url: str) -> None:
    would = await store_at(url).setup(dry_run=True)
    assert await tables(url) == set()
    did = await store_at(url).setup(dry_run=False)
    assert did == would
    assert did[0] == f'CREATE SCHEMA "{schema_of(url)}"'
    assert sum("CREATE TABLE" in statement for statement in did) == 3
    assert not any("{schema}" in statement for statement in did)
    assert await tables(url) == {"counters", "tokens", "schema_version"}
    assert list(await store_at(url).setup(dry_run=True)) == []
    assert list(await store_at(url).setup(dry_run=False)) == []


@asynchronous
async def test_what_setup_prints_is_all_that_is_needed(url: str) -> None:
    """An administrator may run it by hand."""
    statements = await store_at(url).setup(dry_run=True)
    async with connected(url) as connection:
        for statement in statements:
            await connection.execute(statement)
    async with opened(store_at(url)) as store:
        assert await apply(store, add(1)) == Answer("applied", 0, 0, False)


@asynchronous
async def test_many_set_up_at_once(url: str) -> None:
    """One does it; the others wait, and find it done."""
    steps = await asyncio.gather(*(store_at(url).setup(dry_run=False) for _ in range(8)))
    assert sorted(map(len, steps))[:7] == [0] * 7
    async with opened(store_at(url)) as store:
        assert list(await store.setup(dry_run=True)) == []


@asynchronous
async def test_a_schema_that_is_there_is_taken(url: str) -> None:
    async with connected(url) as connection:
        await connection.execute(f"CREATE SCHEMA {schema_of(url)}")
    assert not any("CREATE SCHEMA" in statement for statement in await store_at(url).setup(dry_run=False))


@pytest.mark.parametrize(
    ("lost", "steps"),
    [
        ("TABLE {schema}.tokens", ["TABLE IF NOT EXISTS {schema}.tokens", "INDEX IF NOT EXISTS tokens_expiring"]),
        ("TABLE {schema}.counters", ["TABLE IF NOT EXISTS {schema}.counters", "INDEX IF NOT EXISTS counters_expiring"]),
        ("INDEX {schema}.tokens_expiring", ["INDEX IF NOT EXISTS tokens_expiring"]),
        ("INDEX {schema}.counters_expiring", ["INDEX IF NOT EXISTS counters_expiring"]),
    ],
)
@pytest.mark.parametrize("by", ["setup", "open"])
@asynchronous
async def test_what_is_missing_is_made_again(url: str, lost: str, steps: Sequence[str], by: str) -> None:
    """Whatever the version says; and the rest stays as it is."""
    quoted = f'"{schema_of(url)}"'
    async with opened(store_at(url)) as store, connected(url) as connection:
        await apply(store, add(1, key="default/kept"))
        await connection.execute(f"DROP {lost.format(schema=quoted)}")
    planned = await store_at(url).setup(dry_run=True)
    assert [re.search(r"^CREATE (.+?)( \(| ON )", step, re.MULTILINE)[1] for step in planned] == [  # type: ignore[index]
        step.format(schema=quoted) for step in steps
    ]
    if by == "setup":
        assert await store_at(url).setup(dry_run=False) == planned
    async with opened(store_at(url)) as store:
        assert list(await store.setup(dry_run=True)) == []
        tokens = (TokenWrite("t", "notes"),)
        assert (await apply(store, add(1, key="default/other", tokens=tokens))).status == "applied"
        assert await state(store, "default/kept") == ((0, 0, False) if lost.endswith("counters") else (1, 1, True))


@pytest.mark.parametrize("lost", ["DROP TABLE {schema}.schema_version", "DELETE FROM {schema}.schema_version"])
@asynchronous
async def test_a_version_that_went_is_written_again(url: str, lost: str) -> None:
    """The tables that are there are kept, with what was counted."""
    async with opened(store_at(url)) as store, connected(url) as connection:
        await apply(store, add(1))
        await connection.execute(lost.format(schema=schema_of(url)))
    async with opened(store_at(url)) as store:
        assert list(await store.setup(dry_run=True)) == []
        assert await state(store) == (1, 1, True)


@asynchronous
async def test_tables_of_a_newer_version_are_left_alone(url: str) -> None:
    newer = len(resources.migrations(migration.__package__)) + 1
    await store_at(url).setup(dry_run=False)
    async with connected(url) as connection:
        await connection.execute(f"UPDATE {schema_of(url)}.schema_version SET version = {newer}")
    for attempt in (store_at(url).open(), store_at(url).setup(dry_run=False)):
        with pytest.raises(StoreRefused, match="newer plusone"):
            await attempt


@asynchronous
async def test_a_user_who_may_not_create_tables_is_told_of_setup(url: str, server: ServerProcess) -> None:
    """And once somebody has set it up, this user needs no more rights than to read and write."""
    schema = schema_of(url)
    async with connected(url) as connection:
        await connection.execute(f"CREATE USER {schema}_counting PASSWORD 'secret'")
        try:
            restricted = url.replace(url_of(server).partition("@")[0], f"postgresql://{schema}_counting:secret")
            with pytest.raises(StoreRefused, match=r"permission denied.*plusone setup"):
                await store_at(restricted).open()
            await store_at(url).setup(dry_run=False)
            with pytest.raises(StoreRefused, match="permission denied"):
                await store_at(restricted).open()
            await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}_counting")
            await connection.execute(f"GRANT SELECT ON {schema}.schema_version TO {schema}_counting")
            async with opened(store_at(restricted)) as store:
                with pytest.raises(StoreRefused, match=r"permission denied.*grant this one"):
                    await apply(store, add(1))
                await connection.execute(
                    f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {schema}_counting"
                )
                assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        finally:
            await connection.execute(f"DROP OWNED BY {schema}_counting")
            await connection.execute(f"DROP USER {schema}_counting")


@asynchronous
async def test_tables_that_went_are_asked_for(url: str) -> None:
    """Definite, and with what to do; once they are there again, the same store goes on."""
    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        async with connected(url) as connection:
            await connection.execute(f"DROP SCHEMA {schema_of(url)} CASCADE")
        with pytest.raises(StoreRefused, match="run plusone setup"):
            await apply(store, add(1, seq=2, acked=1))
        await store.setup(dry_run=False)
        assert await apply(store, add(1, seq=2, acked=1)) == Answer("gap", last=0)
        async with connected(url) as connection:
            await connection.execute(f"DROP TABLE {schema_of(url)}.tokens")
        tokens = (TokenWrite("t", "notes"),)
        with pytest.raises(StoreRefused, match="run plusone setup"):
            await apply(store, add(1, tokens=tokens))
        await store.setup(dry_run=False)
        assert await apply(store, add(1, tokens=tokens)) == Answer("applied", 0, 0, False)


def test_a_database_of_another_encoding_is_refused(url: str, server: ServerProcess) -> None:
    run(url, "CREATE DATABASE latin ENCODING LATIN1 LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(StoreRefused, match="encoding is LATIN1"):
            asyncio.run(store_at(url_of(server, database="latin")).open())
    finally:
        run(url, "DROP DATABASE latin")
