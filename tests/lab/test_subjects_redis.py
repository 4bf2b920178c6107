"""redis-py's recipes: their client's pool, and what a recipe removes."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("redis")

from plusone.lab import servers
from plusone.lab.compare.plan import _CONCURRENCY_MAX
from plusone.lab.subjects.redis import CLAIMING, client


def test_there_is_a_connection_for_every_caller() -> None:
    """On one server, on each node of a cluster, on the primary that sentinels name, and on the sentinels themselves."""
    one = client("redis://127.0.0.1:1/0")
    cluster = client("redis+cluster://127.0.0.1:1,127.0.0.1:2")
    sentinel = client("redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster/0")
    bounds = [
        one.connection_pool.max_connections,
        cluster.connection_kwargs["max_connections"],
        sentinel.connection_pool.max_connections,
        *(each.connection_pool.max_connections for each in sentinel.connection_pool.sentinel_manager.sentinels),
    ]
    assert len(bounds) == 5
    assert min(bounds) >= _CONCURRENCY_MAX


@pytest.mark.parametrize("server", ["redis", "redis-cluster"])
def test_claims_are_removed_in_one_scan_and_nobody_elses(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := servers.missing(server):
        pytest.skip(reason)
    ours, alike = "plusone-lab/run[1]/claims", "plusone-lab/run1/claims"
    names = [f"{ours}/{number}" for number in range(30)]
    others = [f"{ours}/100:x", f"{ours}/1/a:x", f"{ours}/1:2:x", f"{alike}/1:x", "1:x"]

    async def check(url: str) -> None:
        async with client(url) as redis, CLAIMING.connect(url) as counting:
            for other in others:
                await redis.set(other, 1)
            for _ in range(70):
                await asyncio.gather(*(counting.increment(name, None) for name in names))
            scans = 0
            scan = type(redis).scan_iter

            def counted(*arguments: object, **options: object) -> object:
                nonlocal scans
                scans += 1
                return scan(*arguments, **options)

            monkeypatch.setattr(type(redis), "scan_iter", counted)
            await counting.remove(names)
            assert scans == 1
            assert sorted([key async for key in redis.scan_iter()]) == sorted(others)

    with servers.start(server) as started:
        asyncio.run(check(started.url))
