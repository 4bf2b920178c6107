"""What is wrong with a request is told by status, type and field; nothing is counted by it."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.service.running import Running

JSON = {"content-type": "application/json"}

BODIES = [
    (b'{"by":"1"}', "by"),
    (b'{"by":true}', "by"),
    (b'{"by":null}', "by"),
    (b'{"by":[1]}', "by"),
    (b'{"by":1.5}', "by"),
    (b'{"by":1.0}', "by"),
    (b'{"by":1e2}', "by"),
    (b'{"by":NaN}', "body"),
    (b'{"by":Infinity}', "body"),
    (b'{"by":9223372036854775808}', "by"),
    (b'{"by":-9223372036854775809}', "by"),
    (b'{"by":1' + b"0" * 5000 + b"}", "by"),
    (b'{"ceiling":9223372036854775808}', "ceiling"),
    (b'{"floor":-9223372036854775809}', "floor"),
    (b'{"floor":2,"ceiling":1}', "floor"),
    (b'{"ttl":0}', "ttl"),
    (b'{"ttl":-1}', "ttl"),
    (b'{"ttl":"1"}', "ttl"),
    (b'{"ttl":1e400}', "ttl"),
    (b'{"ttl":3155760001}', "ttl"),
    (b'{"amount":1}', "amount"),
    (b'{"by":1,"By":2}', "By"),
    (b'{"by":1,"by":2}', "by"),
    (b'{"by":1,"b\\u0079":2}', "by"),
    (b'{"floor":1,"ceiling":5,"floor":2}', "floor"),
    (b'{"b\xffy":1}', "body"),
    (b'{"by":1}{}', "body"),
    (b'{"by":1', "body"),
    (b'{"by":1,}', "body"),
    (b"by=1", "body"),
    (b" ", "body"),
    (b"\xef\xbb\xbf{}", "body"),
    (b"[]", "body"),
    (b"1", "body"),
    (b"null", "body"),
    (b"[" * 100_000, "body"),
]


@pytest.mark.parametrize(("body", "field"), BODIES)
@pytest.mark.parametrize("path", ["/v1/counters/{}/increment", "/v1/stores/default/counters/{}/decrement"])
def test_a_bad_body_is_told_its_field(client: httpx.Client, name: str, path: str, body: bytes, field: str) -> None:
    # The first path is the thin one, the second the framework's.
    answer = client.post(path.format(name), content=body, headers=JSON)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["type"], problem["field"], problem["applied"]) == ("/problems/invalid-request", field, "no")
    assert problem["detail"].startswith(field)
    assert client.get(f"/v1/counters/{name}").json()["revision"] == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "value"),
        (b'{"value":1.5}', "value"),
        (b'{"value":9223372036854775808}', "value"),
        (b'{"value":1,"value":1}', "value"),
        (b'{"value":1,"ceiling":2}', "ceiling"),
        (b"", "body"),
    ],
)
def test_a_bad_set_is_told_its_field(client: httpx.Client, name: str, body: bytes, field: str) -> None:
    answer = client.put(f"/v1/counters/{name}", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_the_lowest_number_cannot_be_subtracted(client: httpx.Client, name: str) -> None:
    answer = client.post(f"/v1/counters/{name}/decrement", json={"by": -(2**63)})
    assert (answer.status_code, answer.json()["field"]) == (422, "by")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/plain"}, b"{}"),
        ({"content-type": "application/x-www-form-urlencoded"}, b"by=1"),
        ({"content-type": "application/x-ndjson"}, b"{}"),
        ({"content-type": "application/json; charset=latin-1"}, b"{}"),
        ({"content-type": "application/jsonx"}, b"{}"),
        ({}, b"{}"),
    ],
)
@pytest.mark.parametrize("tree", ["/v1", "/v1/stores/second"])
def test_a_body_of_another_type(service: Running, name: str, tree: str, headers: dict[str, str], body: bytes) -> None:
    status, content = service.raw("POST", f"{tree}/counters/{name}/increment", body, headers)
    problem = json.loads(content)
    assert (status, problem["type"], problem["field"]) == (415, "/problems/unsupported-media-type", "Content-Type")
    assert service.raw("PUT", f"{tree}/counters/{name}", body, headers)[0] == 415


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"'],
)
def test_json_under_all_its_names(client: httpx.Client, name: str, content_type: str) -> None:
    headers = {"content-type": content_type}
    assert client.post(f"/v1/counters/{name}/increment", content=b"{}", headers=headers).status_code == 200


@pytest.mark.parametrize("tree", ["/v1", "/v1/stores/second"])
def test_a_body_over_the_limit(client: httpx.Client, name: str, tree: str) -> None:
    body = b'{"by":' + b" " * 1_000_000 + b"1}"
    pieces = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    for content in (body, pieces):  # with its length told beforehand, and in chunks
        answer = client.post(f"{tree}/counters/{name}/increment", content=content, headers=JSON)
        assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large")
        assert (answer.json()["field"], answer.json()["applied"]) == ("body", "no")


@pytest.mark.parametrize(
    ("method", "path", "content_type", "status"),
    [
        ("POST", "/v2/counters", "application/json", 404),
        ("POST", "/v1//counters", "application/json", 404),
        ("PATCH", "/v1/counters/large", "application/json", 405),
        ("PUT", "/v1/counters/large", "text/plain", 415),
        ("PUT", "/v1/counters/%zz", "application/json", 422),
    ],
)
def test_an_early_answer_reaches_who_still_sends(
    service: Running, method: str, path: str, content_type: str, status: int
) -> None:
    body = b'{"value":' + b" " * 900_000 + b"1}"
    assert service.raw(method, path, body, {"content-type": content_type})[0] == status


@pytest.mark.parametrize(
    "segment",
    ["%", "%2", "%zz", "a%", "%FF", "%C3%28", "%00", "%0A", "%7F", "%C2%80", "a" * 256, "%C3%BC" * 128, "%ED%A0%80"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/counters/{}/increment"),
        ("POST", "/v1/counters/{}/decrement"),
        ("GET", "/v1/counters/{}"),
        ("DELETE", "/v1/stores/second/counters/{}"),
    ],
)
def test_a_bad_name(service: Running, segment: str, method: str, path: str) -> None:
    status, content = service.raw(method, path.format(segment))
    assert (status, json.loads(content)["field"]) == (422, "name")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Idempotency-Key", ""),
        ("Idempotency-Key", '""'),
        ("Idempotency-Key", '"open'),
        ("Idempotency-Key", '"a" b'),
        ("Idempotency-Key", '"a\\b"'),
        ("Idempotency-Key", "k" * 256),
        ("Idempotency-Key", "\xff"),
        ("Idempotency-Key", "\xc2\x80"),
        ("If-Match", "5"),
        ("If-Match", "*"),
        ("If-Match", 'W/"5"'),
        ("If-Match", '"five"'),
        ("If-Match", '"1", "2"'),
        ("If-Match", '"9223372036854775808"'),
        ("If-None-Match", '"5"'),
    ],
)
@pytest.mark.parametrize("tree", ["/v1", "/v1/stores/second"])
def test_a_bad_header(client: httpx.Client, name: str, tree: str, header: str, value: str) -> None:
    headers = {header.encode(): value.encode("latin-1")}
    answer = client.post(f"{tree}/counters/{name}/increment", headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, header)


def test_contradicting_preconditions(client: httpx.Client, name: str) -> None:
    headers = {"If-Match": '"1"', "If-None-Match": "*"}
    answer = client.put(f"/v1/counters/{name}", json={"value": 1}, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, "If-None-Match")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("prefix=%00", "prefix"),
        ("page_token=nonsense", "page_token"),
        ("numbers=roman", "numbers"),
    ],
)
def test_a_bad_query_of_a_listing(client: httpx.Client, query: str, field: str) -> None:
    answer = client.get(f"/v1/counters?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert answer.json()["field"] == field


def test_a_bad_consistency(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/v1/counters/{name}?consistency=casual")
    assert (answer.status_code, answer.json()["field"]) == (422, "consistency")


def test_no_such_path_and_no_such_method(client: httpx.Client, name: str) -> None:
    answer = client.post("/v2/counters")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
    answer = client.patch(f"/v1/counters/{name}")
    assert (answer.status_code, answer.json()["type"]) == (405, "/problems/method-not-allowed")
    assert sorted(answer.headers["allow"].split(", ")) == ["DELETE", "GET", "HEAD", "OPTIONS", "PUT"]
    assert client.get(f"/v1/counters/{name}/increment").status_code == 405
