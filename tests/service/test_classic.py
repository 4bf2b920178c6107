"""The classic routes: their answers, to the letter, on whatever datastore the store of their name is on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from plusone.config import Settings
from plusone.lab.processes import ServerProcess
from plusone.service.classic import CLASSIC_STORES
from plusone.service.stores import Stores
from tests.service.running import Running
from tests.service.test_system import samples


@pytest.mark.parametrize("store", ["dynamo", "redis", "momento", "docdb", "tidb"])
def test_up_to_the_maximum_and_no_further(client: httpx.Client, name: str, store: str) -> None:
    for expected in (1, 2, 3):
        answer = client.post(f"/{store}/{name}")
        assert answer.text == f'{{"counter":{expected},"useConditionalWrites":true}}'
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["cache-control"] == "no-store"
    answer = client.post(f"/{store}/{name}")
    assert answer.text == '{"error":"Counter has reached its maximum value of: 3","useConditionalWrites":true}'
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/json")
    assert client.get(f"/v1/stores/{store}/counters/{name}").json()["value"] == 3
    assert client.get(f"/v1/counters/{name}").json()["exists"] is False


def test_beyond_a_maximum_that_was_lowered_it_is_reached_as_well(client: httpx.Client, name: str) -> None:
    client.put(f"/v1/stores/dynamo/counters/{name}", json={"value": 7})
    assert client.post(f"/dynamo/{name}").json()["error"] == "Counter has reached its maximum value of: 3"


def test_a_hundred_at_once_stop_exactly_at_the_maximum(service: Running, name: str) -> None:
    async def all_at_once() -> list[int]:
        async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
            answers = await asyncio.gather(*(client.post(f"/tidb/{name}") for _ in range(100)))
        return [answer.status_code for answer in answers]

    assert sorted(asyncio.run(all_at_once())) == [200] * 3 + [409] * 97


def test_a_key_is_replayed_and_so_is_the_refusal(client: httpx.Client, name: str) -> None:
    for expected in (None, "true"):
        answer = client.post(f"/momento/{name}", headers={"Idempotency-Key": "order-1"})
        assert (answer.json()["counter"], answer.headers.get("idempotent-replayed")) == (1, expected)
    client.put(f"/v1/stores/momento/counters/{name}", json={"value": 3})
    refused = [client.post(f"/momento/{name}", headers={"Idempotency-Key": "order-2"}) for _ in range(2)]
    assert [answer.status_code for answer in refused] == [409, 409]
    assert [answer.headers.get("idempotent-replayed") for answer in refused] == [None, "true"]
    assert refused[0].content == refused[1].content
    client.put(f"/v1/stores/momento/counters/{name}", json={"value": 0})
    other = client.post(f"/v1/stores/momento/counters/{name}/increment", headers={"Idempotency-Key": "order-1"})
    assert (other.status_code, other.json()["type"]) == (422, "/problems/token-reused")


def test_names_are_decoded_as_everywhere(service: Running, client: httpx.Client, name: str) -> None:
    assert service.raw("POST", f"/docdb/{name}%2F%C3%BC")[0] == 200
    assert client.get(f"/v1/stores/docdb/counters/{name}%2F%C3%BC").json()["name"] == f"{name}/ü"
    assert client.post(f"/docdb/{name}?numbers=string").json()["counter"] == "1"


@pytest.mark.parametrize(
    ("request_", "status", "field"),
    [
        ({"json": {"by": 5}}, 422, "body"),
        ({"headers": {"If-Match": '"1"'}}, 422, "If-Match"),
        ({"params": {"by": "5"}}, 422, "by"),
        ({"headers": {"Idempotency-Key": ""}}, 422, "Idempotency-Key"),
        ({"headers": {"Origin": "https://else.example"}}, 403, "Origin"),
    ],
)
def test_what_would_be_heeded_nowhere_is_refused(
    client: httpx.Client, name: str, request_: dict[str, dict[str, str]], status: int, field: str
) -> None:
    answer = client.post(f"/redis/{name}", **request_)  # type: ignore[arg-type]
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (answer.json()["field"], answer.json()["applied"]) == (field, "no")
    assert client.get(f"/v1/stores/redis/counters/{name}").json()["exists"] is False


def test_an_empty_object_is_no_body(client: httpx.Client, name: str) -> None:
    assert client.post(f"/redis/{name}", json={}).json()["counter"] == 1


def test_other_methods_and_longer_paths_are_not_taken(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/dynamo/{name}")
    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, {"OPTIONS", "POST"})
    assert client.post(f"/dynamo/{name}/increment").json()["type"] == "/problems/not-found"


def test_metrics_and_the_document_have_each_route(client: httpx.Client, name: str) -> None:
    client.post(f"/dynamo/{name}")
    assert samples(client)["plusone_http_requests_total", "POST", "/dynamo/{name}", "200"] >= 1
    assert samples(client)["plusone_operations_total", "dynamo"] >= 1
    paths = client.get("/openapi.json").json()["paths"]
    assert [path for path in paths if not path.startswith("/v1/")] == [f"/{store}/{{name}}" for store in CLASSIC_STORES]
    assert "POST /dynamo/{name}" in client.get("/docs").text


def test_without_a_maximum_it_goes_on_to_the_end_of_64_bits(tmp_path: Path) -> None:
    settings = 'max_counter_value = 1\n[stores]\ndefault = "memory://"\nredis = "memory://"\n'
    with Running(tmp_path, settings) as running, running.client() as client:
        for expected in (1, 2):
            answer = client.post("/redis/votes")
            assert answer.text == f'{{"counter":{expected},"useConditionalWrites":false}}'
        client.put("/v1/stores/redis/counters/votes", json={"value": 2**63 - 1})
        answer = client.post("/redis/votes")
        assert (answer.status_code, answer.json()) == (
            409,
            {"error": f"Counter has reached its maximum value of: {2**63 - 1}", "useConditionalWrites": False},
        )
        absent = client.post("/dynamo/votes")
        assert (absent.status_code, absent.json()["type"]) == (404, "/problems/unknown-store")
        assert absent.json()["detail"] == (
            "no store 'dynamo' is configured; add it to [stores], for instance"
            ' dynamo = "dynamodb://table?region=eu-west-1"'
        )


@pytest.mark.parametrize("store", ["dynamo", "redis", "docdb", "tidb"])  # a Momento URL wants a key too
def test_what_is_said_to_configure_can_be_configured(store: str) -> None:
    assert Stores(Settings(stores={store: CLASSIC_STORES[store]})).named(store)


def test_one_datastore_down_is_named_and_the_others_serve(redis: ServerProcess, redis_url: str, tmp_path: Path) -> None:
    settings = f"""use_conditional_writes = true
timeout = 2
[stores]
default = "sqlite:counters.db"
dynamo = "memory://"
redis = "{redis_url}"
"""
    with Running(tmp_path, settings) as running, running.client() as client:
        assert [client.post("/redis/votes").json()["counter"] for _ in range(10)] == list(range(1, 11))
        assert client.post("/redis/votes").json()["error"] == "Counter has reached its maximum value of: 10"
        redis.kill()
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        stores = ready.json()["stores"]
        assert {store: report["ready"] for store, report in stores.items()} == {
            "default": True,
            "dynamo": True,
            "redis": False,
        }
        assert stores["redis"]["detail"].startswith("Redis: ")
        answer = client.post("/redis/votes")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-unavailable")
        assert (answer.json()["applied"], answer.headers["retry-after"]) == ("no", "1")
        assert client.post("/dynamo/votes").status_code == 200
        assert client.post("/v1/counters/votes/increment").status_code == 200
        redis.start()  # it kept nothing on disk
        assert client.post("/redis/votes").json() == {"counter": 1, "useConditionalWrites": True}
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert {store for store, report in ready.json()["stores"].items() if "recent_gaps" in report} == {"redis"}
        while "a store had lost" not in running.log:  # a second later at the latest
            assert client.get("/livez").status_code == 200
        found = samples(client)
        assert [found["plusone_gaps_total", store] for store in ("default", "dynamo", "redis")] == [0, 0, 1]
    (told,) = [line for line in running.log.splitlines() if "a store had lost acknowledged operations" in line]
    assert "store=redis" in told
