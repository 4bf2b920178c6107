"""Many increments in one request."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

PATH = "/v1/increments"
NDJSON = {"content-type": "application/x-ndjson"}


def test_answers_come_in_order_each_with_its_status(client: httpx.Client, name: str) -> None:
    items: list[Any] = [
        {"name": name, "by": 2},
        {"name": name + "b"},
        {"name": name, "by": 5, "ceiling": 6},
        {"name": name, "by": -1},
        {"name": ""},
        {"name": name, "by": 1.5},
        {"by": 1},
        {"name": name, "amount": 1},
        7,
        {"name": name},
    ]
    answer = client.post(PATH, json=items)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    results = answer.json()
    assert [result["status"] for result in results] == [200, 200, 409, 200, 422, 422, 422, 422, 422, 200]
    assert results[0] | {"at": ""} == {
        "status": 200, "name": name, "value": 2, "previous": 0, "revision": 1, "applied": True, "at": ""
    }  # fmt: skip
    assert (results[2]["reason"], results[2]["value"], results[2]["requested"]) == ("ceiling", 2, 5)
    assert [results[index]["field"] for index in (4, 5, 6, 7, 8)] == ["name", "by", "name", "amount", "body"]
    assert (results[3]["value"], results[9]["value"]) == (1, 2)
    assert client.get(f"/v1/counters/{name}").json()["revision"] == 3


def test_a_line_each(client: httpx.Client, name: str) -> None:
    lines = [f'{{"name":"{name}"}}', "", f'{{"name":"{name}","by":}}', f'{{"name":"{name}","by":2}}', ""]
    answer = client.post(PATH, content="\n".join(lines).encode(), headers=NDJSON)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert answer.text.endswith("\n")
    results = [json.loads(line) for line in answer.text.splitlines()]
    assert [result["status"] for result in results] == [200, 422, 200]
    assert results[2]["value"] == 3


def test_a_bad_line_in_other_bytes_fails_alone(client: httpx.Client, name: str) -> None:
    content = f'{{"name":"{name}"}}\n'.encode() + b'{"name":"\xff"}\n'
    results = [json.loads(line) for line in client.post(PATH, content=content, headers=NDJSON).text.splitlines()]
    assert [(result["status"], result.get("field")) for result in results] == [(200, None), (422, "body")]


def test_duplicate_members_are_told_from_colons_in_text(client: httpx.Client, name: str) -> None:
    content = f'[{{"name":"{name}:a:b"}},{{"name":"{name}","by":1,"by":1}},{{"name":"{name}","token":"a:b"}}]'
    answer = client.post(PATH, content=content.encode(), headers={"content-type": "application/json"})
    assert [(result["status"], result.get("field")) for result in answer.json()] == [
        (200, None),
        (422, "by"),
        (200, None),
    ]


def test_ten_thousand_items_and_not_one_more(client: httpx.Client, name: str) -> None:
    items = [{"name": f"{name}-{index % 100}"} for index in range(10_000)]
    results = client.post(PATH, json=items).json()
    assert [result["value"] for result in results] == [index // 100 + 1 for index in range(10_000)]
    answer = client.post(PATH, json=[*items, items[0]])
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large")
    assert answer.json()["detail"] == "the body has 10001 items; 10000 are allowed"
    assert client.get(f"/v1/counters/{name}-0").json()["value"] == 100


def test_one_key_covers_each_counters_group(client: httpx.Client, name: str) -> None:
    items = [{"name": name}, {"name": name + "b"}, {"name": name, "by": 4, "ceiling": 4}, {"name": name}]
    headers = {"Idempotency-Key": "import-1"}
    first = client.post(PATH, json=items, headers=headers)
    assert [result["status"] for result in first.json()] == [200, 200, 409, 200]
    assert "idempotent-replayed" not in first.headers

    again = client.post(PATH, json=items, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert [result["status"] for result in again.json()] == [200, 200, 409, 200]
    assert [result.get("replayed") for result in again.json()] == [True, True, True, True]
    assert client.get(f"/v1/counters/{name}").json()["value"] == 2

    other = client.post(PATH, json=[{"name": name}, {"name": name + "c"}], headers=headers).json()
    assert [result["status"] for result in other] == [422, 200]
    assert (other[0]["type"], other[0]["field"]) == ("/problems/token-reused", "Idempotency-Key")


def test_an_item_may_carry_its_own_token(client: httpx.Client, name: str) -> None:
    headers = {"Idempotency-Key": "import-2"}
    items = [{"name": name, "token": "mine"}, {"name": name}]
    assert [result["value"] for result in client.post(PATH, json=items, headers=headers).json()] == [1, 2]
    single = client.post(f"/v1/counters/{name}/increment", headers={"Idempotency-Key": "mine"})
    assert (single.json()["value"], single.headers["idempotent-replayed"]) == (1, "true")
    reused = client.post(PATH, json=[{"name": name, "by": 9, "token": "mine"}]).json()[0]
    assert (reused["status"], reused["type"], reused["field"]) == (422, "/problems/token-reused", "token")
    empty = client.post(PATH, json=[{"name": name, "token": ""}], headers=headers).json()[0]
    assert (empty["status"], empty["field"], empty["detail"].split()[0]) == (422, "token", "token")


def test_nothing_is_a_bulk_too(client: httpx.Client) -> None:
    answer = client.post(PATH, json=[])
    assert (answer.json(), "idempotent-replayed" in answer.headers) == ([], False)
    assert client.post(PATH, content=b"", headers=NDJSON).content == b""


@pytest.mark.parametrize(
    ("body", "content_type", "status", "field"),
    [
        (b"{}", "application/json", 422, "body"),
        (b"[1,", "application/json", 422, "body"),
        (b"", "application/json", 422, "body"),
        (b"[NaN]", "application/json", 422, "body"),
        (b"[" * 200_000 + b"]" * 200_000, "application/json", 422, "body"),
        (b"[]", "text/plain", 415, "Content-Type"),
    ],
)
def test_what_is_no_list(client: httpx.Client, body: bytes, content_type: str, status: int, field: str) -> None:
    answer = client.post(PATH, content=body, headers={"content-type": content_type})
    assert (answer.status_code, answer.json()["field"]) == (status, field)


@pytest.mark.parametrize(
    ("text", "position"),
    [(r"\ud800", 23), (r"\ud800x", 23), (r"\uDC00", 23), (r"\ud83d\ude00\udfff", 35), (r"\\\ud800", 25)],
)
def test_half_a_surrogate_pair_is_told_its_place(client: httpx.Client, text: str, position: int) -> None:
    content = b'[{"name":"a"},{"name":"' + text.encode() + b'"}]'
    answer = client.post(PATH, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["field"]) == (422, "body")
    assert f"half a surrogate pair at byte {position}" in answer.json()["detail"]
    assert client.get("/v1/counters/a").json()["exists"] is False


def test_whole_surrogate_pairs_and_escaped_backslashes_are_text(client: httpx.Client, name: str) -> None:
    content = rf'[{{"name":"{name}\ud83d\ude00"}},{{"name":"{name}\\ud800"}}]'.encode()
    results = client.post(PATH, content=content, headers={"content-type": "application/json"}).json()
    assert [result["name"] for result in results] == [f"{name}\U0001f600", rf"{name}\ud800"]


def test_a_bad_key_fails_the_whole(client: httpx.Client, name: str) -> None:
    answer = client.post(PATH, json=[{"name": name}], headers={"Idempotency-Key": '"'})
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")
    assert client.get(f"/v1/counters/{name}").json()["exists"] is False
