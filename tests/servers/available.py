"""Whether a datastore's server can be had here: one that the tests start, or the user's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import pytest

Server = TypeVar("Server")


def users_url(name: str) -> str | None:
    """The user's own server, as `PLUSONE_TEST_<name>_URL` says."""
    return os.environ.get(_variable(name))


def skip_without(name: str, missing: str | None, *, own: bool = False) -> None:
    """Skip the module that calls this where no server can be had; `own` if the user's does not do. Fails in CI.

    `missing` says why none can be started.
    """
    if missing is None or (users_url(name) and not own):
        return
    reason = f"{missing}, or set {_variable(name)}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)


@contextmanager
def shared(
    name: str, server: Callable[[], AbstractContextManager[Server]], url_of: Callable[[Server], str]
) -> Iterator[str]:
    """The URL of a server for many tests: the user's, or one that is started."""
    if url := users_url(name):
        yield url
        return
    with server() as started:
        yield url_of(started)


def _variable(name: str) -> str:
    return f"PLUSONE_TEST_{name}_URL"
