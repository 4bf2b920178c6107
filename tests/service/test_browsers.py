"""Pages of other origins cannot count: neither by a simple request, nor by a name of theirs that leads to loopback."""

from __future__ import annotations

import httpx
import pytest

from plusone.service.headers import check_headers
from plusone.service.problems import Forbidden
from tests.service.running import Running

FORBIDDEN = "/problems/forbidden"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/counters/{}/increment"), ("POST", "/v1/counters/{}/decrement"), ("DELETE", "/v1/counters/{}")],
)
def test_another_origin_changes_nothing(client: httpx.Client, name: str, method: str, path: str, origin: str) -> None:
    answer = client.request(method, path.format(name), headers={"Origin": origin})
    assert (answer.status_code, answer.json()["type"], answer.json()["field"]) == (403, FORBIDDEN, "Origin")
    assert client.get(f"/v1/counters/{name}", headers={"Origin": origin}).json()["revision"] == 0


def test_the_services_own_pages_may_count(service: Running, client: httpx.Client, name: str) -> None:
    for number, origin in enumerate((service.url, "https://shop.example"), 1):
        answer = client.post(f"/v1/counters/{name}/increment", headers={"Origin": origin})
        assert answer.json()["value"] == number


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "192.0.2.1", "[2001:db8::1]:80", "", "[", ":"],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/counters/{}/increment"), ("GET", "/v1/counters/{}")])
def test_another_host_is_refused(client: httpx.Client, name: str, method: str, path: str, host: str) -> None:
    answer = client.request(method, path.format(name), headers={"Host": host})
    assert (answer.status_code, answer.json()["type"], answer.json()["field"]) == (403, FORBIDDEN, "Host")
    assert client.get(f"/v1/counters/{name}").json()["revision"] == 0


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1", "127.0.0.2:1", "[::1]", "[::1]:8000"])
def test_any_loopback_host_is_served(client: httpx.Client, name: str, host: str) -> None:
    answer = client.post(f"/v1/counters/{name}/increment", headers={"Host": host})
    assert (answer.status_code, answer.json()["value"]) == (200, 1)


def test_without_a_host_no_origin_is_the_services_own() -> None:
    with pytest.raises(Forbidden):
        check_headers("POST", [(b"origin", b"null")], ())
