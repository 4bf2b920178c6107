"""What the service counts about itself, for Prometheus.

The thin path cannot afford a metrics library on every request, so requests are counted in plain numbers here and become
Prometheus families when they are asked for. Workers are processes, and a scrape reaches only one of them: each leaves
its numbers in a folder that they share, and the one that is asked adds them all up. The others' are at most
`PUBLISH_SECONDS` old.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from plusone.statistics import Statistics

PUBLISH_SECONDS: Final = 1.0
BUCKETS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

STORE_COUNTERS: Final = {
    "operations_total": "Operations answered with an outcome, rejections and replays included",
    "replays_total": "Operations answered with the remembered outcome of an earlier one",
    "batches_total": "Batches that the store applied",
    "attempts_total": "Batches sent to the store, resends included",
    "failures_total": "Attempts that definitely did not happen",
    "ambiguous_total": "Attempts whose effect was not known",
    "missed_total": "Attempts that met another state than they expected",
    "unknown_total": "Operations that ended with an unknown outcome",
    "gaps_total": "Times that the store had lost acknowledged operations",
}
STORE_GAUGES: Final = {
    "operations_waiting": "Operations accepted and not yet answered",
    "calls_in_flight": "Calls to the store under way",
}


class RouteNumbers(msgspec.Struct):
    """One method on one route: how many answers of each status, and how long they took."""

    statuses: dict[int, int] = msgspec.field(default_factory=dict)
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BUCKETS_SECONDS) + 1))
    seconds: float = 0.0

    def observe(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buckets[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self.seconds += seconds


class Snapshot(msgspec.Struct):
    """One worker's numbers."""

    pid: int
    routes: dict[str, RouteNumbers]
    """By method and route, with a space between them."""
    stores: dict[str, dict[str, int]]


class Metrics(Collector):
    """One worker's numbers, and everybody's when it is asked."""

    def __init__(self, statistics: Callable[[], Mapping[str, Statistics]], shared: Path | None) -> None:
        self._routes: dict[str, RouteNumbers] = {}
        self._statistics = statistics
        self._shared = shared
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def route(self, method: str, route: str) -> RouteNumbers:
        """Where to count the answers of one method on one route."""
        return self._routes.setdefault(f"{method} {route}", RouteNumbers())

    def exposition(self) -> bytes:
        """All workers' numbers in Prometheus' text format."""
        self.publish()
        return generate_latest(self._registry)

    def publish(self) -> None:
        """Leave this worker's numbers for the others."""
        if self._shared is None:
            return
        path = self._shared / str(os.getpid())
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(msgspec.json.encode(self._snapshot()))
        unfinished.rename(path)

    def collect(self) -> Iterator[Metric]:
        """Prometheus families of all workers' numbers."""
        snapshots = list(self._snapshots())
        yield from _of_requests(snapshots)
        yield from _of_stores(snapshots)

    def _snapshot(self) -> Snapshot:
        names = (*STORE_COUNTERS, *STORE_GAUGES)
        stores = {
            store: {name: getattr(statistics, name) for name in names}
            for store, statistics in self._statistics().items()
        }
        return Snapshot(os.getpid(), self._routes, stores)

    def _snapshots(self) -> Iterator[Snapshot]:
        if self._shared is None:
            yield self._snapshot()
            return
        for path in sorted(self._shared.iterdir()):
            if path.suffix != ".new":
                yield msgspec.json.decode(path.read_bytes(), type=Snapshot)


def _of_requests(snapshots: Iterable[Snapshot]) -> Iterator[Metric]:
    total: dict[str, RouteNumbers] = {}
    for snapshot in snapshots:
        for key, numbers in snapshot.routes.items():
            merged = total.setdefault(key, RouteNumbers())
            for status, count in numbers.statuses.items():
                merged.statuses[status] = merged.statuses.get(status, 0) + count
            merged.buckets = [one + other for one, other in zip(merged.buckets, numbers.buckets, strict=True)]
            merged.seconds += numbers.seconds

    requests = CounterMetricFamily("plusone_http_requests", "Answers", labels=["method", "route", "status"])
    durations = HistogramMetricFamily(
        "plusone_http_request_duration_seconds", "Time until the answer was handed on", labels=["method", "route"]
    )
    for key, numbers in sorted(total.items()):
        labels = key.split(" ", 1)
        for status, count in sorted(numbers.statuses.items()):
            requests.add_metric([*labels, str(status)], count)
        at_most, buckets = 0, []
        for bound, count in zip((*map(str, BUCKETS_SECONDS), "+Inf"), numbers.buckets, strict=True):
            at_most += count
            buckets.append((bound, float(at_most)))
        durations.add_metric(labels, buckets, numbers.seconds)
    yield requests
    yield durations


def _of_stores(snapshots: Iterable[Snapshot]) -> Iterator[Metric]:
    total: dict[str, dict[str, int]] = {}
    for snapshot in snapshots:
        alive = _alive(snapshot.pid)
        for store, numbers in snapshot.stores.items():
            merged = total.setdefault(store, {})
            for name, number in numbers.items():
                # What a dead worker counted stays counted; what it had under way is gone with it.
                merged[name] = merged.get(name, 0) + (number if alive or name in STORE_COUNTERS else 0)

    for name, meaning in STORE_COUNTERS.items():
        counter = CounterMetricFamily(f"plusone_{name}", meaning, labels=["store"])
        for store, numbers in sorted(total.items()):
            counter.add_metric([store], numbers[name])
        yield counter
    for name, meaning in STORE_GAUGES.items():
        gauge = GaugeMetricFamily(f"plusone_{name}", meaning, labels=["store"])
        for store, numbers in sorted(total.items()):
            gauge.add_metric([store], numbers[name])
        yield gauge


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
