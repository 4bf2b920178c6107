"""Which stores there are, as `plusone stores` shows them: with what they promise, or with how to get their driver."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from plusone.errors import ConfigurationError
from plusone.stores.protocol import Capabilities
from plusone.stores.registry import EXTRAS, STORES, store_class


class NotInstalled(msgspec.Struct, frozen=True, omit_defaults=True):
    """A store whose driver is not to be had here."""

    title: str
    schemes: Sequence[str]
    not_installed: str
    """The command that installs it."""
    problem: str | None = None
    """Why a driver that is installed will not load."""


def schemes_by_class(only: str | None = None) -> list[list[str]]:
    """The schemes of each store, in the order of the registry; of one, if `only` is one of its schemes, or a URL of it.

    Raises `ConfigurationError` for a scheme that there is not.
    """
    schemes: dict[str, list[str]] = {}
    for scheme, target in STORES.items():
        schemes.setdefault(target, []).append(scheme)
    if only is None:
        return list(schemes.values())
    scheme = only.partition(":")[0]
    if scheme not in STORES:
        raise ConfigurationError(f"unknown store scheme {scheme!r}; known are {', '.join(STORES)}")
    return [schemes[STORES[scheme]]]


def known(schemes: Sequence[str]) -> Capabilities | NotInstalled:
    """What the store of these schemes promises; where its driver is not installed or will not load, what to do."""
    try:
        return store_class(schemes[0]).CAPABILITIES
    except (ConfigurationError, ImportError) as error:
        extra = EXTRAS.get(schemes[0])
        if extra is None or (isinstance(error, ImportError) and (error.name or "").startswith("plusone")):
            raise
        # A driver that is there and will not load (a library that it needs is missing, say) is told apart.
        problem = None if isinstance(error, ConfigurationError) else str(error)
        return NotInstalled(schemes[0], schemes, f"pip install 'plusone[{extra}]'", problem)
