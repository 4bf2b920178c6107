"""What is Redis' own in the Redis store, on a real server: the script's arithmetic, and its keys."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Iterator
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("redis")

from redis import Redis

from plusone.errors import (
    CorruptRecord,
    InvalidRequest,
    StoreRefused,
)
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.redis import redis_server, url_of
from plusone.stores.protocol import Answer, TokenWrite
from plusone.stores.registry import StoreURL
from plusone.types import MAX, MIN
from tests.conformance.harness import (
    A,
    B,
    add,
    apply,
    asynchronous,
    closing,
    delete,
    listed,
    opened,
    read,
    restart,
    state,
)
from tests.servers.redis import client, own_prefix, skip_without_redis, store_at

skip_without_redis(own=True)

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
SLACK_MS = 20_000
"""How much time a test may take on a slow machine."""
NUMBERS = itertools.count()
EDGES = (0, 2**31, 2**32, 2**53, 2**62, 2**63)


def prefix_of(url: str) -> str:
    return StoreURL.parse(url).query["prefix"]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with redis_server() as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_prefix(url_of(server))


@pytest.fixture
def direct(url: str) -> Iterator[Redis]:
    with client(url) as redis:
        yield redis


# Arithmetic.


@st.composite
def sums(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """A value, a total that keeps the sum within 64 bits, and an interval, all mostly near an edge."""
    near = st.builds(
        lambda edge, sign, off: min(max(sign * edge + off, MIN), MAX),
        st.sampled_from(EDGES),
        st.sampled_from((1, -1)),
        st.integers(-3, 3),
    )
    integers = st.one_of(near, st.integers(MIN, MAX))
    value = draw(integers)
    total = min(max(draw(integers), MIN - value, MIN), MAX - value, MAX)
    beside = st.sampled_from((value - 1, value, value + 1)).map(lambda bound: min(max(bound, MIN), MAX))
    bounds = st.one_of(beside, integers)
    lo, hi = sorted((draw(bounds), draw(bounds)))
    return value, total, lo, hi


def test_sums_and_comparisons_are_those_of_integers(server: ServerProcess) -> None:
    """Exact around 0, 2^32, 2^53 and 2^63, on both sides; one packed call sets, one adds, one reads."""

    @settings(max_examples=60, deadline=None)
    @given(st.lists(sums(), min_size=1, max_size=100))
    def check(cases: list[tuple[int, int, int, int]]) -> None:
        asyncio.run(compute(cases))

    async def compute(cases: list[tuple[int, int, int, int]]) -> None:
        async with opened(store_at(url_of(server))) as store:
            keys = [f"default/{next(NUMBERS)}" for _ in cases]
            await store.apply([restart(value, key=key) for key, (value, *_) in zip(keys, cases, strict=True)])
            adds = [
                add(total, key=key, seq=2, acked=1, lo=lo, hi=hi)
                for key, (_, total, lo, hi) in zip(keys, cases, strict=True)
            ]
            assert list(await store.apply(adds)) == [
                Answer("applied" if lo <= value <= hi else "missed", value, 1, True) for value, _, lo, hi in cases
            ]
            assert [record.value for record in await store.read(keys, strong=True)] == [
                value + total if lo <= value <= hi else value for value, total, lo, hi in cases
            ]

    check()


@asynchronous
async def test_a_sum_beyond_64_bits_is_refused_not_wrapped(url: str) -> None:
    """The combiner's guards exclude it; the script does not rely on that."""
    async with opened(store_at(url)) as store:
        await apply(store, restart(MAX))
        with pytest.raises(StoreRefused):
            await apply(store, add(1, seq=2, acked=1))
        await apply(store, restart(MIN, seq=3, acked=1))
        with pytest.raises(StoreRefused):
            await apply(store, add(-1, seq=4, acked=3))
        assert await state(store) == (MIN, 2, True)


# The script.


@asynchronous
async def test_a_forgotten_script_is_sent_again(url: str, direct: Redis) -> None:
    """NOSCRIPT is definite: the same batch follows at once, with the script, and is applied once."""
    async with opened(store_at(url)) as store:
        await apply(store, add(5))
        direct.script_flush()
        assert await apply(store, add(5, seq=2, acked=1)) == Answer("applied", 5, 1, True)
        direct.script_flush()
        assert await apply(store, add(5, seq=2, acked=1)) == Answer("duplicate", 5, 1, True)
        assert await state(store) == (10, 2, True)


@asynchronous
async def test_requests_of_several_writers_and_forms_in_one_call(url: str) -> None:
    async with opened(store_at(url)) as store:
        await apply(store, add(7, key="default/3", writer=B))
        batch = [
            add(1, key="default/1"),
            add(2, key="default/2", writer=B, tokens=(TokenWrite("t", "notes"), TokenWrite("u", "more"))),
            add(3, key="default/3", tokens=(TokenWrite("t", "mine"),), revision=1),
            add(4, key="default/4", ttl_ms=MINUTE_MS, alive=False),
        ]
        assert list(await store.apply(batch)) == [
            Answer("applied", 0, 0, False),
            Answer("applied", 0, 0, False),
            Answer("applied", 7, 1, True),
            Answer("applied", 0, 0, False),
        ]
        again = [
            add(9, key="default/1", seq=2, acked=1, alive=False),
            add(9, key="default/2", tokens=(TokenWrite("new", "x"), TokenWrite("u", "x"))),
            add(9, key="default/3", seq=2, acked=1, tokens=(TokenWrite("t", "x"),)),
        ]
        missed, two, three = await store.apply(again)
        assert missed == Answer("missed", 1, 1, True)
        assert isinstance(two, Answer)
        assert isinstance(three, Answer)
        assert [(record.token, record.data, record.value) for record in two.tokens] == [("u", "more", 0)]
        assert [(record.token, record.data, record.value) for record in three.tokens] == [("t", "mine", 7)]


@pytest.mark.parametrize("shape", ["string", "foreign hash", "state", "version", "session"])
@asynchronous
async def test_what_is_no_counter_fails_alone(
    url: str, direct: Redis, caplog: pytest.LogCaptureFixture, shape: str
) -> None:
    """CorruptRecord for that counter, which stays as it is; the others of the call are applied, and are listed."""
    bad = f"{prefix_of(url)}{{default/bad}}"
    async with opened(store_at(url)) as store:
        caplog.clear()
        if shape == "string":
            direct.set(bad, "5")
        elif shape == "foreign hash":
            direct.hset(bad, "name", "value")
        else:
            await apply(store, add(5, key="default/bad"))
            good = direct.hget(bad, "s")
            assert isinstance(good, bytes)
            if shape == "session":
                direct.hset(bad, f"w:{A}", "garbage")
            else:
                direct.hset(bad, "s", "garbage" if shape == "state" else b"\x02" + good[1:])
        before = direct.dump(bad)
        keys = ["default/one", "default/bad", "default/two"]
        one, corrupt, two = await store.apply([add(1, key=key, seq=2) for key in keys])
        assert (one, two) == (Answer("applied", 0, 0, False),) * 2
        assert isinstance(corrupt, CorruptRecord)
        assert direct.dump(bad) == before
        assert (await state(store, "default/two")) == (1, 1, True)
        if shape in ("string", "state", "version"):
            with pytest.raises(CorruptRecord, match="default/bad"):
                await read(store, "default/bad")
            assert await listed(store, "default/") == {"default/one": 1, "default/two": 1}
            # SCAN is asked for hashes, so it does not come upon a string; it may come upon a key twice.
            warned = {"'default/bad' is left out of a listing"} if shape != "string" else set()
            assert {record.getMessage().partition(":")[0] for record in caplog.records} == warned


@pytest.mark.parametrize("foreign", ["a list", "short"])
@asynchronous
async def test_a_token_that_is_no_token_fails_its_counter_alone(url: str, direct: Redis, foreign: str) -> None:
    async with opened(store_at(url)) as store:
        token = f"{prefix_of(url)}{{default/counter}}:t"
        if foreign == "short":
            direct.set(token, "abc")
        else:
            direct.rpush(token, "x")
        bad = add(1, key="default/counter", tokens=(TokenWrite("t", "notes"),))
        corrupt, other = await store.apply([bad, add(1, key="default/other")])
        assert isinstance(corrupt, CorruptRecord)
        assert other == Answer("applied", 0, 0, False)
        assert await state(store) == (0, 0, False)


@asynchronous
async def test_notes_that_are_no_text_are_handed_on(url: str, direct: Redis) -> None:
    """What to make of them is for the combiner to say: it takes no record of ours for what it is not."""
    async with opened(store_at(url)) as store:
        await apply(store, add(1, tokens=(TokenWrite("t", "notes"),)))
        token = f"{prefix_of(url)}{{default/counter}}:t"
        kept = direct.get(token)
        assert isinstance(kept, bytes)
        direct.set(token, kept[:17] + b"\xff\xfe")
        answer = await apply(store, add(1, seq=2, tokens=(TokenWrite("t", "notes"),)))
        assert [record.data for record in answer.tokens] == ["\ufffd\ufffd"]


# What goes when.


def age_sessions(direct: Redis, key: str, milliseconds: int) -> None:
    """Make every session of a counter older; its time is what ends its field."""
    fields = cast("dict[bytes, bytes]", direct.hgetall(key))
    for field, session in fields.items():
        if field.startswith(b"w:"):
            [written] = struct.unpack(">q", session[-8:])
            direct.hset(key, field, session[:-8] + struct.pack(">q", written - milliseconds))


def writers(count: int) -> list[str]:
    return [f"writer{number:010}" for number in range(count)]


@asynchronous
async def test_old_sessions_above_32_go(url: str, direct: Redis) -> None:
    """Older than 5 minutes, and only as many as are above 32 with the new one."""
    key = f"{prefix_of(url)}{{default/counter}}"
    async with opened(store_at(url)) as store:
        for writer in writers(40):
            await apply(store, add(1, writer=writer))
        age_sessions(direct, key, 5 * MINUTE_MS - SLACK_MS)
        await apply(store, add(1, writer=B))
        assert direct.hlen(key) == 1 + 41
        age_sessions(direct, key, SLACK_MS)
        await apply(store, add(1, writer=A))
        assert direct.hlen(key) == 1 + 32
        assert direct.hexists(key, f"w:{A}")
        assert direct.hexists(key, f"w:{B}")
        assert await state(store) == (42, 42, True)


@asynchronous
async def test_a_living_counter_stays_and_a_dead_one_goes_an_hour_after_its_last_write(url: str, direct: Redis) -> None:
    key = f"{prefix_of(url)}{{default/counter}}"

    def removed_in(milliseconds: int) -> bool:
        return milliseconds - SLACK_MS < direct.pttl(key) <= milliseconds

    async with opened(store_at(url)) as store:
        await apply(store, add(1))
        assert direct.pttl(key) == -1
        await apply(store, delete(seq=2, acked=1))
        assert removed_in(HOUR_MS)
        direct.pexpire(key, MINUTE_MS)
        await apply(store, closing(seq=3, acked=2))
        assert removed_in(HOUR_MS)
        await apply(store, add(1, seq=4, acked=3))
        assert direct.pttl(key) == -1
        await apply(store, delete(seq=5, acked=4))
        await apply(store, add(1, seq=6, acked=5, ttl_ms=5 * HOUR_MS))
        assert removed_in(6 * HOUR_MS)
        await apply(store, add(1, seq=7, acked=6))
        assert removed_in(6 * HOUR_MS)
        await apply(store, closing(seq=1, key="default/other"))
        assert 0 < direct.pttl(f"{prefix_of(url)}{{default/other}}") <= HOUR_MS


@asynchronous
async def test_a_counter_stays_as_long_as_its_tokens(url: str, direct: Redis) -> None:
    key = f"{prefix_of(url)}{{default/counter}}"
    async with opened(store_at(url, token_retention_ms=9 * HOUR_MS)) as store:
        await apply(store, add(1, tokens=(TokenWrite("t", "notes"),)))
        assert direct.pttl(key) == -1
        assert 9 * HOUR_MS - SLACK_MS < direct.pttl(f"{key}:t") <= 9 * HOUR_MS
        await apply(store, delete(seq=2, acked=1))
        assert direct.pexpiretime(key) == direct.pexpiretime(f"{key}:t")


# Listing.


@asynchronous
async def test_forged_page_tokens_are_refused(url: str) -> None:
    """Another account's counters cannot be named by one, nor can a cursor be anything."""
    async with opened(store_at(url)) as store:
        for token in ("", "x", "W10", "é", "WzAsW11d", "Wy0xLFtdXQ", "WzUsWyJvdGhlci9hIl1d"):
            with pytest.raises(InvalidRequest) as refused:
                await store.list("default/", 10, token)
            assert refused.value.field == "page_token"


@asynchronous
async def test_other_keys_are_not_listed(url: str, direct: Redis) -> None:
    prefix = prefix_of(url)
    async with opened(store_at(url)) as store:
        await apply(store, add(5, tokens=(TokenWrite("t}", "notes"),)))
        direct.set(f"{prefix}{{default/string}}", "x")
        direct.hset(f"{prefix}{{default/{{}}", "name", "value")
        assert await listed(store, "default/", limit=10) == {"default/counter": 5}
