"""What requests have in common is written into the statement, the rest into rows, and it makes no difference."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

pytest.importorskip("asyncmy")

from plusone.types import MAX, MIN
from tests.conformance.harness import B, add, asynchronous, closing, delete, opened, restart
from tests.servers import mariadb, tidb
from tests.servers.mysql import own_place, store_at

SERVERS = {"mariadb": mariadb, "tidb": tidb}
AVAILABLE = [name for name, has in (("mariadb", mariadb.HAS_MARIADB), ("tidb", tidb.HAS_TIDB)) if has]
if not AVAILABLE:
    mariadb.skip_without_mariadb(own=True)


@pytest.fixture(scope="module", params=AVAILABLE)
def shared(request: pytest.FixtureRequest) -> Iterator[str]:
    with SERVERS[request.param].shared_url() as url:
        yield url


@pytest.fixture
def url(shared: str) -> Iterator[str]:
    yield from own_place(shared)


@asynchronous
async def test_requests_are_answered_alike_together_and_alone(url: str) -> None:
    rounds = [
        [add(MAX), add(MIN), add(7, ttl_ms=60_000), restart(5), delete(), closing(seq=1)],
        [add(-1, seq=2), add(1, seq=2), add(7, writer=B), add(1, seq=2, lo=5, hi=5), restart(3, seq=2), add(1, seq=2)],
        [add(1, seq=3, lo=3, hi=4), add(1, seq=2), add(1, seq=2), add(1, seq=9, acked=8), delete(seq=3), add(4, seq=2)],
    ]
    async with opened(store_at(url)) as store:
        for requests in rounds:
            together = [msgspec.structs.replace(each, key=f"a/{at}") for at, each in enumerate(requests)]
            alone = [msgspec.structs.replace(each, key=f"b/{at}") for at, each in enumerate(requests)]
            answers = [answer for each in alone for answer in await store.apply([each])]
            assert list(await store.apply(together)) == answers
        found = [
            [(each.value, each.revision, each.exists) for each in await store.read(keys, strong=True)]
            for keys in ([each.key for each in together], [each.key for each in alone])
        ]
        assert found[0] == found[1]
