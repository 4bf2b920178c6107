"""A condition or a parameter is honoured or refused, and never dropped in silence."""

from __future__ import annotations

import httpx
import pytest


@pytest.mark.parametrize(
    ("header", "values"),
    [("Idempotency-Key", ("k1", "k2")), ("If-Match", ('"99"', '"0"')), ("If-None-Match", ("*", "*"))],
)
@pytest.mark.parametrize("path", ["/v1/counters/{}/increment", "/v1/counters/{}/decrement"])
def test_a_header_that_stands_twice(
    client: httpx.Client, name: str, path: str, header: str, values: tuple[str, str]
) -> None:
    answer = client.post(path.format(name), headers=[(header, value) for value in values])
    assert (answer.status_code, answer.json()["field"]) == (422, header)
    assert client.get(f"/v1/counters/{name}").json()["revision"] == 0


@pytest.mark.parametrize(
    ("method", "path", "header", "value"),
    [
        ("DELETE", "/v1/counters/{}", "If-None-Match", "*"),
        ("POST", "/v1/increments", "If-Match", '"77"'),
        ("POST", "/v1/stores/second/increments", "If-None-Match", "*"),
        ("GET", "/v1/counters/{}", "If-Match", '"1"'),
        ("HEAD", "/v1/counters/{}", "If-Match", '"1"'),
        ("GET", "/v1/counters", "If-None-Match", '"1"'),
    ],
)
def test_a_condition_that_the_route_does_not_take(
    client: httpx.Client, name: str, method: str, path: str, header: str, value: str
) -> None:
    client.post(f"/v1/counters/{name}/increment")
    answer = client.request(method, path.format(name), headers={header: value})
    assert answer.status_code == 422
    if method != "HEAD":
        assert answer.json()["field"] == header
    assert client.get(f"/v1/counters/{name}").json()["revision"] == 1


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("POST", "/v1/counters/{}/increment?by=5", "by"),
        ("POST", "/v1/stores/default/counters/{}/decrement?numbers=string&by=5", "by"),
        ("DELETE", "/v1/counters/{}?if_revision=7", "if_revision"),
        ("GET", "/v1/counters?page_size=7", "page_size"),
        ("GET", "/v1/counters/{}?Consistency=", "Consistency"),
    ],
)
def test_a_parameter_that_the_route_does_not_take(
    client: httpx.Client, name: str, method: str, path: str, field: str
) -> None:
    answer = client.request(method, path.format(name))
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert client.get(f"/v1/counters/{name}").json()["revision"] == 0


def test_a_head_is_a_get_without_its_body(client: httpx.Client, name: str) -> None:
    client.post(f"/v1/counters/{name}/increment")
    for path in (f"/v1/counters/{name}", "/livez", "/openapi.json"):
        get, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        for header in ("content-type", "content-length", "etag"):
            assert head.headers.get(header) == get.headers.get(header)
    assert client.head(f"/v1/counters/{name}/increment").status_code == 405
    assert client.head(f"/hit/{name}").status_code == 405  # what a HEAD does is safe, and this GET is not
    assert client.get(f"/v1/counters/{name}").json()["value"] == 1
