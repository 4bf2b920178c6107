"""How the etcd store fails, on real servers: members that die, who may not, TLS, nobody there, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aetcd")

from aetcd import rpc

from plusone import Counters
from plusone.errors import OutcomeUnknown, StoreRefused, StoreUnavailable
from plusone.lab.faults import Faults
from plusone.lab.processes import ServerProcess, free_port
from plusone.lab.proxy import Proxy
from plusone.lab.servers.etcd import etcd_cluster, etcd_server, url_of
from plusone.statistics import Limits
from plusone.stores.etcd.store import EtcdStore
from plusone.stores.protocol import Answer
from tests.conformance.harness import add, apply, asynchronous, opened, state
from tests.servers.etcd import ask, own_prefix, skip_without_etcd, store_at

skip_without_etcd(own=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with etcd_server() as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_prefix(url_of(server))


@pytest.fixture(scope="module")
def members() -> Iterator[Sequence[ServerProcess]]:
    with etcd_cluster() as members:
        yield members


# Members that die.


def status(member: ServerProcess) -> Any:
    return ask(url_of(member), lambda channel: rpc.MaintenanceStub(channel).Status(rpc.StatusRequest()))


def leader_of(members: Sequence[ServerProcess]) -> ServerProcess:
    [leader] = [member for member in members if (found := status(member)).leader == found.header.member_id]
    return leader


@pytest.mark.parametrize("stand_still", [False, True])
def test_a_leader_that_dies_under_load_loses_nothing(members: Sequence[ServerProcess], stand_still: bool) -> None:
    """Killed, or standing still, and back again: every value is answered once, and none is missing."""
    leader = leader_of(members)
    others = [member for member in members if member is not leader]
    # First in the URL, so that it is the one that we are connected to.
    for url in own_prefix(url_of(leader, *others)):
        under_load(url, leader, others, stand_still)


@asynchronous
async def under_load(url: str, leader: ServerProcess, others: Sequence[ServerProcess], stand_still: bool) -> None:
    async with Counters(store_at(url), limits=Limits(timeout=60, attempt_timeout=0.5)) as counters:
        halfway, most = asyncio.Event(), asyncio.Event()
        answered = 0

        async def caller(number: int) -> list[tuple[int, int]]:
            nonlocal answered
            values = []
            for _ in range(24):
                values.append((number % 25, (await counters.increment(f"c{number % 25}")).value))
                answered += 1
                if answered == 600:
                    halfway.set()
                if answered == 900:
                    most.set()
            return values

        counting = asyncio.gather(*(caller(number) for number in range(50)))
        await halfway.wait()
        if stand_still:
            leader.pause()
        else:
            leader.kill()
        await most.wait()  # the other two have another leader by then
        if stand_still:
            leader.resume()
        else:
            await asyncio.to_thread(leader.start)
        values = sorted(value for values in await counting for value in values)
        assert values == [(counter, value) for counter in range(25) for value in range(1, 49)]
        found = await counters.get_many([f"c{number}" for number in range(25)])
        assert [counter.value for counter in found] == [48] * 25
        statistics = counters.statistics
        assert statistics.gaps_total == statistics.unknown_total == 0
        assert statistics.ambiguous_total + statistics.failures_total >= 20


@asynchronous
async def test_a_member_that_is_away_is_passed_over(members: Sequence[ServerProcess]) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    url = url_of(*members, prefix="passed/").replace("etcd://", f"etcd://{nobody},absent.invalid:2379,")
    async with opened(store_at(url)) as store:
        assert await apply(store, add()) == Answer("applied", 0, 0, False)


@asynchronous
async def test_without_most_members_nothing_is_counted() -> None:
    """One of three is left: it has no leader, and says so before it takes anything."""
    with etcd_cluster() as members:
        async with opened(store_at(url_of(*members))) as store:
            await apply(store, add())
            members[1].kill()
            members[2].kill()

            async def refused() -> bool:
                try:
                    async with asyncio.timeout(1):
                        [answer] = await store.apply([add(seq=2, acked=1)])
                except TimeoutError:
                    return False
                assert isinstance(answer, OutcomeUnknown | StoreUnavailable)
                return isinstance(answer, StoreUnavailable)

            async with asyncio.timeout(30):
                while not await refused():
                    pass
            with pytest.raises(StoreUnavailable):
                await store.check()
            await asyncio.gather(asyncio.to_thread(members[1].start), asyncio.to_thread(members[2].start))
            answer = await apply(store, add(seq=2, acked=1))
            assert answer.value == 1
            assert await state(store) == (2, 2, True)


# Nobody there.


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (
            "127.0.0.1:{free_port}",
            "Connection refused; see that the server runs, and the host and port in the store URL",
        ),
        ("absent.invalid:2379", "; no such host; see the host and port in the store URL"),
    ],
)
@asynchronous
async def test_nobody_there_is_definite(host: str, said: str) -> None:
    host = host.format(free_port=free_port())
    store = store_at(f"etcd://{host}")
    with pytest.raises(StoreUnavailable) as failure:
        await store.open()
    assert str(failure.value).startswith(f"etcd, {host}: ")
    assert said in str(failure.value)
    with pytest.raises(StoreUnavailable):
        await store.read(["default/a"], strong=True)
    [answer] = await store.apply([add()])
    assert isinstance(answer, StoreUnavailable)
    await store.close()


@asynchronous
async def test_a_host_that_says_nothing_is_definite() -> None:
    hung_up = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"etcd, 127.0.0.1:{port}: ") as failure:
            await store_at(f"etcd://127.0.0.1:{port}?connect_timeout=200").open()
        await hung_up.wait()  # the error, which is still there, holds no connection
        assert failure.value.applied == "no"


# Who may.


@pytest.fixture
def guarded() -> Iterator[ServerProcess]:
    """A server that knows root and "counting", who may only touch what begins with mine/."""
    with etcd_server() as server:

        def do(method: str, request: Any) -> None:
            ask(url_of(server), lambda channel: getattr(rpc.AuthStub(channel), method)(request))

        for user, role in (("root", "root"), ("counting", "counts")):
            do("UserAdd", rpc.AuthUserAddRequest(name=user, password=f"{user}'s secret"))
            do("RoleAdd", rpc.AuthRoleAddRequest(name=role))
            do("UserGrantRole", rpc.AuthUserGrantRoleRequest(user=user, role=role))
        mine = rpc.Permission(permType=rpc.Permission.READWRITE, key=b"mine/", range_end=b"mine0")
        do("RoleGrantPermission", rpc.AuthRoleGrantPermissionRequest(name="counts", perm=mine))
        do("AuthEnable", rpc.AuthEnableRequest())
        yield server


def test_who_may_not_is_told_what_to_do(guarded: ServerProcess) -> None:
    @asynchronous
    async def refused(user: str, prefix: str, message: str) -> None:
        url = url_of(guarded, prefix=prefix).replace("//", f"//{user}")
        store = store_at(url)
        with pytest.raises(StoreRefused) as failure:
            await store.open()
        assert message in str(failure.value)
        assert "secret" not in str(failure.value)
        # Counters too, though etcd itself does not look into nested transactions.
        [answer] = await store.apply([add()])
        assert isinstance(answer, StoreRefused)
        await store.close()

    refused("", "mine/", "etcd: user name is empty; the server asks who you are; put user:password into the store URL")
    for user in ("counting:wrong%20secret@", "nobody:secret@"):
        refused(user, "mine/", "authentication failed, invalid user ID or password; correct user and password in the")
    refused("counting:counting's%20secret@", "other/", "etcd: permission denied; grant the user's role readwrite on")

    @asynchronous
    async def welcome() -> None:
        url = url_of(guarded, prefix="mine/").replace("//", "//counting:counting's%20secret@")
        async with Counters(store_at(url)) as counters:
            assert (await counters.increment("a", token="t")).value == 1
            assert (await counters.list()).counters[0].name == "a"
            # Restarted, it knows the tokens of its users no more.
            await asyncio.to_thread(guarded.restart)
            assert [(await counters.increment("a")).value for _ in range(3)] == [2, 3, 4]

    welcome()


@asynchronous
async def test_a_server_that_lets_everybody_in_takes_a_user_too(url: str) -> None:
    async with opened(store_at(url.replace("//", "//somebody:secret@"))) as store:
        assert await apply(store, add()) == Answer("applied", 0, 0, False)


# TLS.


def test_tls_takes_the_certificate_that_is_trusted_and_named_so(certificate: tuple[Path, Path]) -> None:
    key, trusted = certificate

    @asynchronous
    async def meet(port: int) -> None:
        async with opened(store_at(f"etcd://localhost:{port}?tls=yes&ca_file={trusted}")) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        for url in (
            f"etcd://127.0.0.1:{port}?tls=yes&ca_file={trusted}",  # another name
            f"etcd://localhost:{port}?tls=yes",  # signed by nobody known
        ):
            with pytest.raises(StoreRefused, match="its certificate is not trusted, or is for another name; see ca_f"):
                await store_at(url).open()
        with pytest.raises(StoreUnavailable, match="if it speaks TLS, say tls=yes in the store URL"):
            await store_at(f"etcd://localhost:{port}").open()

    with etcd_server("--cert-file", str(trusted), "--key-file", str(key), scheme="https") as server, server.shown():
        meet(server.port)


@asynchronous
async def test_tls_to_a_server_that_speaks_none(server: ServerProcess) -> None:
    with pytest.raises(StoreUnavailable, match="the server may not speak TLS; then say tls=no in the store URL"):
        await store_at(f"etcd://127.0.0.1:{server.port}?tls=yes").open()


def test_tls_says_who_we_are(certificate: tuple[Path, Path]) -> None:
    key, trusted = certificate
    health = free_port()
    files = ("--cert-file", str(trusted), "--key-file", str(key), "--trusted-ca-file", str(trusted))
    options = (*files, "--client-cert-auth", "--listen-metrics-urls", f"http://127.0.0.1:{health}")

    @asynchronous
    async def meet(port: int) -> None:
        url = f"etcd://localhost:{port}?tls=yes&ca_file={trusted}"
        async with opened(store_at(f"{url}&cert_file={trusted}&key_file={key}")) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)
        with pytest.raises((StoreUnavailable, StoreRefused)):
            await store_at(url).open()

    with etcd_server(*options, scheme="https", asked_at=health) as server, server.shown():
        meet(server.port)


# Cancellation, and closing.


async def swallowed(proxy: Proxy, store: EtcdStore) -> None:
    """Until the proxy has swallowed a request; meanwhile the store is asked for something else."""
    while not proxy.counts["half_open"]:
        await store.check()


@asynchronous
async def test_a_call_that_is_cancelled_leaves_nothing_behind(url: str) -> None:
    """It is ambiguous; the connection that it had is closed, and the store goes on with another."""
    faults = Faults(schedule={1: "half_open"}, matcher=lambda request: b"[1," in request)
    async with Proxy(url, faults) as proxy, opened(store_at(proxy.url)) as store:
        attempt = asyncio.ensure_future(store.apply([add()]))
        await swallowed(proxy, store)
        attempt.cancel()
        await asyncio.wait([attempt])
        assert attempt.cancelled()
        assert await apply(store, add()) == Answer("applied", 0, 0, False)
        assert proxy.counts["half_open"] == 1


@asynchronous
async def test_closing_ends_the_calls_under_way(url: str) -> None:
    faults = Faults(schedule={1: "half_open"}, matcher=lambda request: b"[1," in request)
    async with Proxy(url, faults) as proxy:
        store = store_at(proxy.url)
        await store.open()
        attempt = asyncio.ensure_future(store.apply([add()]))
        await swallowed(proxy, store)
        await store.close()
        [answer] = await attempt
        assert isinstance(answer, OutcomeUnknown)
        await store.close()
