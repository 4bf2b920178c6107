"""A Redis by TLS: the proxy compares the certificate, as the client would have, and replies are lost all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("redis")

import plusone
from plusone.errors import StoreUnavailable
from plusone.lab.faults import Faults
from plusone.lab.processes import ServerProcess
from plusone.lab.proxies import proxied
from tests.conformance.faults import count, store_at
from tests.servers.redis import skip_without_redis
from tests.stores.conftest import certificate as _certificate
from tests.stores.test_redis_failures import tls_server

skip_without_redis(own=True)

INCREMENTS = 400
CALLERS = 4
certificate_of_localhost = _certificate


def server_of(certificate: tuple[Path, Path]) -> ServerProcess:
    key, trusted = map(str, certificate)
    return tls_server("--tls-cert-file", trusted, "--tls-key-file", key, "--tls-ca-cert-file", trusted)


def test_replies_are_lost_behind_tls(certificate_of_localhost: tuple[Path, Path]) -> None:
    faults = Faults(rates={"cut_after_request": 0.1}, seed=3, matcher=lambda request: b"EVALSHA" in request)

    async def main(url: str) -> None:
        async with proxied(url, faults) as proxies:
            assert proxies.url.startswith("redis://127.0.0.1:")
            async with plusone.Counters(store_at(proxies.url)) as counters:
                values = await count(counters, "votes", callers=CALLERS, each=INCREMENTS // CALLERS)
            assert proxies.counts["cut_after_request"] >= 1
        assert values == list(range(1, INCREMENTS + 1))
        async with plusone.open(url) as direct:
            assert (await direct.get("votes")).value == INCREMENTS

    with server_of(certificate_of_localhost) as server:
        asyncio.run(main(f"rediss://localhost:{server.port}/0?ca_file={certificate_of_localhost[1]}"))


@pytest.mark.parametrize("trusted", [False, True])
def test_a_certificate_of_another_name_or_of_nobody_is_refused(
    trusted: bool, certificate_of_localhost: tuple[Path, Path]
) -> None:
    async def main(url: str) -> None:
        async with proxied(url) as proxies, plusone.open(proxies.url, timeout=1) as counters:
            await counters.increment("votes")

    with server_of(certificate_of_localhost) as server:
        named = f"localhost:{server.port}/0"
        other = f"127.0.0.1:{server.port}/0?ca_file={certificate_of_localhost[1]}"
        with pytest.raises(StoreUnavailable):
            asyncio.run(main(f"rediss://{other if trusted else named}"))
