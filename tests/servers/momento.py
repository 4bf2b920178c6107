"""The emulator of Momento for tests, or the user's own cache at `PLUSONE_TEST_MOMENTO_URL`.

Momento itself, at that URL, takes its API key from the environment variable that the URL names.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Final

from plusone.lab.processes import ServerProcess
from plusone.lab.servers.momento import api_key, momento_emulator, url_of
from plusone.stores.momento.store import MomentoStore
from tests.conformance.harness import store_of
from tests.servers.available import shared

store_at: Final = partial(store_of, MomentoStore)


def shared_url() -> AbstractContextManager[str]:
    """The URL of a cache for many tests: the user's, or one of an emulator that is started."""
    return shared("MOMENTO", _with_its_key, url_of)


@contextmanager
def _with_its_key() -> Iterator[ServerProcess]:
    with momento_emulator() as server, api_key():
        yield server


def own_prefix(url: str) -> str:
    """The URL with a key prefix of its own. What stands under it ends with its ttl."""
    return f"{url}{'&' if '?' in url else '?'}prefix=test-{secrets.token_hex(8)}:"
