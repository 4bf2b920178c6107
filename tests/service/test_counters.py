"""Counters over HTTP, in the order of the API's table."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import pytest

from tests.service.running import Running

MAX = 2**63 - 1
MIN = -(2**63)


def increment(client: httpx.Client, name: str, **body: int | float) -> httpx.Response:
    return client.post(f"/v1/counters/{quote(name, safe='')}/increment", json=body)


def test_an_increment_needs_neither_body_nor_content_type(service: Running, client: httpx.Client, name: str) -> None:
    answer = client.post(f"/v1/counters/{name}/increment")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    at = answer.json()["at"]
    assert answer.json() == {"name": name, "value": 1, "previous": 0, "revision": 1, "applied": True, "at": at}
    assert list(answer.json()) == ["name", "value", "previous", "revision", "applied", "at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
    assert abs(datetime.fromisoformat(at) - datetime.now(UTC)) < timedelta(minutes=1)
    # What curl -X POST sends: not even a length. And what curl -d '' sends.
    assert service.raw("POST", f"/v1/counters/{name}/increment")[0] == 200
    form = {"content-type": "application/x-www-form-urlencoded", "content-length": "0"}
    assert service.raw("POST", f"/v1/counters/{name}/increment", headers=form)[0] == 200


def test_by_and_bounds(client: httpx.Client, name: str) -> None:
    assert increment(client, name, by=7).json()["value"] == 7
    assert increment(client, name, by=-2).json()["value"] == 5
    assert increment(client, name, by=0).json()["revision"] == 3
    assert increment(client, name, by=5, ceiling=10, floor=0).json()["value"] == 10
    answer = increment(client, name, by=3, ceiling=12, floor=0)
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "/problems/bound-reached",
        "title": "Bound reached",
        "status": 409,
        "detail": "rejected by ceiling: the counter is 10 at revision 4",
        "applied": "no",
        "reason": "ceiling",
        "value": 10,
        "revision": 4,
        "requested": 3,
        "ceiling": 12,
        "floor": 0,
    }
    answer = increment(client, name, by=-11, floor=0)
    assert (answer.status_code, answer.json()["reason"], answer.json()["requested"]) == (409, "floor", -11)
    assert "ceiling" not in answer.json()


def test_null_bounds_are_none(client: httpx.Client, name: str) -> None:
    body = {"by": 2, "ceiling": None, "floor": None, "ttl": None}
    assert client.post(f"/v1/counters/{name}/increment", json=body).json()["value"] == 2


def test_both_ends_of_64_bits(client: httpx.Client, name: str) -> None:
    assert increment(client, name, by=MAX).json()["value"] == MAX
    answer = increment(client, name)
    assert (answer.status_code, answer.json()["reason"], answer.json()["value"]) == (409, "overflow", MAX)
    assert client.put(f"/v1/counters/{name}", json={"value": MIN}).json()["value"] == MIN
    answer = client.post(f"/v1/counters/{name}/decrement")
    assert (answer.status_code, answer.json()["reason"], answer.json()["requested"]) == (409, "overflow", -1)


def test_decrement(client: httpx.Client, name: str) -> None:
    assert client.post(f"/v1/counters/{name}/decrement").json()["value"] == -1
    assert client.post(f"/v1/counters/{name}/decrement", json={"by": 4}).json()["value"] == -5
    answer = client.post(f"/v1/counters/{name}/decrement", json={"by": 4, "floor": -8})
    assert (answer.status_code, answer.json()["reason"]) == (409, "floor")
    assert (answer.json()["requested"], answer.json()["floor"]) == (-4, -8)


def test_read(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/v1/counters/{name}")
    assert answer.status_code == 200
    assert answer.json() == {"name": name, "value": 0, "revision": 0, "exists": False, "updated": None}
    assert "etag" not in answer.headers
    increment(client, name, by=3)
    for consistency in ("strong", "eventual"):
        answer = client.get(f"/v1/counters/{name}", params={"consistency": consistency})
        updated = answer.json()["updated"]
        assert answer.json() == {"name": name, "value": 3, "revision": 1, "exists": True, "updated": updated}
        assert updated.endswith("Z")
        assert answer.headers["etag"] == '"1"'


@pytest.mark.parametrize(
    ("tags", "status"),
    [('"1"', 304), ('W/"1"', 304), ('"7", "1"', 304), ("*", 304), ('"2"', 200), ("1", 200), ('"11"', 200)],
)
def test_if_none_match_on_reads(client: httpx.Client, name: str, tags: str, status: int) -> None:
    assert client.get(f"/v1/counters/{name}", headers={"If-None-Match": tags}).status_code == 200
    increment(client, name)
    answer = client.get(f"/v1/counters/{name}", headers={"If-None-Match": tags})
    assert (answer.status_code, answer.headers["etag"]) == (status, '"1"')
    assert (answer.content == b"") is (status == 304)


def test_set(client: httpx.Client, name: str) -> None:
    answer = client.put(f"/v1/counters/{name}", json={"value": 5}, headers={"If-None-Match": "*"})
    assert answer.json() | {"at": ""} == {
        "name": name, "value": 5, "previous": 0, "revision": 1, "applied": True, "at": ""
    }  # fmt: skip
    answer = client.put(f"/v1/counters/{name}", json={"value": 6}, headers={"If-None-Match": "*"})
    assert (answer.status_code, answer.json()["reason"], answer.json()["value"]) == (412, "exists", 5)
    answer = client.put(f"/v1/counters/{name}", json={"value": 6}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.json()["previous"]) == (200, 5)
    answer = client.put(f"/v1/counters/{name}", json={"value": 7}, headers={"If-Match": '"1"'})
    assert answer.status_code == 412
    assert answer.json() == {
        "type": "/problems/precondition-failed",
        "title": "Precondition failed",
        "status": 412,
        "detail": "rejected by revision: the counter is 6 at revision 2",
        "applied": "no",
        "reason": "revision",
        "value": 6,
        "revision": 2,
        "requested": 7,
    }


def test_delete(client: httpx.Client, name: str) -> None:
    assert client.delete(f"/v1/counters/{name}").status_code == 204
    increment(client, name)
    revision = client.get(f"/v1/counters/{name}").json()["revision"]
    answer = client.delete(f"/v1/counters/{name}", headers={"If-Match": f'"{revision + 1}"'})
    assert (answer.status_code, answer.json()["reason"], answer.json()["value"]) == (412, "revision", 1)
    assert "requested" not in answer.json()
    answer = client.delete(f"/v1/counters/{name}", headers={"If-Match": f'"{revision}"'})
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(f"/v1/counters/{name}").json()["exists"] is False


def test_preconditions_on_increments(client: httpx.Client, name: str) -> None:
    path = f"/v1/counters/{name}/increment"
    assert client.post(path, headers={"If-Match": '"0"'}).status_code == 412  # absent: there is nothing to match
    assert client.post(path, headers={"If-None-Match": "*"}).json()["value"] == 1
    assert client.post(path, headers={"If-None-Match": "*"}).json()["reason"] == "exists"
    assert client.post(path, headers={"If-Match": '"1"'}).json()["value"] == 2
    assert client.post(path, headers={"If-Match": '"1"'}).json()["reason"] == "revision"


def test_ttl(client: httpx.Client, name: str) -> None:
    assert increment(client, name, ttl=0.001).status_code == 200
    # A millisecond is over before the next request is answered twice.
    while client.get(f"/v1/counters/{name}").json()["exists"]:
        pass
    assert increment(client, name, ttl=1000).json() | {"at": ""} == {
        "name": name, "value": 1, "previous": 0, "revision": 2, "applied": True, "at": ""
    }  # fmt: skip
    assert client.put(f"/v1/counters/{name}", json={"value": 1, "ttl": 5.5}).status_code == 200


def test_list_in_pages(client: httpx.Client, name: str) -> None:
    names = [f"{name}/ä & {letter}" for letter in "abcde"]
    for index, each in enumerate(names):
        increment(client, each, by=index)
    increment(client, "not-" + name)
    found, pages, url = [], 0, f"/v1/counters?{httpx.QueryParams(prefix=name + '/', limit=2, numbers='string')}"
    while url:
        answer = client.get(url)
        pages += 1
        found += [(counter["name"], counter["value"]) for counter in answer.json()["counters"]]
        following = answer.links.get("next", {}).get("url", "")
        assert bool(following) is (answer.json()["next_page_token"] is not None)
        url = following
    assert sorted(found) == [(each, str(index)) for index, each in enumerate(names)]
    assert pages == 3


def test_named_stores_have_the_same_tree(client: httpx.Client, name: str) -> None:
    tree = "/v1/stores/second"
    assert client.post(f"{tree}/counters/{name}/increment", json={"by": 4}).json()["value"] == 4
    assert client.post(f"{tree}/counters/{name}/decrement").json()["value"] == 3
    assert client.get(f"{tree}/counters/{name}").json()["value"] == 3
    assert client.get(f"/v1/counters/{name}").json()["exists"] is False
    assert client.post(f"/v1/stores/default/counters/{name}/increment").json()["value"] == 1
    assert client.post(f"{tree}/increments", json=[{"name": name}]).json()[0]["value"] == 4
    assert client.put(f"{tree}/counters/{name}", json={"value": 9}).json()["previous"] == 4
    assert client.delete(f"{tree}/counters/{name}").status_code == 204
    page = client.get(f"{tree}/counters", params={"prefix": name})
    assert page.json() == {"counters": [], "next_page_token": None}
    answer = client.get(f"/v1/stores/third/counters/{name}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-store")
    assert answer.json()["detail"].startswith("there is no store 'third'; known are default, second, ")


def test_numbers_as_text(client: httpx.Client, name: str) -> None:
    text = {"numbers": "string"}
    answer = client.post(f"/v1/counters/{name}/increment", params=text, json={"by": MAX}).json()
    assert (answer["value"], answer["previous"], answer["revision"]) == (str(MAX), "0", "1")
    answer = client.get(f"/v1/counters/{name}", params=text).json()
    assert (answer["value"], answer["revision"]) == (str(MAX), "1")
    problem = client.post(f"/v1/counters/{name}/increment", params=text, json={"by": 2, "ceiling": 5}).json()
    assert (problem["value"], problem["requested"], problem["ceiling"]) == (str(MAX), "2", "5")
    item = client.post("/v1/increments", params=text, json=[{"name": name, "by": -7}]).json()[0]
    assert (item["value"], item["status"]) == (str(MAX - 7), 200)


@pytest.mark.parametrize(
    "counter", ["a/b", "ü", "日本", "a b", "100%", "a?b#c", "+", "..", "a" * 255, "%2F", "votes/increment", "'\"\\"]
)
def test_names_are_percent_encoded(client: httpx.Client, service: Running, name: str, counter: str) -> None:
    counter = (name + counter)[-255:] if len(counter) < 255 else counter
    path = "/v1/counters/" + quote(counter, safe="")
    status, content = service.raw("POST", path + "/increment")
    assert (status, httpx.Response(200, content=content).json()["name"]) == (200, counter)
    status, content = service.raw("GET", path)
    assert (status, httpx.Response(200, content=content).json()["value"]) == (200, 1)
    assert service.raw("POST", path + "/decrement")[0] == 200


def test_paths_are_matched_before_decoding(service: Running, name: str) -> None:
    assert service.raw("POST", f"/v1/counters/{name}/x/increment")[0] == 404
    assert service.raw("POST", f"/v1/counters/{name}%2Fx/increment")[0] == 200
    assert service.raw("POST", f"/v1/counters/{name}%2Fincrement")[0] == 405
    assert service.raw("POST", f"/v1/%63ounters/{name}/increment")[0] == 404
    for path in ("/v1/counters//increment", "//v1/counters", f"/v1/counters/{name}/", "/v1/counters/"):
        assert service.raw("GET", path)[0] == 404


def test_no_answer_is_cacheable(client: httpx.Client, name: str) -> None:
    for method, path in [
        ("POST", f"/v1/counters/{name}/increment"),
        ("POST", f"/v1/counters/{'n' * 256}/increment"),
        ("GET", f"/v1/counters/{name}"),
        ("DELETE", f"/v1/counters/{name}"),
        ("GET", "/v1/counters"),
        ("GET", "/nothing"),
        ("GET", "/a//b"),
        ("PATCH", "/v1/counters"),
        ("GET", "/livez"),
        ("GET", "/docs"),
        ("GET", "/metrics"),
    ]:
        assert client.request(method, path).headers.get_list("cache-control") == ["no-store"]
