"""What is a cluster's own in the Redis store, on three real nodes: slots that move, nodes that are away, listing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

pytest.importorskip("redis")

from redis import RedisCluster

from plusone import Counters
from plusone.errors import (
    ConfigurationError,
    CorruptRecord,
    InvalidRequest,
    OutcomeUnknown,
    StoreRefused,
    StoreUnavailable,
)
from plusone.lab.processes import until
from plusone.lab.servers.redis import redis_server
from plusone.lab.servers.redis import url_of as url_of_single
from plusone.lab.servers.redis_cluster import RedisNode, redis_cluster, replica_of, url_of
from plusone.statistics import Limits
from plusone.stores import paging
from plusone.stores.protocol import Answer, TokenWrite
from plusone.stores.redis.cluster import ReplicaConnections
from plusone.stores.redis.keys import counter_key, token_key
from plusone.stores.redis.settings import Settings
from plusone.stores.redis.slots import parse_layout, slot_of
from plusone.stores.registry import StoreURL
from tests.conformance.harness import add, apply, asynchronous, listed, opened, pages, state
from tests.servers.redis import skip_without_redis
from tests.servers.redis import store_at as single_store_at
from tests.servers.redis_cluster import all_know, begin_move, client, end_move, own_prefix, store_at

skip_without_redis(own=True)

SLOTS = 16_384


@pytest.fixture(scope="module")
def nodes() -> Iterator[Sequence[RedisNode]]:
    with redis_cluster() as nodes:
        yield nodes


@pytest.fixture
def url(nodes: Sequence[RedisNode]) -> Iterator[str]:
    yield from own_prefix(url_of(nodes))


@pytest.fixture
def direct(url: str) -> Iterator[RedisCluster]:
    with client(url) as redis:
        yield redis


def owner(slot: int, nodes: Sequence[RedisNode]) -> RedisNode:
    """Who has the slot in a cluster where none has moved."""
    return nodes[min(slot * 3 // SLOTS, 2)]


def names_in(slot: int, count: int) -> list[str]:
    """Keys of counters that share the slot."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        if slot_of(f"default/{number}") == slot:
            found.append(f"default/{number}")
        number += 1
    return found


# Slots and layouts.


@pytest.mark.parametrize("name", ["default/votes", "default/{a}", "default/a}b{c%", "default/é☃"])
def test_the_slot_is_the_servers(direct: RedisCluster, nodes: Sequence[RedisNode], name: str) -> None:
    """Of the counter and of its tokens, whatever braces are in the name."""
    counter = counter_key("p:", name)
    for key in (counter, token_key(counter, "t{x}")):
        assert nodes[0].ask("CLUSTER", "KEYSLOT", key) == slot_of(name)


def test_a_layout_is_read() -> None:
    """A host that is left out, or null, is the one that was asked; one that has no name yet is left out itself."""
    reply = [
        [0, 99, [b"10.0.0.1", 1, b"b"], [b"10.0.0.2", 2, b"x", []], [b"?", 3, b"y", []]],
        [100, 199, [None, 4, b"a", []]],
        [200, 299, [b"10.0.0.1", 1, b"b"], [b"10.0.0.2", 2, b"x", []]],
        [300, 399, [b"?", 5, b"c", []]],
        [400, 400, [b"", 6, b"d", []]],
    ]
    layout = parse_layout(reply, "asked")
    assert [shard.primary for shard in layout.shards] == [("asked", 4), ("10.0.0.1", 1), ("asked", 6)]
    assert layout.shards[1].replicas == (("10.0.0.2", 2),)
    owners = [shard and shard.primary[1] for shard in layout.by_slot]
    assert owners == [*[1] * 100, *[4] * 100, *[1] * 100, *[None] * 100, 6, *[None] * (SLOTS - 401)]
    moved = [[0, 98, *reply[0][2:]], [99, 199, *reply[1][2:]], *reply[2:]]
    assert parse_layout(moved, "asked").fingerprint != layout.fingerprint
    assert parse_layout(list(reversed(reply)), "asked").fingerprint == layout.fingerprint


@asynchronous
async def test_any_node_leads_to_all(nodes: Sequence[RedisNode], url: str) -> None:
    """One that is up is enough, and a whole batch is answered in its order."""
    prefix = StoreURL.parse(url).query["prefix"]
    away = f"redis+cluster://127.0.0.1:1,127.0.0.1:{nodes[2].port}?prefix={prefix}"
    async with opened(store_at(away)) as store:
        await store.check()
        keys = [f"default/{number}" for number in range(256)]
        assert len({owner(slot_of(key), nodes) for key in keys}) == 3
        batch = [add(number, key=key) for number, key in enumerate(keys)]
        assert list(await store.apply(batch)) == [Answer("applied", 0, 0, False)] * 256
        assert list(await store.apply(batch)) == [Answer("duplicate", 0, 0, False)] * 256
        assert [record.value for record in await store.read(keys, strong=True)] == list(range(256))
        assert list(await store.apply([])) == []


@asynchronous
async def test_counters_of_one_slot_go_in_one_call(nodes: Sequence[RedisNode], url: str) -> None:
    keys = names_in(77, 3)
    node = owner(77, nodes)
    async with opened(store_at(url)) as store:
        await store.apply([add(1, key=key) for key in keys])
        before = calls(node)
        answers = await store.apply([add(1, key=key, seq=2, acked=1) for key in keys])
        assert list(answers) == [Answer("applied", 1, 1, True)] * 3
        assert calls(node) == before + 1


def calls(node: RedisNode) -> int:
    """How often the node ran the script."""
    [line] = [line for line in node.ask("INFO", "commandstats").splitlines() if line.startswith("cmdstat_evalsha:")]
    return int(line.partition("calls=")[2].partition(",")[0])


@asynchronous
async def test_what_is_no_counter_fails_alone(url: str, direct: RedisCluster) -> None:
    direct.set(counter_key(StoreURL.parse(url).query["prefix"], "default/bad"), "5")
    async with opened(store_at(url)) as store:
        answers = await store.apply([add(1, key=key) for key in ("default/a", "default/bad", "default/b")])
        assert [type(answer) for answer in answers] == [Answer, CorruptRecord, Answer]
        with pytest.raises(CorruptRecord, match="default/bad"):
            await store.read(["default/a", "default/bad"], strong=True)


@asynchronous
async def test_a_forgotten_script_is_loaded_again(nodes: Sequence[RedisNode], url: str) -> None:
    """NOSCRIPT is definite; only those who said it get the script, and the same calls after it."""
    keys = [f"default/{number}" for number in range(50)]
    async with opened(store_at(url)) as store:
        nodes[1].ask("SCRIPT", "FLUSH")
        assert list(await store.apply([add(1, key=key) for key in keys])) == [Answer("applied", 0, 0, False)] * 50
        nodes[1].ask("SCRIPT", "FLUSH")
        assert list(await store.apply([add(1, key=key) for key in keys])) == [Answer("duplicate", 0, 0, False)] * 50


# Slots that move.


@asynchronous
async def test_a_slot_that_has_moved_is_followed(nodes: Sequence[RedisNode], url: str) -> None:
    """MOVED says where to: the call goes on to there, and the next one goes there at once."""
    slot = 4_000
    keys = names_in(slot, 2)
    source, target = owner(slot, nodes), nodes[2]
    async with opened(store_at(url)) as store:
        await store.apply([add(5, key=key) for key in keys])
        begin_move(slot, source, target)
        end_move(slot, source, target)
        try:
            answers = await store.apply([add(5, key=key, seq=2, acked=1) for key in keys])
            assert list(answers) == [Answer("applied", 5, 1, True)] * 2
            assert [record.value for record in await store.read(keys, strong=True)] == [10, 10]
            until(lambda: all_know(slot, target, nodes))
            assert (await store.cluster.layout(fresh=True)).shard(slot).primary[1] == target.port
        finally:
            begin_move(slot, target, source)
            end_move(slot, target, source)
        # Back again: what the first owner has is what the other one made of it.
        answers = await store.apply([add(5, key=key, seq=2, acked=1) for key in keys])
        assert list(answers) == [Answer("duplicate", 5, 1, True)] * 2


@asynchronous
async def test_while_a_slot_moves_each_counter_is_where_it_is(nodes: Sequence[RedisNode], url: str) -> None:
    """Some keys are here (answered), some there or new (ASK); what needs both at once waits (TRYAGAIN)."""
    slot = 4_001
    here, there, new, token = names_in(slot, 4)
    source, target = owner(slot, nodes), nodes[2]
    async with opened(store_at(url)) as store:
        await store.apply([add(5, key=key) for key in (here, there)])
        begin_move(slot, source, target)
        try:
            [key] = [key for key in source.ask("CLUSTER", "GETKEYSINSLOT", slot, 9) if there in key]
            source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 5_000)
            batch = [add(1, key=here, seq=2, acked=1), add(1, key=there, seq=2, acked=1), add(1, key=new)]
            assert list(await store.apply(batch)) == [
                Answer("applied", 5, 1, True),
                Answer("applied", 5, 1, True),
                Answer("applied", 0, 0, False),
            ]
            assert [record.value for record in await store.read([here, there, new], strong=True)] == [6, 6, 1]
            [refused] = await store.apply([add(1, key=token, tokens=(TokenWrite("t", "notes"),))])
            assert isinstance(refused, StoreUnavailable)
        finally:
            end_move(slot, source, target)
            begin_move(slot, target, source)
            end_move(slot, target, source)
        batch = [*batch, add(1, key=token, tokens=(TokenWrite("t", "notes"),))]
        assert [answer.status for answer in await store.apply(batch) if isinstance(answer, Answer)] == [
            *["duplicate"] * 3,
            "applied",
        ]
        assert [record.value for record in await store.read([here, there, new, token], strong=True)] == [6, 6, 1, 1]


@asynchronous
async def test_counting_goes_on_exactly_while_slots_move(nodes: Sequence[RedisNode], url: str) -> None:
    """Every counter's slot moves to another node and back under load, with its counters, sessions and tokens."""
    names = [f"moving-{number}" for number in range(12)]
    slots = [slot_of(f"default/{name}") for name in names]
    stop = asyncio.Event()

    def move() -> None:
        for slot in slots:
            source = owner(slot, nodes)
            target = nodes[(nodes.index(source) + 1) % 3]
            for one, other in ((source, target), (target, source)):
                begin_move(slot, one, other)
                end_move(slot, one, other)

    async def caller(counters: Counters, name: str) -> list[int]:
        values: list[int] = []
        while not stop.is_set() or len(values) < 50:
            token = f"{len(values)}" if len(values) % 5 == 0 else None
            values.append((await counters.increment(name, token=token)).value)
        return values

    async with Counters(store_at(url), limits=Limits(timeout=60)) as counters:
        callers = [asyncio.ensure_future(caller(counters, name)) for name in names]
        await asyncio.to_thread(move)
        stop.set()
        for name, values in zip(names, await asyncio.gather(*callers), strict=True):
            assert values == list(range(1, len(values) + 1))
            assert (await counters.get(name)).value == len(values)
        statistics = counters.statistics
        assert (statistics.ambiguous_total, statistics.unknown_total, statistics.gaps_total) == (0, 0, 0)


# Listing.


@asynchronous
async def test_a_listing_goes_through_all_nodes(url: str) -> None:
    async with opened(store_at(url)) as store:
        keys = {f"default/{number}": number + 1 for number in range(120)}
        await store.apply([add(value, key=key) for key, value in keys.items()])
        assert await listed(store, "default/", limit=7) == keys
        assert await listed(store, "default/", limit=1_000) == keys


@asynchronous
async def test_a_listing_begins_anew_where_a_slot_has_moved(nodes: Sequence[RedisNode], url: str) -> None:
    """Moved to a node whose turn was over, its counters would be on no page."""
    keys = {f"default/{number}": 1 for number in range(60)}
    slot = slot_of("default/0")
    async with opened(store_at(url)) as store:
        await store.apply([add(1, key=key) for key in keys])
        first, token = await store.list("default/", 30, None)
        found = dict(first)
        source = owner(slot, nodes)
        assert token is not None
        first_stop, last_stop = (node for node in nodes if node is not source)
        for one, other in ((source, first_stop), (first_stop, last_stop)):
            begin_move(slot, one, other)
            end_move(slot, one, other)
        until(lambda: all_know(slot, last_stop, nodes))
        try:
            while token is not None:
                page, token = await store.list("default/", 30, token)
                found |= dict(page)
            assert {key: record.value for key, record in found.items()} == keys
        finally:
            begin_move(slot, last_stop, source)
            end_move(slot, last_stop, source)


@asynchronous
async def test_forged_page_tokens_are_refused(url: str) -> None:
    async with opened(store_at(url)) as store:
        layout = (await store.cluster.layout()).fingerprint
        for text in (
            f'[0,[],3,"{layout}"]',
            f'[5,[],-1,"{layout}"]',
            f'[0,[],0,"{layout}"]',
            f'[0,["other/a"],1,"{layout}"]',
        ):
            with pytest.raises(InvalidRequest) as refused:
                await store.list("default/", 10, paging.encode(text.encode()))
            assert refused.value.field == "page_token"
        assert len(await pages(store, "default/")) == 1


# Nodes that are away.


@asynchronous
async def test_a_node_that_stands_still_keeps_no_other_waiting(nodes: Sequence[RedisNode], url: str) -> None:
    """Its counters are unknown after `node_timeout`; those of the others are answered in the same call."""
    keys = [names_in(number * SLOTS // 3 + 1, 1)[0] for number in range(3)]
    async with opened(store_at(f"{url}&node_timeout=200")) as store:
        await store.apply([add(1, key=key) for key in keys])
        batch = [add(1, key=key, seq=2, acked=1) for key in keys]
        with nodes[1].paused():
            one, unknown, three = await store.apply(batch)
            assert (one, three) == (Answer("applied", 1, 1, True),) * 2
            assert isinstance(unknown, OutcomeUnknown)
            # A connection that is yet to be made says nothing either, but before anything was sent.
            _, refused, _ = await store.apply(batch)
            assert isinstance(refused, StoreUnavailable)
            with pytest.raises(StoreUnavailable):
                await store.check()
            with pytest.raises(StoreUnavailable):
                await store.read(keys, strong=True)
        assert list(await store.apply(batch)) == [Answer("duplicate", 1, 1, True)] * 3
        assert [record.value for record in await store.read(keys, strong=True)] == [2, 2, 2]


@asynchronous
async def test_a_cancelled_call_leaves_no_reply_behind(nodes: Sequence[RedisNode], url: str) -> None:
    keys = [names_in(number * SLOTS // 3 + 1, 1)[0] for number in range(3)]
    async with opened(store_at(url)) as store:
        await store.apply([add(1, key=key) for key in keys])
        with nodes[0].paused():
            under_way = asyncio.ensure_future(store.apply([add(2, key=key, seq=2, acked=1) for key in keys]))
            done, _ = await asyncio.wait([under_way], timeout=0.05)
            assert not done
            under_way.cancel()
            with pytest.raises(asyncio.CancelledError):
                await under_way
        answers = await store.apply([add(2, key=key, seq=2, acked=1) for key in keys])
        assert list(answers) == [Answer("duplicate", 1, 1, True)] * 3


def test_a_node_that_ends_and_comes_back() -> None:
    """While it is away its counters are refused, definitely; what it has lost when it comes back is a gap."""
    keys = [names_in(number * SLOTS // 2 + 1, 1)[0] for number in range(2)]

    async def count(nodes: Sequence[RedisNode]) -> None:
        async with opened(store_at(url_of(nodes))) as store:
            await store.apply([add(1, key=key) for key in keys])
            await asyncio.to_thread(nodes[1].kill)
            batch = [add(1, key=key, seq=2, acked=1) for key in keys]
            one, refused = await store.apply(batch)
            assert one == Answer("applied", 1, 1, True)
            assert isinstance(refused, StoreUnavailable)
            nodes[1].start()
            await asyncio.to_thread(until, lambda: nodes[1].status()["cluster_state"] == "ok")
            assert list(await store.apply(batch)) == [Answer("duplicate", 1, 1, True), Answer("gap", last=0)]

    with redis_cluster(2) as nodes:
        asyncio.run(count(nodes))


@asynchronous
async def test_a_cluster_that_lacks_a_slot(nodes: Sequence[RedisNode]) -> None:
    """CLUSTERDOWN is definite, and nobody to ask is too; readiness says which node to look at."""
    with redis_cluster(1) as [node]:
        async with opened(store_at(url_of([node]))) as store:
            await store.check()
            slot = slot_of("default/counter")
            node.ask("CLUSTER", "DELSLOTS", slot)
            for _ in range(2):  # by the layout known, and by the one asked for then
                with pytest.raises(StoreUnavailable):
                    await apply(store, add(1))
            until(lambda: node.status()["cluster_state"] == "fail")
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{node.port} says cluster_state:fail"):
                await store.check()
            node.ask("CLUSTER", "ADDSLOTS", slot)
            until(lambda: node.status()["cluster_state"] == "ok")
            with pytest.raises(StoreUnavailable, match="no node of the cluster serves slot"):
                await apply(store, add(1))  # it goes by what it was told last, and asks again then
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)


# Replicas.


@asynchronous
async def test_eventual_reads_go_to_replicas(nodes: Sequence[RedisNode], url: str) -> None:
    """Where a node has one; elsewhere, and for strong reads, the primary answers."""
    keys = [names_in(number * SLOTS // 3 + 1, 1)[0] for number in range(3)]
    with replica_of(nodes[0], nodes) as replica:
        async with opened(store_at(f"{url}&eventual=replica&node_timeout=500")) as store:
            assert store.capabilities.eventual_reads is True
            await store.apply([add(7, key=key) for key in keys])
            layout = await store.cluster.layout(fresh=True)
            assert ("127.0.0.1", replica.port) in layout.shard(1).replicas
            until(lambda: replica.ask("DBSIZE") == nodes[0].ask("DBSIZE"))
            assert [record.value for record in await store.read(keys, strong=False)] == [7, 7, 7]
            with nodes[0].paused():
                [record] = await store.read(keys[:1], strong=False)
                assert (record.value, record.revision, record.exists) == (7, 1, True)
                with pytest.raises((StoreUnavailable, OutcomeUnknown)):
                    await store.read(keys[:1], strong=True)
    async with opened(store_at(url)) as store:
        assert store.capabilities.eventual_reads is False


@asynchronous
async def test_what_no_replica_has_is_not_acknowledged(nodes: Sequence[RedisNode], url: str) -> None:
    """wait=1: a node with a replica acknowledges, one without does not; readiness says so."""
    with_one, without = (names_in(number * SLOTS // 3 + 1, 1)[0] for number in range(2))
    with replica_of(nodes[0], nodes):
        async with opened(store_at(f"{url}&wait=1&wait_timeout=100")) as store:
            done, unmet = await store.apply([add(1, key=with_one), add(1, key=without)])
            assert done == Answer("applied", 0, 0, False)
            assert isinstance(unmet, OutcomeUnknown)
            with pytest.raises(StoreUnavailable, match="has 0 replicas connected, and wait=1"):
                await store.check()


# Configuration.


@asynchronous
async def test_a_server_that_is_no_cluster_says_so() -> None:
    with redis_server() as server, pytest.raises(StoreRefused, match="cluster support disabled"):
        await store_at(f"redis+cluster://127.0.0.1:{server.port}").open()


@asynchronous
async def test_a_node_is_no_single_server(nodes: Sequence[RedisNode]) -> None:
    with pytest.raises(StoreRefused, match=r"let the store URL begin with redis\+cluster://"):
        await single_store_at(url_of_single(nodes[0])).open()


@asynchronous
async def test_nobody_there_is_definite(nodes: Sequence[RedisNode]) -> None:
    store = store_at("redis+cluster://127.0.0.1:1,127.0.0.1:2")
    with pytest.raises(StoreUnavailable):
        await store.open()
    [refused] = await store.apply([add(1)])
    assert isinstance(refused, StoreUnavailable)
    await store.close()


@asynchronous
async def test_credentials(nodes: Sequence[RedisNode], url: str) -> None:
    for node in nodes:
        node.ask("ACL", "SETUSER", "writer", "on", ">p@ss", "~*", "+@all", "-evalsha")
    hosts = url.removeprefix("redis+cluster://")
    try:
        with pytest.raises(StoreRefused):
            await store_at(f"redis+cluster://writer:wrong@{hosts}").open()
        async with opened(store_at(f"redis+cluster://writer:p%40ss@{hosts}")) as store:
            with pytest.raises(StoreRefused):
                await apply(store, add(1))
            assert await state(store) == (0, 0, False)
    finally:
        for node in nodes:
            node.ask("ACL", "DELUSER", "writer")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis+cluster://", "must read"),
        ("redis+cluster://h/1", "no other database"),
        ("redis+cluster://h/x", "must be a number"),
        ("redis+cluster://h?replica=x", "unknown parameter 'replica'"),
        ("redis+cluster://h?connect_timeout=5", "unknown parameter 'connect_timeout'"),
        ("redis+cluster://h?eventual=nearest", "eventual must be primary or replica"),
        ("redis+cluster://h?node_timeout=0", "node_timeout must be an integer"),
        ("redis+cluster://h?ca_file=/etc/hosts", "ca_file needs TLS, which rediss.cluster://"),
        ("rediss+cluster://h?ca_file=/no/such", "is no file"),
        ("redis+sentinel://h", "must name the sentinels' primary"),
        ("redis+sentinel://h/a b", "must name the sentinels' primary"),
        ("redis+sentinel://h/main/x", "must be a number"),
        ("redis+sentinel://h/main?node_timeout=5", "unknown parameter 'node_timeout'"),
        ("redis+sentinel://h/main?sentinel_credentials=other", "sentinel_credentials must be none or same"),
        ("redis://h?eventual=replica", "unknown parameter 'eventual'"),
    ],
)
def test_a_wrong_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Settings.from_url(StoreURL.parse(url))


def test_what_the_url_says() -> None:
    found = Settings.from_url(
        StoreURL.parse("rediss+cluster://me:p%40ss@a,b:1/0?eventual=replica&node_timeout=70&wait=1")
    )
    assert (found.hosts, found.tls, found.database) == ((("a", 6379), ("b", 1)), True, 0)
    assert (found.username, found.password, found.wait) == ("me", "p@ss", 1)
    assert (found.eventual_from_replicas, found.node_timeout_ms, found.connect_timeout_ms) == (True, 70, 70)
    found = Settings.from_url(StoreURL.parse("redis+sentinel://:secret@a,b:1/main.1/3?sentinel_credentials=same"))
    assert (found.hosts, found.primary_name, found.database) == ((("a", 26379), ("b", 1)), "main.1", 3)
    assert (found.same_credentials, found.eventual_from_replicas) == (True, False)


@asynchronous
async def test_the_driver_repeats_nothing_to_any_node(nodes: Sequence[RedisNode], url: str) -> None:
    """We own retries: each connection that was made has redis-py's own off, replicas' and primaries' alike."""
    with replica_of(nodes[0], nodes) as replica:
        async with opened(store_at(f"{url}&eventual=replica")) as store:
            await store.cluster.layout(fresh=True)
            await store.read([f"default/{number}" for number in range(50)], strong=False)
            cluster = store.cluster
            connections = [cluster.primary(("127.0.0.1", node.port)) for node in nodes]
            connections.append(cluster.replica(("127.0.0.1", replica.port)))
            assert isinstance(connections[-1], ReplicaConnections)
            for each in connections:
                assert each.idle
                for connection in each.idle:
                    assert connection.retry.get_retries() == 0
                    assert connection.retry_on_error == []
                    assert connection.retry_on_timeout is False
                    assert connection.health_check_interval == 0
                    assert connection.protocol == 2
