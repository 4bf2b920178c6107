"""What the DynamoDB store makes of items, on a real server: foreign ones, unreturned ones, those to be removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("aiobotocore")

from plusone.errors import CorruptRecord, OutcomeUnknown, StoreUnavailable
from plusone.lab.processes import ServerProcess
from plusone.lab.servers.dynamodb import dynamodb_server, url_of
from plusone.stores.dynamodb.keys import counter_key, token_key
from plusone.stores.dynamodb.store import DynamoDBStore
from plusone.stores.protocol import Answer
from tests.conformance.harness import (
    KEY,
    NOTES,
    B,
    World,
    add,
    apply,
    asynchronous,
    delete,
    has_session,
    known_tokens,
    listed,
    opened,
    restart,
    state,
    with_tokens,
)
from tests.servers.dynamodb import own_table, skip_without_dynamodb, store_at, table_of, wire

skip_without_dynamodb(own=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with dynamodb_server() as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> Iterator[str]:
    with server.shown():
        yield from own_table(url_of(server))


async def put(url: str, key: str, **attributes: Any) -> None:
    """Lay an item of somebody else's under a counter's key."""
    partition, name = counter_key(key)
    entry = {"p": {"S": partition}, "n": {"S": name}, **attributes}
    async with wire(url) as direct:
        await direct.call("PutItem", json.dumps({"TableName": table_of(url), "Item": entry}).encode())


async def raw(url: str, partition: str, name: str) -> dict[str, Any]:
    key = {"p": {"S": partition}, "n": {"S": name}}
    async with wire(url) as direct:
        asked = {"TableName": table_of(url), "Key": key, "ConsistentRead": True}
        found: dict[str, Any] = json.loads(await direct.call("GetItem", json.dumps(asked).encode())).get("Item", {})
        return found


# Items.


MAPS: dict[str, Any] = {name: {"M": {}} for name in "sbqt"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"v": {"N": str(2**63)}, "r": {"N": "1"}, **MAPS},
        {"v": {"N": str(-(2**63) - 1)}, "r": {"N": "1"}, **MAPS},
        {"v": {"N": "9" * 38}, "r": {"N": "1"}, **MAPS},
        {"v": {"S": "5"}, "r": {"N": "1"}, **MAPS},
        {"v": {"N": "5"}, **MAPS},
        {"v": {"N": "5"}, "r": {"N": "1"}},
        {"v": {"N": "5"}, "r": {"N": "1"}, **MAPS, "s": {"L": []}},
        {},
    ],
)
@asynchronous
async def test_what_is_no_counter_of_ours_fails_alone(url: str, attributes: dict[str, Any]) -> None:
    """Numbers of DynamoDB have 38 digits, so nothing of its own ends at 2^63; and nothing becomes 0 unsaid."""
    await put(url, KEY, **attributes)
    async with opened(store_at(url)) as store:
        for request in (add(1), restart(1), add(1, acked=3, seq=4), add(1, alive=False), delete()):
            [foreign, other] = await store.apply([request, add(1, key="default/other", seq=request.seq)])
            assert isinstance(foreign, CorruptRecord), request
            assert "default/counter" in str(foreign)
            assert isinstance(other, Answer)
        partition, name = counter_key(KEY)
        assert await raw(url, partition, name) == {"p": {"S": partition}, "n": {"S": name}, **attributes}


@asynchronous
async def test_foreign_items_are_left_out_of_listings_and_named(url: str, caplog: pytest.LogCaptureFixture) -> None:
    await put(url, "default/foreign", v={"N": "9" * 38}, r={"N": "1"})
    async with opened(store_at(url)) as store:
        await apply(store, add(5, key="default/ours"))
        assert await listed(store, "default/") == {"default/ours": 5}
        assert "default/foreign" in caplog.text
        with pytest.raises(CorruptRecord, match="default/foreign"):
            await store.read(["default/foreign"], strong=True)


@asynchronous
async def test_a_value_that_is_no_integer_is_not_told_as_one(url: str) -> None:
    """The guard admits it, so it was counted upon: what that means is not known."""
    await put(url, KEY, v={"N": "1.5"}, r={"N": "1"}, **MAPS)
    async with opened(store_at(url)) as store:
        [answer] = await store.apply([add(1)])
        assert isinstance(answer, OutcomeUnknown)
        [answer] = await store.apply([add(1)])
        assert isinstance(answer, CorruptRecord)


# Old servers, which do not return the item that failed a condition.


def forgetful(store: DynamoDBStore) -> DynamoDBStore:
    """The store as an older server would answer it: without the items of failed conditions."""
    answered = store.wire.call

    async def call(operation: str, body: bytes) -> bytes:
        answer = await answered(operation, body)
        if operation != "BatchExecuteStatement":
            return answer
        decoded = json.loads(answer)
        for response in decoded["Responses"]:
            response.get("Error", {}).pop("Item", None)
        return json.dumps(decoded).encode()

    store.wire.call = call  # type: ignore[method-assign]
    return store


@asynchronous
async def test_servers_that_return_no_item_are_asked_for_it(url: str) -> None:
    """Each row of the step's table, by way of a strong read after the step."""
    async with opened(forgetful(store_at(url))) as store:
        assert await apply(store, add(1, acked=1, seq=2)) == Answer("gap", last=0)
        assert await apply(store, add(1, lo=1)) == Answer("missed", 0, 0, False)
        assert await apply(store, add(5, seq=2)) == Answer("applied", 0, 0, False)
        assert await apply(store, add(5, seq=2)) == Answer("duplicate", 0, 0, False)
        assert await apply(store, add(5, seq=1)) == Answer("stale")
        assert await apply(store, add(5, seq=9, acked=8)) == Answer("gap", last=2)
        assert await apply(store, add(5, seq=3, acked=2, hi=4)) == Answer("missed", 5, 1, True)
        assert await apply(store, add(5, writer=B, alive=False)) == Answer("missed", 5, 1, True)
        assert await apply(store, delete(seq=3, acked=2)) == Answer("applied", 5, 1, True)
        assert await apply(store, add(7, seq=4, acked=3)) == Answer("applied", 0, 2, False)
        assert await state(store) == (7, 3, True)


# Sessions.


async def full_of(url: str, written_ms: int) -> None:
    """A counter with 1,000 sessions, all of that time."""
    writers = [f"writer{number:010}" for number in range(1_000)]
    ones: dict[str, Any] = {"M": {writer: {"N": "1"} for writer in writers}}
    times: dict[str, Any] = {"M": {writer: {"N": str(2 * written_ms + 1)} for writer in writers}}
    await put(url, KEY, v={"N": "1000"}, r={"N": "1000"}, s=ones, b=ones, q=ones, t=times)


@asynchronous
async def test_a_full_counter_takes_a_new_writer_in_the_place_of_old_ones(url: str) -> None:
    """16 go in one step, for a statement has 8,192 characters at most; where none may go, nobody comes."""
    world = World()
    await full_of(url, world.now_ms)
    async with opened(store_at(url, clock=world.clock)) as store:
        [refused] = await store.apply([add(1, writer=B)])
        assert isinstance(refused, StoreUnavailable)
        world.advance(3_600_001)
        assert await apply(store, add(1, writer=B)) == Answer("applied", 1_000, 1_000, True)
        assert await has_session(store, B)
        assert len((await raw(url, *counter_key(KEY)))["s"]["M"]) == 985


# Removal.


@asynchronous
async def test_dynamodb_may_remove_late(url: str) -> None:
    """What has expired is dead, whether the item is still there or not: counters and tokens alike."""
    world = World()
    async with opened(store_at(url, clock=world.clock, token_retention_ms=1_000)) as store:
        await apply(store, with_tokens(store, add(5, ttl_ms=1_000), (0, 0, False), "t"))
        world.advance(1_001)
        assert (await raw(url, *counter_key(KEY)))["v"] == {"N": "5"}
        assert (await raw(url, *token_key(KEY, "t")))["d"] == {"S": NOTES}
        assert await state(store) == (0, 1, False)
        assert await known_tokens(store, "t") == []
        again = with_tokens(store, add(3, seq=2, acked=1), (0, 1, False), "t")
        assert await apply(store, again) == Answer("applied", 0, 1, False)
        assert await known_tokens(store, "t") == ["t"]
        assert await state(store) == (3, 2, True)


@asynchronous
async def test_when_dynamodb_may_remove(url: str) -> None:
    """An hour after the last write and behind the last token at the earliest, and never what is alive for ever."""
    world = World()
    day, hour = 86_400, 3_600

    async def removal() -> int | None:
        found = (await raw(url, *counter_key(KEY))).get("x")
        return None if found is None else int(found["N"]) - world.now_ms // 1_000

    async with opened(store_at(url, clock=world.clock)) as store:
        await apply(store, add(0, applied=0))
        assert await removal() in (hour, hour + 1)
        await apply(store, add(1, seq=2, acked=1))
        assert await removal() is None
        await apply(store, delete(seq=3, acked=2))
        assert await removal() in (hour, hour + 1)
        world.advance(1_800_000)
        await apply(store, add(0, seq=4, acked=3, applied=0))
        assert await removal() in (hour, hour + 1)
        await apply(store, add(1, seq=5, acked=4, ttl_ms=60_000))
        assert await removal() in (hour + 60, hour + 61)
        await apply(store, with_tokens(store, add(1, seq=6, acked=5), (1, 3, True), "t"))
        assert await removal() in (day, day + 1)
        world.advance(1_800_000)
        await apply(store, delete(seq=7, acked=6))
        assert await removal() in (day - 1_800, day - 1_799)
        assert int((await raw(url, *token_key(KEY, "t")))["x"]["N"]) - world.now_ms // 1_000 >= day - 1_800


@asynchronous
async def test_one_statements_error_is_its_own(url: str) -> None:
    """Of 25 in a call: a throttled one and one in a conflict are definite, and the others are applied."""
    async with opened(store_at(url)) as store:
        answered = store.wire.call

        async def call(operation: str, body: bytes) -> bytes:
            answer = json.loads(await answered(operation, body))
            for response, code in zip(answer["Responses"], ("ThrottlingError", "TransactionConflict"), strict=False):
                response["Error"] = {"Code": code, "Message": "because"}
            return json.dumps(answer).encode()

        keys = [f"default/{number}" for number in range(25)]
        assert [answer.status for answer in await store.apply([add(1, key=key) for key in keys])] == ["applied"] * 25  # type: ignore[union-attr]
        store.wire.call = call  # type: ignore[method-assign]
        answers = await store.apply([add(1, key=key, seq=2, acked=1) for key in keys])
        assert [type(answer) for answer in answers[:2]] == [StoreUnavailable] * 2
        assert list(answers[2:]) == [Answer("applied", 1, 1, True)] * 23
