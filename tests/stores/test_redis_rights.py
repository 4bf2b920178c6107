"""Credentials and rights, on a real server: what the Redis store's user needs, and what is said where it is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("redis")

from redis import Redis

from plusone.errors import CorruptRecord, StoreRefused
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.redis import redis_server, url_of
from plusone.stores.protocol import Answer, TokenWrite
from plusone.stores.redis.store import SCRIPT
from plusone.stores.registry import StoreURL
from tests.conformance.harness import A, B, add, apply, asynchronous, delete, listed, opened, state
from tests.servers.redis import client, own_prefix, skip_without_redis, store_at

skip_without_redis(own=True)

DOCUMENT = Path(__file__).parents[2] / "docs" / "datastores.md"
RULES = re.search(r"^ACL SETUSER plusone .*$", DOCUMENT.read_text(), re.MULTILINE)
assert RULES is not None
GRANTS = [rule for rule in RULES[0].split() if rule.startswith("+")]
"""The commands that the documentation grants, as `+command`."""
OF_SCRIPT = sorted(set(re.findall(r"(?:call|try)\('([A-Z]+)'", SCRIPT.decode())))


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


@contextmanager
def user(url: str, direct: Redis, *rules: str) -> Iterator[str]:
    """The URL of a user with these rules on the keys of the URL's prefix."""
    prefix = StoreURL.parse(url).query["prefix"]
    commands = ["-@all", *rules]
    direct.acl_setuser("plusone", enabled=True, passwords=["+p@ss"], keys=[f"{prefix}*"], commands=commands, reset=True)
    try:
        yield url.replace("redis://", "redis://plusone:p%40ss@")
    finally:
        direct.acl_deluser("plusone")


@asynchronous
async def test_the_rights_that_are_documented_are_enough(url: str, direct: Redis) -> None:
    """To count, with tokens and with a ttl, to delete, to let old sessions go, to read, to list and to wait."""
    token = (TokenWrite("t", "notes"),)
    with user(url, direct, *GRANTS) as theirs:
        direct.script_flush()
        async with opened(store_at(theirs)) as store:
            direct.script_flush()
            assert await apply(store, add(5, tokens=token)) == Answer("applied", 0, 0, False)
            [known] = (await apply(store, add(5, seq=2, tokens=token, acked=1))).tokens
            assert known.data == "notes"
            for number in range(40):
                await apply(store, add(1, key="default/crowded", writer=f"writer{number:010}"))
            assert (await apply(store, delete(seq=2, acked=1))).status == "applied"
            assert (await apply(store, add(3, seq=3, acked=2, ttl_ms=60_000))).status == "applied"
            assert await state(store) == (3, 3, True)
            assert await listed(store, "default/") == {"default/counter": 3, "default/crowded": 40}
            await store.check()
        async with opened(store_at(f"{theirs}&wait=1&wait_timeout=1")) as store:
            [answer] = await store.apply([add(1, seq=4, acked=3)])
            assert "WAIT answered: 0" in str(answer)  # of 1: there is no replica


def test_the_script_looks_at_all_its_rights() -> None:
    """And the documentation grants them."""
    [listed_in_script] = re.findall(r"local COMMANDS = .*\n\s*{(.*)}", SCRIPT.decode())
    assert sorted(re.findall(r"'([A-Z]+)'", listed_in_script)) == sorted([*OF_SCRIPT, "WAIT"])
    assert {f"+{name.lower()}" for name in [*OF_SCRIPT, "WAIT"]} <= set(GRANTS)


@pytest.mark.parametrize("name", OF_SCRIPT)
@asynchronous
async def test_a_right_that_the_script_lacks_is_named_before_anything_is_written(
    url: str, direct: Redis, name: str
) -> None:
    with user(url, direct, *GRANTS, f"-{name.lower()}") as theirs:
        async with opened(store_at(theirs)) as store:
            with pytest.raises(StoreRefused, match=rf"{name} on .*\(NOPERM\); grant the user"):
                await store.apply([add(1), add(1, key="default/other", tokens=(TokenWrite("t", "notes"),))])
    assert direct.keys(f"{StoreURL.parse(url).query['prefix']}*") == []


@asynchronous
async def test_all_missing_rights_are_named_at_once(url: str, direct: Redis) -> None:
    with user(url, direct, *GRANTS, "-hset", "-set") as theirs:
        async with opened(store_at(theirs)) as store:
            with pytest.raises(StoreRefused, match="the user may not run HSET, SET on"):
                await apply(store, add(1))


@asynchronous
async def test_waiting_without_the_right_to_wait_writes_nothing(url: str, direct: Redis) -> None:
    """Else each count would be written, and none acknowledged."""
    with user(url, direct, *GRANTS, "-wait") as theirs:
        async with opened(store_at(f"{theirs}&wait=1&wait_timeout=1")) as store:
            with pytest.raises(StoreRefused, match="WAIT"):
                await apply(store, add(1))
        async with opened(store_at(theirs)) as store:
            assert await apply(store, add(1)) == Answer("applied", 0, 0, False)


@asynchronous
async def test_a_command_that_was_renamed_is_named() -> None:
    with redis_server("--rename-command", "PERSIST", "") as server:
        async with opened(store_at(url_of(server))) as store:
            with pytest.raises(StoreRefused, match="PERSIST"):
                await apply(store, add(1))
            assert await state(store) == (0, 0, False)


@asynchronous
async def test_keys_beyond_the_users_are_refused(url: str, direct: Redis) -> None:
    with user(url, direct, *GRANTS) as theirs:
        async with opened(store_at(theirs.replace("prefix=", "prefix=x"))) as store:
            with pytest.raises(StoreRefused, match="grant the user the keys"):
                await apply(store, add(1))


@asynchronous
async def test_what_is_of_another_type_is_still_corrupt(url: str, direct: Redis) -> None:
    prefix = StoreURL.parse(url).query["prefix"]
    direct.set(f"{prefix}{{default/counter}}", "5")
    with user(url, direct, *GRANTS) as theirs:
        async with opened(store_at(theirs)) as store:
            bad, good = await store.apply([add(1, writer=A), add(1, key="default/other", writer=B)])
            assert isinstance(bad, CorruptRecord)
            assert good == Answer("applied", 0, 0, False)


@pytest.mark.parametrize("lacking", ["evalsha", "hget", "scan", "info", "ping", "script"])
@asynchronous
async def test_a_right_beside_the_script_is_named(url: str, direct: Redis, lacking: str) -> None:
    """A connection that was made for it is closed again; Python would warn of one that is left."""

    async def use(theirs: str) -> None:
        async with opened(store_at(theirs)) as store:
            await apply(store, add(1))
            await state(store)
            await listed(store, "default/")

    advice = rf"'{lacking}.*\(NOPERM\); grant the user"
    with user(url, direct, *GRANTS, f"-{lacking}") as theirs, pytest.raises(StoreRefused, match=advice):
        await use(theirs)


@asynchronous
async def test_credentials(url: str, direct: Redis) -> None:
    with user(url, direct, *GRANTS) as theirs:
        with pytest.raises(StoreRefused, match="correct the user and the password in the store URL") as refused:
            await store_at(theirs.replace("p%40ss", "guess")).open()
        assert "guess" not in str(refused.value)
        direct.config_set("requirepass", "secret")
        try:
            with pytest.raises(StoreRefused, match="put user and password into the store URL"):
                await store_at(url).open()
        finally:
            direct.config_set("requirepass", "")
    with pytest.raises(StoreRefused, match="take the password out of the store URL"):
        await store_at(url.replace("redis://", "redis://:p@")).open()
    with pytest.raises(StoreRefused, match="name a database that the server has"):
        await store_at(url.replace("/0?", "/99?")).open()
