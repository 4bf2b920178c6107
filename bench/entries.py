"""What is measured, as data: the lines of the table in the README."""

from __future__ import annotations

from functools import partial
from typing import Final

from bench import checker, dynamodb, etcd, growth, http, library, momento, mongodb, mysql, postgresql, sqlite
from bench.measure import Entry
from bench.plain import against

_REDIS_PY: Final = "redis-py `INCR`"
_REDIS_BENCHMARK: Final = "`redis-benchmark -t incr -c 64`"
_AUTOCOMMIT: Final = "one transaction each"
_WEBDIS: Final = "webdis `INCR`"
_EACH_SECOND: Final = "increments/s"

ENTRIES: Final = [
    Entry(
        name="redis-hot",
        what="library on Redis, one hot counter, 256 callers, uvloop",
        peer=f"{_REDIS_PY}, uvloop",
        unit=_EACH_SECOND,
        target=25,
        sense="at least",
        prepare=partial(library.against_redis_py, spread=False, fast=True),
    ),
    Entry(
        name="redis-hot-asyncio",
        what="library on Redis, one hot counter, 256 callers, asyncio",
        peer=f"{_REDIS_PY}, asyncio",
        unit=_EACH_SECOND,
        target=25,
        sense="at least",
        prepare=partial(library.against_redis_py, spread=False, fast=False),
    ),
    Entry(
        name="redis-spread",
        what="library on Redis, 5,000 counters, 256 callers, uvloop",
        peer=f"{_REDIS_PY}, uvloop",
        unit=_EACH_SECOND,
        target=6,
        sense="at least",
        prepare=partial(library.against_redis_py, spread=True, fast=True),
    ),
    Entry(
        name="redis-spread-asyncio",
        what="library on Redis, 5,000 counters, 256 callers, asyncio",
        peer=f"{_REDIS_PY}, asyncio",
        unit=_EACH_SECOND,
        target=6,
        sense="at least",
        prepare=partial(library.against_redis_py, spread=True, fast=False),
    ),
    Entry(
        name="redis-benchmark-hot",
        what="library on Redis, one hot counter, 256 callers, uvloop",
        peer=_REDIS_BENCHMARK,
        unit=_EACH_SECOND,
        target=6,
        sense="at least",
        prepare=partial(library.against_redis_benchmark, spread=False),
    ),
    Entry(
        name="redis-benchmark-spread",
        what="library on Redis, 5,000 counters, 256 callers, uvloop",
        peer=f"{_REDIS_BENCHMARK[:-1]} -r 5000`",
        unit=_EACH_SECOND,
        target=1.3,
        sense="at least",
        prepare=partial(library.against_redis_benchmark, spread=True),
    ),
    Entry(
        name="redis-latency",
        what="library on Redis, one caller at a time, uvloop",
        peer=f"{_REDIS_PY}, uvloop",
        unit="µs each",
        target=1.3,
        sense="at most",
        prepare=library.latency,
    ),
    Entry(
        name="sqlite-hot",
        what="library on SQLite, durable, one hot counter, 256 callers",
        peer=_AUTOCOMMIT,
        unit=_EACH_SECOND,
        target=60,
        sense="at least",
        prepare=partial(sqlite.against_autocommit, spread=False),
    ),
    Entry(
        name="sqlite-spread",
        what="library on SQLite, durable, 5,000 counters, 256 callers",
        peer=_AUTOCOMMIT,
        unit=_EACH_SECOND,
        target=20,
        sense="at least",
        prepare=partial(sqlite.against_autocommit, spread=True),
    ),
    *(
        Entry(
            name=f"{plain.name}-{'spread' if spread else 'hot'}",
            what=f"library on {plain.title}, {'5,000 counters' if spread else 'one hot counter'}, 256 callers",
            peer=plain.recipe,
            unit=_EACH_SECOND,
            target=target,
            sense="at least",
            prepare=partial(against, plain, spread=spread),
            rounds_max=5,
        )
        for plain, hot, spread_target in (
            (dynamodb.PLAIN, 50, 3),
            (postgresql.PLAIN, 40, 10),
            (mysql.MARIADB, 30, 6),
            (mysql.TIDB, 50, 2),
            (mongodb.PLAIN, 20, 0.8),
            (momento.PLAIN, 20, 0.8),
            (etcd.PLAIN, 50, 2),
        )
        for spread, target in ((False, hot), (True, spread_target))
    ),
    *(
        Entry(
            name=f"http-{'spread' if spread else 'hot'}-{connections}",
            what=f"HTTP on Redis, {'5,000 counters' if spread else 'one hot counter'}, {connections} connections",
            peer=_WEBDIS,
            unit=_EACH_SECOND,
            target=target,
            sense="at least",
            prepare=partial(http.against_webdis, connections=connections, spread=spread),
            rounds_max=5,
            scale=2.0,
        )
        for spread, connections, target in ((False, 64, 0.85), (False, 256, 0.8), (True, 64, 0.7), (True, 256, 0.7))
    ),
    Entry(
        name="redis-writes",
        what="writes to the datastore per 1,000 increments of one hot counter, 256 callers",
        peer="",
        unit="writes",
        target=10,
        sense="at most",
        prepare=library.writes_per_thousand,
    ),
    *(
        Entry(
            name=f"{store}-growth{'-random' if anywhere else ''}",
            what=f"an increment on {title} among 1,000,000 counters, {'any of them' if anywhere else 'ten in use'}",
            peer="among 10 counters",
            unit="µs each",
            target=1.2,
            sense="at most",
            prepare=partial(prepare, anywhere=anywhere),
            slow=True,
        )
        for store, title, prepare in (
            ("redis", "Redis", growth.cost_on_redis),
            ("sqlite", "SQLite", growth.cost_on_sqlite),
        )
        for anywhere in (False, True)
    ),
    Entry(
        name="checker",
        what="the lab's checker on 1,000,000 operations with revisions",
        peer="the same in plain Python",
        unit="s of CPU",
        target=0.25,
        sense="at most",
        prepare=checker.against_plain_python,
        rounds_max=3,
    ),
    Entry(
        name="redis-memory",
        what="memory held in the process per idle counter, Redis",
        peer="",
        unit="bytes",
        target=1024,
        sense="at most",
        prepare=growth.memory_on_redis,
        rounds_max=2,
    ),
    Entry(
        name="sqlite-memory",
        what="memory held in the process per idle counter, SQLite",
        peer="",
        unit="bytes",
        target=1024,
        sense="at most",
        prepare=growth.memory_on_sqlite,
        rounds_max=2,
    ),
]
