"""What only the etcd store has: round trips, large transactions, leases, compaction, sweeping, a full database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

pytest.importorskip("aetcd")

from aetcd import rpc

from plusone import Counters
from plusone.errors import CorruptRecord, PlusoneError, StoreRefused, StoreUnavailable
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.etcd import etcd_server, url_of
from plusone.stores.etcd import records
from plusone.stores.etcd.leases import SPARE_SECONDS, TOKENS_PER_LEASE
from plusone.stores.etcd.store import EtcdStore
from plusone.stores.protocol import Answer, TokenWrite
from tests.conformance.harness import (
    DAY_MS,
    KEY,
    B,
    World,
    add,
    apply,
    asynchronous,
    delete,
    known_tokens,
    listed,
    opened,
    state,
    with_tokens,
)
from tests.servers.etcd import own_prefix, skip_without_etcd, store_at

skip_without_etcd(own=True)

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with etcd_server() as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_prefix(url_of(server))


def watched(store: EtcdStore) -> list[tuple[str, Any]]:
    """What the store asks etcd from now on: methods and requests."""
    asked: list[tuple[str, Any]] = []
    call = store.connections.call

    async def watching(method: str, request: Any) -> Any:
        asked.append((method, request))
        return await call(method, request)

    store.connections.call = watching  # type: ignore[method-assign]
    return asked


async def ask(store: EtcdStore, service: type, method: str, request: Any) -> Any:
    """Beside the store, on a channel of its own."""
    async with store.connections.settings.channel(store.connections.settings.endpoints[0]) as channel:
        return await getattr(service(channel), method)(request)


def prefix(store: EtcdStore) -> bytes:
    return store.connections.settings.prefix


async def put(store: EtcdStore, key: bytes, value: bytes) -> None:
    await ask(store, rpc.KVStub, "Put", rpc.PutRequest(key=key, value=value))


# Round trips.


@asynchronous
async def test_a_counter_that_nobody_else_writes_takes_one_round_trip(url: str) -> None:
    async with opened(store_at(url)) as store, opened(store_at(url)) as other:
        asked = watched(store)
        for seq in range(1, 6):
            await apply(store, add(seq=seq, acked=seq - 1))
        assert [method for method, _ in asked] == ["Txn"] * 5
        await apply(other, add(writer=B))
        asked.clear()
        assert await apply(store, add(seq=6, acked=5)) == Answer("applied", 6, 6, True)
        assert await apply(store, add(seq=7, acked=6)) == Answer("applied", 7, 7, True)
        assert [method for method, _ in asked] == ["Txn"] * 3


@asynchronous
async def test_nothing_is_rejected_on_what_was_remembered(url: str) -> None:
    """A guard that missed what this store last saw may hold by now, and the other way round."""
    async with opened(store_at(url)) as store, opened(store_at(url)) as other:
        await apply(store, add(5))
        await apply(other, add(5, writer=B))
        assert await apply(store, add(1, seq=2, acked=1, lo=10, hi=10)) == Answer("applied", 10, 2, True)
        await apply(other, add(1, writer=B, seq=2, acked=1))
        assert await apply(store, add(1, seq=3, acked=2, lo=11, hi=11)) == Answer("missed", 12, 4, True)
        await apply(other, delete(writer=B, seq=3, acked=2))
        assert await apply(store, add(1, seq=3, acked=2, alive=True)) == Answer("missed", 0, 5, False)


@asynchronous
async def test_a_call_sends_again_only_what_was_not_applied(url: str) -> None:
    """Of many counters in one transaction, one was changed by another: the second round is about that one."""
    async with opened(store_at(url)) as store, opened(store_at(url)) as other:
        keys = [f"default/{number}" for number in range(100)]
        await store.apply([add(key=key) for key in keys])
        await apply(other, add(key=keys[7], writer=B))
        asked = watched(store)
        answers = await store.apply([add(key=key, seq=2, acked=1) for key in keys])
        assert [len(request.success) for _, request in asked] == [100, 1]
        assert [answer.value for answer in answers if isinstance(answer, Answer)] == [*[1] * 7, 2, *[1] * 92]


# Transactions that etcd takes: at most 128 operations, and 1.5 MB.


@asynchronous
async def test_a_call_as_large_as_it_may_be_is_taken(url: str) -> None:
    """As many counters as a call takes, each with as many tokens as a batch takes."""
    async with opened(store_at(url)) as store:
        capabilities = store.capabilities
        tokens = [f"{number}-".ljust(255, "x") for number in range(capabilities.tokens_per_batch)]
        keys = [f"default/{number}-".ljust(263, "k") for number in range(10)]
        batch = [add(key=key, tokens=tuple(TokenWrite(token, "n" * 299) for token in tokens)) for key in keys]
        batch += [add(key=f"default/{number}") for number in range(capabilities.batches_per_call - 10)]
        asked = watched(store)
        assert await store.apply(batch) == [Answer("applied", 0, 0, False)] * capabilities.batches_per_call
        assert all(request.ByteSize() < 1_572_864 for method, request in asked if method == "Txn")
        assert await known_tokens(store, *tokens[:50]) == []
        question = add(key=keys[9], seq=2, acked=1, tokens=tuple(TokenWrite(token, "n") for token in tokens))
        assert len((await apply(store, question)).tokens) == len(tokens)


@asynchronous
async def test_records_with_many_sessions_are_spread_over_transactions(url: str) -> None:
    async with opened(store_at(url)) as store:
        keys = [f"default/{number}" for number in range(60)]
        others = b",".join(b'"writer-%010d":[1,null,0,0,%d]' % (number, 2**50) for number in range(900))
        value = b'[1,5,1,null,1,"%b",1,0,0,0,1,{%b}]' % (B.encode(), others)
        for key in keys:
            await put(store, records.counters(prefix(store), key), value)
        asked = watched(store)
        assert await store.apply([add(key=key) for key in keys]) == [Answer("applied", 5, 1, True)] * 60
        sizes = [request.ByteSize() for _, request in asked]
        assert max(sizes) < 1_572_864
        assert sum(sizes) > 2 * 1_572_864
        assert [await state(store, key) for key in keys[:2]] == [(6, 2, True)] * 2


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--max-txn-ops", "8", "etcd: too many operations in txn request; give the server --max-txn-ops of 128"),
        ("--max-request-bytes", "2000", "etcd: request is too large; give the server --max-request-bytes of at least"),
    ],
)
def test_a_server_that_takes_less_says_so(option: str, value: str, message: str) -> None:
    @asynchronous
    async def refused(url: str) -> None:
        async with opened(store_at(url)) as store:
            answers = await store.apply([add(key=f"default/{number}") for number in range(20)])
            assert [type(answer) for answer in answers] == [StoreRefused] * 20
            assert str(answers[0]).startswith(message)
            assert await apply(store, add()) == Answer("applied", 0, 0, False)

    with etcd_server(option, value) as server:
        refused(url_of(server))


# Leases.


@asynchronous
async def test_tokens_share_leases_that_outlast_them(url: str) -> None:
    async with opened(store_at(url, token_retention_ms=DAY_MS)) as store:
        asked = watched(store)
        for number in range(15):
            tokens = [f"{number}-{token}" for token in range(100)]
            await apply(store, with_tokens(store, add(key=f"default/{number}"), (0, 0, False), *tokens))
        grants = [request for method, request in asked if method == "LeaseGrant"]
        assert len(grants) == 1_500 // TOKENS_PER_LEASE + 1
        assert all(grant.TTL >= DAY_MS // 1_000 + SPARE_SECONDS for grant in grants)
        key = records.tokens(prefix(store), "default/0", "0-0")
        found = await ask(store, rpc.KVStub, "Range", rpc.RangeRequest(key=key))
        alive = await ask(store, rpc.LeaseStub, "LeaseTimeToLive", rpc.LeaseTimeToLiveRequest(ID=found.kvs[0].lease))
        assert alive.TTL >= DAY_MS // 1_000 + SPARE_SECONDS


@asynchronous
async def test_a_lease_that_is_lost_applies_nothing(url: str) -> None:
    """Somebody revokes it between two batches: the second is refused as a whole, and its repetition is applied."""
    async with opened(store_at(url)) as store:
        asked = watched(store)
        await apply(store, with_tokens(store, add(key="default/first"), (0, 0, False), "t"))
        key = records.tokens(prefix(store), "default/first", "t")
        found = await ask(store, rpc.KVStub, "Range", rpc.RangeRequest(key=key))
        await ask(store, rpc.LeaseStub, "LeaseRevoke", rpc.LeaseRevokeRequest(ID=found.kvs[0].lease))
        request = with_tokens(store, add(), (0, 0, False), "t")
        [refused] = await store.apply([request])
        assert type(refused) is StoreUnavailable
        assert str(refused) == "etcd: requested lease not found"
        assert await state(store) == (0, 0, False)
        assert await apply(store, request) == Answer("applied", 0, 0, False)
        assert await known_tokens(store, "t") == ["t"]
        assert [method for method, _ in asked].count("LeaseGrant") == 2


@asynchronous
async def test_the_loss_of_a_lease_is_no_matter_to_who_counts(url: str) -> None:
    async with Counters(store_at(url)) as counters:
        await counters.increment("a", token="1")
        store = counters._store
        assert isinstance(store, EtcdStore)
        found = await ask(store, rpc.LeaseStub, "LeaseLeases", rpc.LeaseLeasesRequest())
        for lease in found.leases:
            await ask(store, rpc.LeaseStub, "LeaseRevoke", rpc.LeaseRevokeRequest(ID=lease.ID))
        assert (await counters.increment("a", token="2")).value == 2
        assert (await counters.increment("a", token="2")).replayed


# Compaction.


@asynchronous
async def test_compaction_is_no_matter(url: str) -> None:
    """Down to the newest revision, again and again, while others count and pages are read."""
    async with Counters(store_at(url)) as counters:
        store = counters._store
        assert isinstance(store, EtcdStore)
        ended = asyncio.Event()

        async def compact() -> int:
            compactions = 0
            while not ended.is_set():
                now = await ask(store, rpc.KVStub, "Range", rpc.RangeRequest(key=b"x"))
                await ask(store, rpc.KVStub, "Compact", rpc.CompactionRequest(revision=now.header.revision))
                compactions += 1
                await counters.increment("compacted")
            return compactions

        async def caller() -> list[int]:
            return [(await counters.increment("hot")).value for _ in range(50)]

        compacting = asyncio.create_task(compact())
        values = [value for values in await asyncio.gather(*(caller() for _ in range(16))) for value in values]
        first = await counters.list(limit=1)
        assert (await counters.list(limit=1, page_token=first.next_page_token)).counters[0].name == "hot"
        ended.set()
        assert sorted(values) == list(range(1, 801))
        compactions = await compacting
        assert (await counters.get("compacted")).value == compactions >= 2
        assert counters.statistics.unknown_total == counters.statistics.gaps_total == 0


# Sweeping.


@asynchronous
async def test_the_long_dead_are_swept(url: str) -> None:
    """An hour after their last write, and not while they hold a token: pages of all counters, one after the other."""
    world = World()
    async with opened(store_at(url, clock=world.clock)) as store:
        keys = [f"default/{number:03}" for number in range(300)]
        for start in range(0, 300, 100):
            await store.apply([add(key=key) for key in keys[start : start + 100]])
            await store.apply([delete(key=key, seq=2, acked=1) for key in keys[start + 1 : start + 100]])
        await apply(store, with_tokens(store, delete(key="default/held"), (0, 0, False), "t"))
        await apply(store, delete(key="default/written"))
        world.advance(HOUR_MS // 2)
        await apply(store, add(0, applied=0, key="default/written", seq=2, acked=1))
        world.advance(HOUR_MS // 2)
        for seq in range(1, 4):
            await apply(store, add(key="default/ticks", seq=seq, acked=seq - 1))
            sweeping = store._sweeping.if_due()
            assert sweeping is not None
            await sweeping
            world.advance(60_000)
        found = await ask(store, rpc.KVStub, "Range", everything(store))
        left = [records.counter_of(prefix(store), counter.key) for counter in found.kvs]
        assert left == ["default/000", "default/100", "default/200", "default/held", "default/ticks", "default/written"]


@asynchronous
async def test_what_comes_back_to_life_is_not_swept(url: str) -> None:
    """A removal is on the condition that the record is as it was seen."""
    world = World()
    async with opened(store_at(url, clock=world.clock)) as store, opened(store_at(url, clock=world.clock)) as other:
        await apply(store, delete())
        world.advance(2 * HOUR_MS)
        call = store.connections.call

        async def meanwhile(method: str, request: Any) -> Any:
            answer = await call(method, request)
            if method == "Range":
                await apply(other, add(3, writer=B))
            return answer

        store.connections.call = meanwhile  # type: ignore[method-assign]
        await store._sweeper.page(world.now_ms)
        store.connections.call = call  # type: ignore[method-assign]
        assert await state(store) == (3, 2, True)


def everything(store: EtcdStore) -> Any:
    begin = records.counters(prefix(store))
    return rpc.RangeRequest(key=begin, range_end=records.end_of(begin), keys_only=True)


# Foreign values.


@asynchronous
async def test_a_foreign_value_fails_its_counter_and_no_other(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(store_at(url)) as store:
        await store.apply([add(key="default/a"), add(key="default/b")])
        await put(store, records.counters(prefix(store), "default/a"), b"42")
        for expected in (Answer("applied", 1, 1, True), Answer("duplicate", 1, 1, True)):
            corrupt, whole = await store.apply([add(key=key, seq=2, acked=1) for key in ("default/a", "default/b")])
            assert isinstance(corrupt, CorruptRecord)
            assert str(corrupt).startswith("etcd: under 'default/a' stands no record of this version's")
            assert whole == expected
        with pytest.raises(CorruptRecord):
            await store.read(["default/a", "default/b"], strong=True)
        assert await listed(store, "default/") == {"default/b": 2}
        assert "'default/a' is left out of a listing" in caplog.text
        await put(store, records.tokens(prefix(store), "default/b", "t"), b"42")
        request = with_tokens(store, add(key="default/b", seq=3, acked=2), (2, 2, True), "t")
        [answer] = await store.apply([request])
        assert isinstance(answer, CorruptRecord)
        assert await state(store, "default/b") == (2, 2, True)


# A full database.


@asynchronous
async def fill(url: str) -> None:
    async with opened(store_at(url)) as store:
        await apply(store, add(5, key="default/before"))
        told: dict[str, Answer | PlusoneError] = {}

        async def caller(number: int) -> None:
            turn = 0
            while not any(isinstance(answer, PlusoneError) for answer in told.values()):
                requests = [large(f"default/{number}-{turn}-{counter}") for counter in range(4)]
                answers = await store.apply(requests)
                told.update(zip((request.key for request in requests), answers, strict=True))
                turn += 1

        await asyncio.gather(*(caller(number) for number in range(8)))
        errors = [answer for answer in told.values() if isinstance(answer, PlusoneError)]
        assert {type(error) for error in errors} == {StoreUnavailable}
        assert "compact and defragment, or raise --quota-backend-bytes; then etcdctl alarm disarm" in str(errors[0])
        # What it said of each is so, and it still can be read.
        states = await store.read(list(told), strong=True)
        assert [found.exists for found in states] == [isinstance(answer, Answer) for answer in told.values()]
        assert len(errors) < len(told)
        assert await state(store, "default/before") == (5, 1, True)
        assert len(await listed(store, "default/", 100)) == 1 + len(told) - len(errors)
        await store.check()

        await make_room(store)
        assert await apply(store, add(1, key="default/before", seq=2, acked=1)) == Answer("applied", 5, 1, True)


def large(key: str) -> Any:
    tokens = tuple(TokenWrite(f"{number}-".ljust(255, "x"), "n" * 299) for number in range(10))
    return add(key=key, tokens=tokens)


async def make_room(store: EtcdStore) -> None:
    """What the message says."""
    begin = records.tokens(prefix(store), "")[:-1]
    tokens = rpc.RangeRequest(key=begin, range_end=records.end_of(begin), keys_only=True)
    leases = (await ask(store, rpc.LeaseStub, "LeaseLeases", rpc.LeaseLeasesRequest())).leases
    for lease in leases:
        await ask(store, rpc.LeaseStub, "LeaseRevoke", rpc.LeaseRevokeRequest(ID=lease.ID))
    now = await ask(store, rpc.KVStub, "Range", tokens)
    assert now.count == 0
    await ask(store, rpc.KVStub, "Compact", rpc.CompactionRequest(revision=now.header.revision, physical=True))
    await ask(store, rpc.MaintenanceStub, "Defragment", rpc.DefragmentRequest())
    alarm = rpc.AlarmRequest(action="DEACTIVATE", alarm="NOSPACE")
    await ask(store, rpc.MaintenanceStub, "Alarm", alarm)


def test_a_full_database_is_definite() -> None:
    with etcd_server("--quota-backend-bytes", "1000000") as server, server.shown():
        fill(url_of(server))


# Setup, and the values that are read.


@asynchronous
async def test_there_is_nothing_to_set_up(url: str) -> None:
    store = store_at(url)
    assert await store.setup(dry_run=True) == await store.setup(dry_run=False) == ()


@asynchronous
async def test_eventual_reads_ask_one_member_alone(url: str) -> None:
    async with opened(store_at(url)) as store:
        await apply(store, add())
        asked = watched(store)
        for keys in ([KEY], [KEY, "default/none"]):
            for strong in (True, False):
                assert (await store.read(keys, strong=strong))[0].value == 1
        ranges: Sequence[Any] = [
            request if method == "Range" else request.success[1].request_range for method, request in asked
        ]
        assert [found.serializable for found in ranges] == [False, True, False, True]
