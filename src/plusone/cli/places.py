"""Which store a command means: the one of a URL, of a name in the configuration, or all that are configured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from plusone.config import Settings
from plusone.errors import ConfigurationError
from plusone.stores.registry import StoreURL

_NAME: Final = re.compile("[a-z0-9-]{1,63}")


def url_of(store: str, stores: Mapping[str, str]) -> str:
    """The URL of the store of this name in the configuration, or else what was given, which should be a URL.

    Raises `ConfigurationError` for what can only be a name, and is none.
    """
    if store in stores:
        return stores[store]
    if _NAME.fullmatch(store):
        names = ", ".join(name for name, url in stores.items() if url != store)
        instead = f"configured are {names}; or give a URL" if names else "give a URL"
        raise ConfigurationError(f"no store of the name {store} is configured; {instead}")
    return store


def targets(store: str | None, settings: Settings, configured: Mapping[str, str]) -> Mapping[str, str]:
    """URLs by what to call them: the store that was asked for, or else all that are `configured`."""
    if store is not None:
        url = url_of(store, settings.stores)
        return {store: url} if store in settings.stores else {StoreURL.parse(url).redacted(): url}
    if not configured:
        raise ConfigurationError(
            "no store is configured: give a URL, as in plusone setup sqlite:data/counters.db, or set PLUSONE_STORE, or"
            " write plusone.toml"
        )
    return configured


def existing(url: str) -> str:
    """The URL, of which a file that is missing is not made: whoever reads it has misspelt its name."""
    parsed = StoreURL.parse(url)
    if parsed.scheme != "sqlite" or "create" in parsed.query:
        return url
    return parsed.parts._replace(query="&".join(filter(None, (parsed.parts.query, "create=no")))).geturl()
