"""Whom the PostgreSQL store cannot count on, and what it says: credentials, names, certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("asyncpg")

from plusone.errors import PlusoneError, StoreRefused, StoreUnavailable
from plusone.lab.processes import ServerProcess, free_port
from plusone.lab.servers.postgresql import PASSWORD, postgresql_server, url_of
from plusone.stores.postgresql.store import PostgreSQLStore
from plusone.stores.protocol import Answer, GuardedAdd
from tests.conformance.harness import add, apply, asynchronous, opened
from tests.servers.postgresql import connected, own_schema, skip_without_postgresql, store_at

skip_without_postgresql(own=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with postgresql_server("deadlock_timeout=2s") as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_schema(url_of(server))


async def attempt(store: PostgreSQLStore, request: GuardedAdd) -> Answer | StoreUnavailable:
    """The answer, or why there is none yet."""
    try:
        return await apply(store, request)
    except StoreUnavailable as error:
        return error


def definite(url: str, error: type[PlusoneError], says: str) -> None:
    """Opening, and applying, fail so; and no password is in the message."""
    for action in (lambda: store_at(url).open(), lambda: apply(store_at(url), add(1))):
        with pytest.raises(error, match=says) as raised:
            asyncio.run(action())
        assert str(raised.value).startswith("PostgreSQL: ")
        assert PASSWORD not in str(raised.value)
        assert "secret" not in str(raised.value)


def test_a_wrong_password(server: ServerProcess) -> None:
    definite(url_of(server, user="postgres:secret"), StoreRefused, "correct the user and the password")


def test_an_unknown_user(server: ServerProcess) -> None:
    definite(url_of(server, user="nobody:secret"), StoreRefused, "correct the user and the password")


def test_an_unknown_database(server: ServerProcess) -> None:
    definite(url_of(server, database="absent"), StoreRefused, "create the database")


def test_an_unknown_host(server: ServerProcess) -> None:
    definite(url_of(server, host="host.invalid"), StoreUnavailable, "cannot be resolved.*percent-encoded")


def test_nobody_there() -> None:
    advice = "see that the server runs, and that host and port in the store URL are right"
    definite(f"postgresql://postgres:secret@127.0.0.1:{free_port()}/postgres", StoreUnavailable, advice)


def test_a_server_that_does_not_answer(server: ServerProcess) -> None:
    with server.paused():
        definite(url_of(server, connect_timeout=100), StoreUnavailable, "no answer in time")


@asynchronous
async def test_a_full_server() -> None:
    """53300: no connection is left. Definite, for nothing was sent; when one is given up, counting goes on."""
    with postgresql_server("max_connections=4", "superuser_reserved_connections=0", "max_wal_senders=0") as server:
        url = url_of(server)
        async with opened(store_at(url)) as store:
            async with connected(url), connected(url), connected(url), connected(url):
                with pytest.raises(StoreUnavailable, match=r"53300.*max_connections"):
                    await apply(store, add(1))
            # The server may not have noticed yet that they are gone.
            while isinstance(answer := await attempt(store, add(1)), StoreUnavailable):
                assert "53300" in str(answer)
            assert answer == Answer("applied", 0, 0, False)


def test_a_server_that_forgets_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with postgresql_server("synchronous_commit=off") as server:
        asyncio.run(open_and_close(url_of(server)))
        [record] = [record for record in caplog.records if record.name == "plusone.stores.postgresql"]
        assert record.levelname == "WARNING"
        assert "synchronous_commit is off" in record.getMessage()


async def open_and_close(url: str) -> None:
    async with opened(store_at(url)):
        pass


# TLS.


def test_tls_takes_the_certificate_that_is_trusted_and_named_so(certificate: tuple[Path, Path]) -> None:
    key, trusted = certificate
    with postgresql_server(files={"server.key": key.read_text(), "server.crt": trusted.read_text()}) as server:

        def url(host: str, sslmode: str, **parameters: str) -> str:
            return url_of(server, host=host, sslmode=sslmode, **parameters)

        for served in (
            url("localhost", "verify-full", sslrootcert=str(trusted)),
            url("127.0.0.1", "verify-ca", sslrootcert=str(trusted)),
            url("127.0.0.1", "require"),
            url("127.0.0.1", "prefer"),
        ):
            assert asyncio.run(is_encrypted(served))
        assert not asyncio.run(is_encrypted(url("127.0.0.1", "disable")))
        definite(url("127.0.0.1", "verify-full", sslrootcert=str(trusted)), StoreRefused, "as its certificate does")
        definite(url("localhost", "verify-full"), StoreRefused, "whom to trust")


def test_tls_with_a_server_that_has_none(server: ServerProcess) -> None:
    definite(url_of(server, sslmode="require"), StoreRefused, "rejected SSL upgrade; switch TLS on.*sslmode=prefer")
    assert not asyncio.run(is_encrypted(url_of(server, sslmode="prefer")))


async def is_encrypted(url: str) -> bool:
    async with opened(store_at(url)) as store:
        await store.check()
        [link] = store.primary.idle
        return bool(await link.driver.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
