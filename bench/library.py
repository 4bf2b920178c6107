"""The library, against redis-py's asyncio client and against redis-benchmark."""

from __future__ import annotations

import contextlib
import csv
import subprocess
from collections.abc import Iterator
from functools import partial
from typing import Final

from redis.asyncio import Redis

import plusone
from bench import servers
from bench.callers import SPREAD, microseconds, rate, spread_names
from bench.measure import Pair, Side
from bench.plain import CALLERS, opened
from plusone.lab.load import Call, event_loop

_BENCHMARK_CLIENTS: Final = 64
_BENCHMARK_FIRST_REQUESTS: Final = 20_000


@contextlib.contextmanager
def against_redis_py(*, spread: bool, fast: bool) -> Iterator[Pair]:
    """256 callers, each awaiting one increment after the other; one shared client on either side."""
    with servers.redis_server() as port, event_loop(fast=fast) as runner, opened(runner, _url(port)) as counters:
        client = Redis(port=port, max_connections=CALLERS)
        ours, peer = increments(counters, spread=spread), _increments(client, spread=spread)
        yield Pair(rate(runner, CALLERS, ours), rate(runner, CALLERS, peer))
        runner.run(client.aclose())


@contextlib.contextmanager
def latency() -> Iterator[Pair]:
    """One caller at a time."""
    with servers.redis_server() as port, event_loop(fast=True) as runner, opened(runner, _url(port)) as counters:
        client = Redis(port=port)
        ours, peer = increments(counters, spread=False), _increments(client, spread=False)
        yield Pair(microseconds(runner, ours), microseconds(runner, peer))
        runner.run(client.aclose())


@contextlib.contextmanager
def against_redis_benchmark(*, spread: bool) -> Iterator[Pair]:
    """256 callers in one process, against the C program that comes with Redis, with 64 connections."""
    with servers.redis_server() as port, event_loop(fast=True) as runner, opened(runner, _url(port)) as counters:
        ours = rate(runner, CALLERS, increments(counters, spread=spread))
        yield Pair(ours, _redis_benchmark(port, spread=spread))


@contextlib.contextmanager
def writes_per_thousand() -> Iterator[Pair]:
    """Batches that the datastore applied per 1,000 increments of one counter."""
    with servers.redis_server() as port, event_loop(fast=True) as runner, opened(runner, _url(port)) as counters:
        work = rate(runner, CALLERS, increments(counters, spread=False))

        def ours(seconds: float) -> float:
            before = counters.statistics
            work(seconds)
            after = counters.statistics
            operations = after.operations_total - before.operations_total
            return 1_000 * (after.batches_total - before.batches_total) / operations

        yield Pair(ours)


def increments(counters: plusone.Counters, *, spread: bool) -> Call:
    """The call that a caller repeats."""
    if not spread:
        return partial(counters.increment, "votes")
    name = spread_names()
    return lambda: counters.increment(name())


def _increments(client: Redis, *, spread: bool) -> Call:
    if not spread:
        return partial(client.incr, "votes")
    name = spread_names()
    return lambda: client.incr(name())


def _redis_benchmark(port: int, *, spread: bool) -> Side:
    program = servers.program("redis-benchmark", "redis-tools")
    command = [program, "-p", str(port), "-t", "incr", "-c", str(_BENCHMARK_CLIENTS), "--csv"]
    if spread:
        command += ["-r", str(SPREAD)]
    requests = _BENCHMARK_FIRST_REQUESTS

    def side(seconds: float) -> float:
        # It takes a number of requests, not a time: the last run says how many make the time.
        nonlocal requests
        output = subprocess.run([*command, "-n", str(requests)], check=True, capture_output=True, text=True).stdout
        per_second = float(next(row for row in csv.DictReader(output.splitlines()))["rps"])
        requests = max(_BENCHMARK_FIRST_REQUESTS, int(per_second * seconds))
        return per_second

    return side


def _url(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"
