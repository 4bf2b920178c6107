"""What counting costs a month: sums that were done by hand."""

from __future__ import annotations

import math
import random
from datetime import date
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from plusone.cli import app
from plusone.errors import ConfigurationError
from plusone.lab.cost import (
    SESSIONS_KEPT,
    Costs,
    Estimate,
    Price,
    Workload,
    batches_per_second,
    costs,
    dollars_per_million,
    load_prices,
    price_of,
)
from plusone.stores.dynamodb.store import DynamoDBStore
from plusone.stores.registry import STORES

PRICES = load_prices()
BY_STORE = {price.store: price for price in PRICES.prices}


def estimate(store: str, workload: Workload) -> Estimate:
    [found] = costs(PRICES, workload, [store], None).estimates
    return found


@pytest.mark.parametrize(
    ("store", "rate", "dollars"),
    [
        # 500 a second for 730 hours are 1,314 million units.
        ("dynamodb", 500, 821.25),
        ("dynamodb-until-2024-10", 500, 1_642.50),
        ("documentdb", 500, 262.80),
        ("aurora", 500, 262.80),
        # 1,314 million units at $0.0023 are $3.0222, and 0.1 GB for 730 hours at $0.084 is $6.132.
        ("elasticache-valkey", 500, 9.1542),
        # At $0.0034 they are $4.4676, and 1 GB at $0.125 is $91.25.
        ("elasticache-redis", 500, 95.7176),
        ("atlas-flex", 100, 8.0),
        ("atlas-flex", 101, 15.0),
        ("atlas-flex", 500, 30.0),
        ("atlas-flex", 501, None),
        # Four units each: 10.512 million at 1 a second are free, at 10 a second 55.12 million are not.
        ("tidb-starter", 1, 0.0),
        ("tidb-starter", 10, 5.512),
    ],
)
def test_each_increment_a_write(store: str, rate: float, dollars: float | None) -> None:
    way = estimate(store, Workload(rate=rate, keys=1_000)).plain
    assert way.writes_per_second == rate
    assert way.dollars == (None if dollars is None else pytest.approx(dollars))


@pytest.mark.parametrize(
    ("rate", "latency", "batches"),
    [
        (0.0, 0.005, 0.0),
        # One a second hardly ever meets a write under way: 1 / (0.005 + exp(-0.005)).
        (1.0, 0.005, 0.99998754),
        # r L = 1: 100 / (1 + 1/e).
        (100.0, 0.01, 73.10585786),
        # r L = 2.5: 500 / (2.5 + exp(-2.5)).
        (500.0, 0.005, 193.64196),
        # However hot: one write after the other.
        (1_000_000.0, 0.005, 200.0),
    ],
)
def test_batches_of_a_counter(rate: float, latency: float, batches: float) -> None:
    assert batches_per_second(rate, latency) == pytest.approx(batches, rel=1e-6)


@pytest.mark.parametrize("busy", [0.1, 0.7, 1.0, 3.0])
def test_the_formula_is_what_batching_does(busy: float) -> None:
    """Arrivals at random, one write at a time, and what comes meanwhile is the next one: simulated."""
    source, latency, rate = random.Random(7), 1.0, busy
    moment = free = 0.0
    batches = waiting = 0
    for _ in range(200_000):
        moment += source.expovariate(rate)
        while free <= moment and waiting:
            batches, waiting, free = batches + 1, 0, free + latency
        if free <= moment:
            batches, free = batches + 1, moment + latency
        else:
            waiting += 1
    assert batches / moment == pytest.approx(batches_per_second(rate, latency), rel=0.01)


def test_batching_a_hot_counter_on_dynamodb() -> None:
    """One counter, one process, a record of one unit: 193.64 writes a second instead of 500."""
    found = estimate("dynamodb", Workload(rate=500, keys=1, sessions=1))
    assert (found.plain.units_per_write, found.batched.units_per_write) == (1, 1)
    assert found.batched.writes_per_second == pytest.approx(193.64196)
    assert found.batched.dollars == pytest.approx(318.0569, abs=0.001)


def test_a_hot_counter_that_passes_what_a_partition_takes() -> None:
    found = estimate("dynamodb", Workload(rate=5_000, keys=1_000, hot_share=0.5))
    assert (found.plain.hot_writes_per_second, found.plain.throttled) == (2_500, True)
    assert found.batched.hot_writes_per_second == pytest.approx(200, rel=0.001)
    assert not found.batched.throttled
    assert found.notes[:2] == [
        "Each increment a write, the hottest counter asks for 2,500 writes/s, and 1,000 are let through: the others are"
        " refused with ThrottlingException, repeated by the SDK, and lost when its attempts are used up.",
        "Batched, the hottest counter takes 200 writes/s: nothing is refused.",
    ]


@pytest.mark.parametrize(("rate", "throttled"), [(1_000, False), (1_001, True)])
def test_the_partitions_limit_is_a_thousand(rate: float, throttled: bool) -> None:
    assert estimate("dynamodb", Workload(rate=rate, keys=1)).plain.throttled is throttled


def test_many_processes_batch_less() -> None:
    """Ten processes with 50 a second each: 10 * 50 / (0.25 + 0.7788)."""
    found = estimate("dynamodb", Workload(rate=500, keys=1, processes=10, sessions=10))
    assert found.batched.writes_per_second == pytest.approx(486.0027, abs=0.0001)


@pytest.mark.parametrize(("writers", "units"), [(1, 1), (10, 1), (11, 2), (21, 2), (22, 3), (32, 3)])
def test_the_units_of_a_record_on_dynamodb(writers: int, units: int) -> None:
    """69 bytes, and 91 for each session; 1,024 are a unit."""
    found = estimate("dynamodb", Workload(rate=1, sessions=writers))
    assert (found.plain.units_per_write, found.batched.units_per_write) == (1, units)


def test_an_item_keeps_as_many_sessions_as_the_store_says() -> None:
    assert SESSIONS_KEPT == DynamoDBStore.CAPABILITIES.sessions_kept == 8


def test_even_and_uneven_counters() -> None:
    even = Workload(rate=500, keys=1_000)
    assert even.hot == 0.5
    assert even.other == pytest.approx(0.5)
    uneven = Workload(rate=500, keys=101, hot_share=0.5)
    assert (uneven.hot, uneven.other) == (250, 2.5)
    assert Workload(rate=500).other == 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rate": 0}, "rate must be more than 0"),
        ({"rate": math.nan}, "rate must be more than 0"),
        ({"rate": math.inf}, "rate must be more than 0"),
        ({"keys": 0}, "keys must be 1"),
        ({"latency_ms": 0}, "latency_ms must be more than 0"),
        ({"processes": 0}, "processes must be 1"),
        ({"sessions": 1_001}, "sessions must be 1 to 1000"),
        ({"keys": 100, "hot_share": 0.001}, "hot_share must be 0.01 to 1"),
        ({"hot_share": 1.5}, "hot_share must be 1 to 1"),
    ],
)
def test_a_workload_that_makes_no_sense(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Workload(**{"rate": 1, **wrong})  # type: ignore[arg-type]


def test_a_million_increments() -> None:
    dynamodb = BY_STORE["dynamodb"]
    assert dollars_per_million(dynamodb, 1.0, plusone=False) == pytest.approx(0.625)
    assert dollars_per_million(dynamodb, 0.01, plusone=True) == pytest.approx(0.00625)
    assert dollars_per_million(BY_STORE["elasticache-valkey"], 0.5, plusone=True) == pytest.approx(0.01725)
    # What depends on machines or tiers has none.
    assert dollars_per_million(BY_STORE["aurora"], 1.0, plusone=False) is None
    assert dollars_per_million(BY_STORE["atlas-flex"], 1.0, plusone=False) is None


def test_the_price_of_a_scheme_is_the_first_in_force() -> None:
    found = {scheme: price_of(PRICES, scheme) for scheme in STORES}
    named = {scheme: price.store for scheme, price in found.items() if price is not None}
    assert named == {
        "redis": "elasticache-valkey",
        "rediss": "elasticache-valkey",
        "redis+cluster": "elasticache-valkey",
        "rediss+cluster": "elasticache-valkey",
        "dynamodb": "dynamodb",
        "mongodb": "atlas-flex",
        "mongodb+srv": "atlas-flex",
        "documentdb": "documentdb",
        "mysql": "aurora",
        "tidb": "tidb-starter",
        "postgresql": "aurora",
        "postgres": "aurora",
    }


@pytest.mark.parametrize("price", PRICES.prices, ids=lambda price: price.store)
def test_every_price_says_where_it_is_from(price: Price) -> None:
    assert date.fromisoformat(price.date) <= date(2026, 11, 21)
    assert price.source
    assert price.region
    assert price.url.startswith("https://")
    assert price.vendor_url.startswith("https://")
    assert set(price.schemes) <= set(STORES)


def test_the_price_in_force_and_the_one_before_it() -> None:
    now, before = BY_STORE["dynamodb"], BY_STORE["dynamodb-until-2024-10"]
    assert (now.dollars, now.superseded, before.dollars, before.superseded) == (0.625, False, 1.25, True)
    shown = [each.price.store for each in costs(PRICES, Workload(rate=1), [], None).estimates]
    assert shown == [price.store for price in PRICES.prices if price is not before]


def test_a_store_without_a_price_says_why() -> None:
    with pytest.raises(ConfigurationError, match="store 'momento' has no price: Momento's documentation"):
        costs(PRICES, Workload(rate=1), ["momento"], None)
    with pytest.raises(ConfigurationError, match="store 'abacus' has no price; known are dynamodb, "):
        costs(PRICES, Workload(rate=1), ["abacus"], None)


@pytest.mark.parametrize(
    ("store", "prices"),
    [
        ("redis", ["elasticache-valkey", "elasticache-redis"]),
        ("redis-cluster", ["elasticache-valkey", "elasticache-redis"]),
        ("mysql", ["aurora"]),
        ("postgresql", ["aurora"]),
        ("mongodb", ["atlas-flex"]),
        ("tidb", ["tidb-starter"]),
        # A price's own name comes first, and what is no longer in force goes by that alone.
        ("dynamodb", ["dynamodb"]),
        ("dynamodb-until-2024-10", ["dynamodb-until-2024-10"]),
    ],
)
def test_a_datastore_stands_for_its_prices(store: str, prices: list[str]) -> None:
    found = costs(PRICES, Workload(rate=1), [store], None)
    assert [each.price.store for each in found.estimates] == prices


def test_a_price_that_is_named_twice_is_shown_once() -> None:
    found = costs(PRICES, Workload(rate=1), ["elasticache-redis", "redis"], None)
    assert [each.price.store for each in found.estimates] == ["elasticache-redis", "elasticache-valkey"]


OWN = {
    "store": "own",
    "title": "Own",
    "unit": "write",
    "dollars": 2,
    "region": "here",
    "date": "2026-11-21",
    "source": "a contract",
    "url": "https://example.org/prices",
}


def written(folder: Path, content: object) -> Path:
    file = folder / "prices.json"
    file.write_bytes(msgspec.json.encode(content))
    return file


def test_prices_of_ones_own(tmp_path: Path) -> None:
    prices = load_prices(written(tmp_path, {"format": 1, "prices": [OWN]}))
    [found] = costs(prices, Workload(rate=1), [], 60.0).estimates
    # 2,628,000 writes at $2 a million.
    assert found.price.store == "own"
    assert found.plain.dollars == pytest.approx(5.256)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "is no price file"),
        ({"format": 2, "prices": []}, "format must be 1"),
        ({"format": 1, "prices": [OWN, OWN]}, "a store has two prices"),
        ({"format": 1, "prices": [OWN | {"dollars": -1}]}, "must not be negative"),
        ({"format": 1, "prices": [OWN | {"per": 0}]}, "must be more than 0"),
        ({"format": 1, "prices": [OWN | {"dollars": None}]}, "either dollars or tiers"),
        ({"format": 1, "prices": [OWN | {"dolars": 1}]}, "unknown field"),
        (
            {
                "format": 1,
                "prices": [
                    OWN
                    | {
                        "dollars": None,
                        "tiers": [{"per_second": 2, "dollars": 2}, {"per_second": 1, "dollars": 1}],
                    }
                ],
            },
            "tiers must rise",
        ),
    ],
)
def test_a_price_file_that_is_none(tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_prices(written(tmp_path, content))


def test_a_price_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_prices(tmp_path / "prices.json")


def test_the_command() -> None:
    run = CliRunner().invoke(
        app,
        ["cost", "--rate", "5000", "--keys", "1000", "--hot-share", "0.5", "--machine", "60"],
        env={"COLUMNS": "120"},
    )
    assert run.exit_code == 0
    [dynamodb] = [line for line in run.stdout.splitlines() if line.startswith("dynamodb ")]
    assert dynamodb.split() == ["dynamodb", "8,212.50", "5,000", "refused", "2,500", "4,434.43", "2,700", "200"]
    [own] = [line for line in run.stdout.splitlines() if line.startswith("self-run")]
    assert own.split() == ["self-run", "60.00", "60.00"]
    assert "Price of 2025-07-21" in run.stdout
    assert "momento: left out" in run.stdout


def test_beyond_the_largest_tier_there_is_no_price() -> None:
    """Neither nothing nor zero, which would be read as free; and a note says why."""
    run = CliRunner().invoke(app, ["cost", "--rate", "501", "--store", "mongodb"], env={"COLUMNS": "160"})
    assert run.exit_code == 0
    [flex] = [line for line in run.stdout.splitlines() if line.startswith("atlas-flex ")]
    assert flex.split()[:3] == ["atlas-flex", "–", "501"]  # noqa: RUF001 - a dash
    assert "Each increment a write, it is beyond the largest tier: the price list has no price for so" in run.stdout


def test_the_commands_help_says_what_a_share_may_be() -> None:
    said = " ".join(CliRunner().invoke(app, ["cost", "--help"]).stdout.split())
    assert "The hottest counter's share of the increments, 1/KEYS to 1." in said
    for share, code in (("0", 2), ("0.009", 2), ("0.01", 0), ("1", 0)):
        run = CliRunner().invoke(app, ["cost", "--rate", "5", "--keys", "100", "--hot-share", share])
        assert run.exit_code == code, share


def test_the_command_for_machines() -> None:
    run = CliRunner().invoke(app, ["cost", "--rate", "500", "--store", "dynamodb-until-2024-10", "--json"])
    assert run.exit_code == 0
    found = msgspec.json.decode(run.stdout, type=Costs)
    assert [each.plain.dollars for each in found.estimates] == [1_642.5]
    refused = CliRunner().invoke(app, ["cost", "--rate", "0", "--json"])
    assert refused.exit_code == 2
    assert "rate must be more than 0" in refused.stderr
