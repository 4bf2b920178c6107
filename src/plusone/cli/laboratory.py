"""What the commands of the lab have in common."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

from plusone.cli.printing import explained
from plusone.errors import ConfigurationError

_LIBRARIES: Final = ("hdrh", "jinja2", "matplotlib", "numpy")
"""What the extra brings, as they are imported."""


@contextmanager
def in_lab(as_json: bool) -> Iterator[None]:
    """Run a command that starts servers, or makes counters. What it lacks is said before anything is begun."""
    with explained(as_json):
        require_libraries()
        with interruptible():
            yield


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends what is in it as Ctrl-C does, and so leaves nothing: no server, no counter."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def require_libraries() -> None:
    """Raise `ConfigurationError` where some of the lab's libraries are not installed."""
    missing = [library for library in _LIBRARIES if find_spec(library) is None]
    if missing:
        raise ConfigurationError(f"the lab needs {', '.join(missing)}; run: pip install 'plusone[lab]'")
