"""What the server says about itself by INFO, of which a proxy or a hosted service may hide a part."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from plusone.errors import StoreRefused
from plusone.stores.redis.errors import of_question

OLDEST_VERSION: Final = (7, 0)
"""From here on a script that writes is refused before it starts where it could not finish."""

_log = logging.getLogger("plusone.redis")


def parse_info(reply: Any) -> dict[str, str]:
    """The facts of a reply to INFO, by name; raises `StoreUnavailable` or `StoreRefused` for an error."""
    if isinstance(reply, Exception):
        raise of_question(reply) from reply
    lines = reply.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def fact(facts: Mapping[str, str], name: str) -> str:
    """Raises `StoreRefused` for one that INFO left out."""
    if name not in facts:
        raise StoreRefused(f"Redis: INFO says no {name}; let plusone's user and connection see all of INFO")
    return facts[name]


def check_version(facts: Mapping[str, str]) -> None:
    """Raise `StoreRefused` for a server that is too old, or does not tell."""
    version = fact(facts, "redis_version")
    try:
        found = tuple(int(part) for part in version.split(".")[:2])
    except ValueError:
        raise StoreRefused(f"Redis: INFO says redis_version:{version}, which is no version") from None
    if found < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise StoreRefused(f"Redis: the server is version {version}; plusone needs {oldest} or later")


def check_mode(facts: Mapping[str, str]) -> None:
    """Raise `StoreRefused` for a server that needs another form of URL."""
    mode = facts.get("redis_mode")
    if mode in ("cluster", "sentinel"):
        what = "a node of a cluster" if mode == "cluster" else "a sentinel"
        raise StoreRefused(f"Redis: the server is {what}; let the store URL begin with redis+{mode}://")


def warn_of_losses(servers: Iterable[Mapping[str, str]]) -> None:
    """Log what these servers lose of what they acknowledge, or do not tell; what several have in common, once."""
    for warning in dict.fromkeys(warning for facts in servers for warning in _losses(facts)):
        _log.warning("Redis: %s", warning)


def _losses(facts: Mapping[str, str]) -> Iterator[str]:
    if facts.get("aof_enabled") == "0":
        yield (
            "appendonly is no: a crash of Redis takes what it acknowledged since its last snapshot, or all, where"
            " there are none (save); set appendonly yes"
        )
    policy = facts.get("maxmemory_policy")
    if policy is None:
        yield "INFO says no maxmemory_policy: see that it is noeviction, else Redis may drop counters"
    elif policy != "noeviction":
        lost = "counters" if policy.startswith("allkeys") else "tokens and counters with a ttl"
        yield f"maxmemory-policy is {policy}: when memory is short Redis drops {lost}; set noeviction"
