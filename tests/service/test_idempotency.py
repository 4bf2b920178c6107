"""Idempotency-Key: the first outcome is remembered with the count, and replayed."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.service.running import Running


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_fifty_at_once_count_once_and_are_told_the_same(service: Running, client: httpx.Client, name: str) -> None:
    path = f"/v1/counters/{name}/increment"

    async def all_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
            return await asyncio.gather(
                *(client.post(path, json={"by": 3}, headers=keyed("order-1")) for _ in range(50))
            )

    answers = asyncio.run(all_at_once())
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotent-replayed", "") for answer in answers) == ["", *["true"] * 49]
    assert client.get(f"/v1/counters/{name}").json()["value"] == 3
    assert client.get(f"/v1/counters/{name}").json()["revision"] == 1

    other = client.post(path, json={"by": 4}, headers=keyed("order-1"))
    assert (other.status_code, other.json()["type"]) == (422, "/problems/token-reused")
    assert (other.json()["field"], other.json()["applied"]) == ("Idempotency-Key", "no")
    assert client.get(f"/v1/counters/{name}").json()["value"] == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [("k-1", '"k-1"'), ('"say \\"hi\\""', '"say \\"hi\\""'), ("k" * 255, '"' + "k" * 255 + '"'), ("ü", '"ü"')],
)
def test_quoted_and_bare_are_the_same_key(client: httpx.Client, name: str, first: str, second: str) -> None:
    path = f"/v1/counters/{name}/increment"
    one = client.post(path, headers={b"Idempotency-Key": first.encode()})
    other = client.post(path, headers={b"Idempotency-Key": second.encode()})
    assert (one.status_code, "idempotent-replayed" in one.headers) == (200, False)
    assert (other.status_code, other.headers.get("idempotent-replayed")) == (200, "true")
    assert one.content == other.content


def test_rejections_are_remembered_too(client: httpx.Client, name: str) -> None:
    path = f"/v1/counters/{name}/increment"
    client.put(f"/v1/counters/{name}", json={"value": 10})
    rejected = client.post(path, json={"ceiling": 10}, headers=keyed("late"))
    assert rejected.status_code == 409
    client.put(f"/v1/counters/{name}", json={"value": 0})
    again = client.post(path, json={"ceiling": 10}, headers=keyed("late"))
    assert (again.status_code, again.content) == (409, rejected.content)
    assert again.headers["idempotent-replayed"] == "true"


def test_sets_deletes_and_decrements_take_keys(client: httpx.Client, name: str) -> None:
    path = f"/v1/counters/{name}"
    for expected in (None, "true"):
        answer = client.put(path, json={"value": 8}, headers=keyed("set"))
        assert (answer.json()["revision"], answer.headers.get("idempotent-replayed")) == (1, expected)
    for expected in (None, "true"):
        answer = client.post(path + "/decrement", headers=keyed("down"))
        assert (answer.json()["value"], answer.headers.get("idempotent-replayed")) == (7, expected)
    for expected in (None, "true"):
        answer = client.delete(path, headers=keyed("gone"))
        assert (answer.status_code, answer.headers.get("idempotent-replayed")) == (204, expected)
    assert client.post(path + "/increment", headers=keyed("gone")).json()["type"] == "/problems/token-reused"


def test_a_known_key_wins_over_if_match(client: httpx.Client, name: str) -> None:
    path = f"/v1/counters/{name}/increment"
    client.post(path)
    headers = keyed("once") | {"If-Match": '"1"'}
    first = client.post(path, headers=headers)
    again = client.post(path, headers=headers)
    assert (first.status_code, again.status_code, again.content) == (200, 200, first.content)


def test_a_key_belongs_to_store_and_counter(client: httpx.Client, name: str) -> None:
    for path in (f"/v1/counters/{name}", f"/v1/counters/{name}-other", f"/v1/stores/second/counters/{name}"):
        assert client.post(path + "/increment", json={"by": 2}, headers=keyed("shared")).json()["revision"] == 1
        assert client.post(path + "/increment", json={"by": 2}, headers=keyed("shared")).json()["revision"] == 1
