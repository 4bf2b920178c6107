"""How the Momento store fails, on an emulator: credentials, hosts, TLS, setup, cancellation, and its gRPC channels."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")
pytest.importorskip("google.protobuf")

import grpc.aio

from plusone.errors import OutcomeUnknown, StoreRefused, StoreUnavailable
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.momento import VARIABLE, api_key, momento_emulator, url_of
from plusone.stores.momento import settings
from plusone.stores.momento.store import MomentoStore
from plusone.stores.protocol import Answer, Store
from tests.conformance.harness import add, apply, asynchronous, opened, state
from tests.servers.momento import own_prefix, store_at


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with momento_emulator() as server, api_key():
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield own_prefix(url_of(server))


# Who may, and where.


@asynchronous
async def test_a_wrong_api_key(url: str) -> None:
    with api_key("wrong"):
        store = store_at(url)
    with pytest.raises(
        StoreRefused, match=f"UNAUTHENTICATED: .*; check the API key in the environment variable {VARIABLE}"
    ) as caught:
        await store.open()
    assert "wrong" not in str(caught.value)
    with pytest.raises(StoreRefused, match="UNAUTHENTICATED"):
        await store.setup(dry_run=True)
    with pytest.raises(StoreRefused, match="UNAUTHENTICATED"):
        await store.apply([add(1)])
    await store.close()


@pytest.mark.parametrize(
    ("endpoint", "advice"),
    [("127.0.0.1:1", "see that the server runs, and"), ("nobody.invalid:443", "no such host; see")],
)
@asynchronous
async def test_nobody_there_is_definite(endpoint: str, advice: str, server: ServerProcess) -> None:
    store = store_at(f"momento://c?endpoint={endpoint}&api_key_from={VARIABLE}")
    for ask in (store.open, store.check, lambda: store.apply([add(1)]), lambda: store.setup(dry_run=False)):
        with pytest.raises(StoreUnavailable, match=rf"^Momento: UNAVAILABLE: .*; {advice} endpoint in the store URL"):
            await ask()
    await store.close()


@asynchronous
async def test_what_is_no_momento_is_found_out() -> None:
    """Something that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = store_at(f"momento://c?endpoint=127.0.0.1:{silent.getsockname()[1]}&connect_timeout=100")
        with pytest.raises(StoreUnavailable, match="Momento: DEADLINE_EXCEEDED"):
            await store.open()
        await store.close()


@asynchronous
async def test_setup_creates_the_cache_that_is_missing(server: ServerProcess) -> None:
    url = url_of(server, cache="another")
    store = store_at(url)
    with pytest.raises(StoreRefused, match=r"NOT_FOUND: .*; run `plusone setup` to create the cache"):
        await store.open()
    assert await store.setup(dry_run=True) == ("CreateCache another",)
    assert await store.setup(dry_run=True) == ("CreateCache another",)
    several = await asyncio.gather(*(store_at(url).setup(dry_run=False) for _ in range(3)))
    assert ("CreateCache another",) in several
    assert await store.setup(dry_run=False) == ()
    assert await store.setup(dry_run=True) == ()
    async with opened(store):
        assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        await store.check()


# TLS.


@asynchronous
async def test_tls_takes_the_certificate_that_is_trusted_and_named_so(certificate: tuple[Path, Path]) -> None:
    key, trusted = certificate
    with momento_emulator("--certificate", str(trusted), "--key", str(key), tls=True) as server, api_key():
        async with opened(store_at(url_of(server, host="localhost", tls="yes", ca_file=str(trusted)))) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        for refused in (
            url_of(server, host="127.0.0.1", tls="yes", ca_file=str(trusted)),  # another name
            url_of(server, host="localhost", tls="yes"),  # signed by nobody known
        ):
            store = store_at(refused)
            with pytest.raises(StoreRefused, match="; check ca_file, and that the endpoint is the name"):
                await store.open()
            await store.close()
        plain = store_at(url_of(server))
        with pytest.raises(StoreUnavailable, match="if it speaks TLS, say tls=yes in the store URL"):
            await plain.open()
        await plain.close()


# gRPC.


def test_channels_do_not_repeat_and_do_not_share_connections(
    monkeypatch: pytest.MonkeyPatch, server: ServerProcess
) -> None:
    made: list[dict[str, Any]] = []

    def insecure_channel(target: str, *, options: Any, **rest: Any) -> Any:
        assert not rest, "no interceptor repeats a call either"
        made.append(dict(options))
        return real(target, options=options)

    real = grpc.aio.insecure_channel
    monkeypatch.setattr(grpc.aio, "insecure_channel", insecure_channel)

    async def open_and_setup() -> None:
        async with opened(store_at(url_of(server))) as store:
            await store.setup(dry_run=True)

    asyncio.run(open_and_setup())
    assert len(made) == 2
    for options in made:
        assert options["grpc.enable_retries"] == 0
        assert options["grpc.use_local_subchannel_pool"] == 1
        assert options["grpc.service_config_disable_resolution"] == 1
        assert "grpc.service_config" not in options
    assert settings._OPTIONS  # the channels over TLS take the same


@asynchronous
async def test_a_cancelled_call_gives_up_a_silent_connection(url: str, server: ServerProcess) -> None:
    async with opened(store_at(url)) as store:
        assert isinstance(store, MomentoStore)
        await apply(store, add(1))
        connection = await store._connections.ready()
        with server.paused():
            under_way = asyncio.ensure_future(store.apply([add(2, seq=2, acked=1)]))
            done, _ = await asyncio.wait([under_way], timeout=0.05)
            assert not done
            under_way.cancel()
            with pytest.raises(asyncio.CancelledError):
                await under_way
            assert not connection.good
        answer = await apply(store, add(2, seq=2, acked=1))
        assert (answer.status in ("applied", "duplicate"), answer.value) == (True, 1)
        assert await store._connections.ready() is not connection
        assert await state(store) == (3, 2, True)


@asynchronous
async def test_a_restarted_server_is_found_again() -> None:
    with momento_emulator() as server, api_key():
        async with opened(store_at(url_of(server))) as store:
            await apply(store, add(1))
            await asyncio.to_thread(server.kill)
            with pytest.raises(StoreUnavailable):
                await asked_until_it_is_gone(store)
            await asyncio.to_thread(server.start)
            assert await apply(store, add(1, seq=2, acked=1)) == Answer("gap", last=0)


async def asked_until_it_is_gone(store: Store) -> None:
    """Raises `StoreUnavailable`, once the loop has seen the connection end."""
    for _ in range(1_000):
        [answer] = await store.apply([add(1, seq=2, acked=1)])
        assert isinstance(answer, OutcomeUnknown | StoreUnavailable)


@asynchronous
async def test_closing_while_calls_are_under_way(url: str, server: ServerProcess) -> None:
    """They fail as ambiguous, and the store can be used again."""
    store = store_at(url)
    await store.open()
    await apply(store, add(1))
    with server.paused():
        under_way = asyncio.ensure_future(store.apply([add(1, seq=2, acked=1)]))
        await asyncio.wait([under_way], timeout=0.05)
        await store.close()
        await store.close()
        [answer] = await under_way
        assert isinstance(answer, OutcomeUnknown)
    async with opened(store):
        assert (await apply(store, add(1, seq=2, acked=1))).status in ("applied", "duplicate")
        assert await state(store) == (2, 2, True)
