"""Whether anything takes connections where a store URL leads, before anything is begun on it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from plusone.errors import ConfigurationError, StoreUnavailable
from plusone.lab.proxies import PORTS
from plusone.stores.registry import StoreURL

_SECONDS: Final = 5.0


async def reach(url: str) -> None:
    """Raise `StoreUnavailable` if none of the hosts that the URL names takes a connection within five seconds.

    What names no host of its own (a file, a provider's region) is taken to be reached: connecting will tell.
    """
    parsed = StoreURL.parse(url)
    addresses = _addresses(parsed)
    if not addresses:
        return
    problems = await asyncio.gather(*(_problem(host, port) for host, port in addresses))
    if all(problems):
        where = "; ".join(f"{host}:{port}: {why}" for (host, port), why in zip(addresses, problems, strict=True))
        raise StoreUnavailable(
            f"{parsed.redacted()} is out of reach ({where}); look whether the server runs, and at host and port"
        )


def _addresses(parsed: StoreURL) -> Sequence[tuple[str, int]]:
    try:
        if "endpoint" in parsed.query:
            endpoint = parsed.query["endpoint"]
            return StoreURL.parse(endpoint if "://" in endpoint else f"http://{endpoint}").hosts(
                443 if endpoint.startswith("https:") else 80
            )
        return parsed.hosts(PORTS[parsed.scheme]) if parsed.scheme in PORTS else ()
    except ConfigurationError:  # the store says it better
        return ()


async def _problem(host: str, port: int) -> str:
    """Why there is no connection; empty if there is one."""
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"no answer within {_SECONDS:g} s"
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    writer.close()
    return ""
