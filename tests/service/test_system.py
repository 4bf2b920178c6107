"""Health, metrics, documents, browsers, and the counting GET."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from plusone.errors import OutcomeUnknown, Overloaded, PlusoneError, StoreUnavailable, UnsupportedByStore
from plusone.service.metrics import STORE_COUNTERS, STORE_GAUGES
from plusone.service.problems import problem, problem_headers, problem_types
from plusone.statistics import Statistics
from tests.service.running import Running

ORIGIN = {"Origin": "https://shop.example"}


def samples(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """A scrape: the sample's name and its labels' values, and the number."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


def test_alive_and_ready(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    stores = ("default", "second", "dynamo", "redis", "momento", "docdb", "tidb")
    assert ready.json() == {"ready": True, "stores": {store: {"ready": True} for store in stores}}


def test_metrics_count_requests_and_operations(client: httpx.Client, name: str) -> None:
    route = "/v1/counters/{name}/increment"
    before = samples(client)
    for _ in range(3):
        client.post(f"/v1/counters/{name}/increment")
    client.post(f"/v1/counters/{name}/increment", json={"ceiling": 0})
    client.post(f"/v1/counters/{name}/increment?numbers=string")
    client.get("/nothing/here")
    after = samples(client)

    def rose(*key: str) -> float:
        return after[key] - before.get(key, 0)

    assert rose("plusone_http_requests_total", "POST", route, "200") == 4
    assert rose("plusone_http_requests_total", "POST", route, "409") == 1
    assert rose("plusone_http_requests_total", "GET", "other", "404") == 1
    assert rose("plusone_http_request_duration_seconds_count", "POST", route) == 5
    assert rose("plusone_http_request_duration_seconds_bucket", "+Inf", "POST", route) == 5
    assert 0 < rose("plusone_http_request_duration_seconds_sum", "POST", route) < 5
    assert rose("plusone_operations_total", "default") == 5
    assert rose("plusone_operations_total", "second") == 0
    assert after["plusone_operations_waiting", "default"] == 0
    assert name not in client.get("/metrics").text


def test_methods_of_a_callers_own_invention_are_counted_as_one(client: httpx.Client) -> None:
    for number in range(3):
        assert client.request(f"M{number}", "/livez").status_code == 405
    methods = {key[1] for key in samples(client) if key[0] == "plusone_http_requests_total"}
    assert "other" in methods
    assert not methods & {"M0", "M1", "M2"}


def test_scrapes_at_once_are_all_answered(tmp_path: Path) -> None:
    settings = '[stores]\ndefault = "sqlite:counters.db"\n'
    with Running(tmp_path, settings, workers=2) as running, running.client() as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.get("/metrics").status_code, range(400)))
    assert answers == [200] * 400


def test_no_number_of_the_combiner_is_left_out() -> None:
    numbers = {field.name for field in msgspec.structs.fields(Statistics) if field.type is int}
    assert {*STORE_COUNTERS, *STORE_GAUGES} == numbers


def test_the_documents(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    increment = document["paths"]["/v1/counters/{name}/increment"]["post"]
    assert (
        increment["requestBody"]["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/AddRequest"
    )
    assert set(document["components"]["schemas"]["AddRequest"]["properties"]) == {"by", "ceiling", "floor", "ttl"}
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "remembered for 24 hours" in page.text
    assert "POST /v1/counters/{name}/increment" in page.text


def test_every_problem_type_is_documented_at_its_path(client: httpx.Client) -> None:
    for code, kind in problem_types().items():
        page = client.get(f"/problems/{code}")
        assert page.status_code == 200
        assert f"HTTP status {kind.http_status}" in page.text
        assert f"<code>applied: {kind.applied}</code>" in page.text
        assert f"/problems/{code}" in client.get("/docs").text
    assert client.get("/problems/none").status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "applied", "retry_after"),
    [
        (StoreUnavailable("it is down"), 503, "no", "1"),
        (Overloaded("too many"), 503, "no", "1"),
        (OutcomeUnknown("who knows"), 504, "maybe", None),
        (UnsupportedByStore("list", "Momento"), 501, "no", None),
    ],
)
def test_what_the_store_fails_with(error: PlusoneError, status: int, applied: str, retry_after: str | None) -> None:
    document = problem(error)
    assert (document.status, document.applied, document.detail) == (status, applied, str(error))
    assert problem_headers(status).get("Retry-After") == retry_after


def test_browsers_of_known_origins_may_ask(client: httpx.Client, name: str) -> None:
    path = f"/v1/counters/{name}/increment"
    preflight = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key"}
    answer = client.options(path, headers=preflight)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]
    answer = client.post(path, headers=ORIGIN)
    assert (answer.json()["value"], answer.headers["access-control-allow-origin"]) == (1, ORIGIN["Origin"])
    exposed = {header.strip().lower() for header in answer.headers["access-control-expose-headers"].split(",")}
    assert exposed == {"etag", "retry-after", "ratelimit", "ratelimit-policy", "idempotent-replayed"}
    rejected = client.post(path, json={"ceiling": 0}, headers=ORIGIN)
    assert (rejected.status_code, rejected.headers["access-control-allow-origin"]) == (409, ORIGIN["Origin"])
    assert "access-control-allow-origin" not in client.post(path, headers={"Origin": "https://else.example"}).headers
    assert "access-control-allow-origin" not in client.post(path).headers


def test_a_get_counts_only_where_it_is_asked_for(client: httpx.Client, name: str, tmp_path: Path) -> None:
    answer = client.get(f"/hit/{name}%2Fü")
    assert (answer.text, answer.headers["content-type"]) == ("1", "text/plain; charset=utf-8")
    assert client.get(f"/hit/{name}%2Fü").text == "2"
    with Running(tmp_path) as plain, plain.client() as other:
        assert other.get(f"/hit/{name}").status_code == 404
