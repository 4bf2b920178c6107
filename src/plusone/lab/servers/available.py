"""Whether a datastore's server can be started here, and how the programs of those that can are asked what they are."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from typing import Final

from plusone.lab.programs import run
from plusone.lab.servers import build

SYSTEM_PATH: Final = "/usr/local/sbin:/usr/sbin"


def program(name: str) -> str:
    """Where a program lies; its name alone if nowhere. Servers are often where only root's PATH leads."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}") or name


def not_installed(package: str, *programs: str) -> str | None:
    """Why a server of these programs cannot be started, and what helps; None if it can."""
    if all(os.path.isabs(program(name)) for name in programs):
        return None
    return f"{programs[0]} is not installed: apt-get install {package}"


def not_built(recipe: str) -> str | None:
    """Why the server of this recipe cannot be started, and what helps; None if it can."""
    try:
        build.folder(recipe)
    except build.Unavailable as unavailable:
        return str(unavailable)
    return None


def no_driver(extra: str, module: str) -> str | None:
    """Why nobody could talk to the server: the driver is missing that this extra brings."""
    if importlib.util.find_spec(module) is not None:
        return None
    return f"its driver is not installed: pip install 'plusone[{extra}]'"


def version_of(*command: str) -> str:
    """The version that a program prints of itself: the first number with a point in it."""
    found = re.search(r"\d+(?:\.\d+)+", run(command))
    return found.group() if found else "of unknown version"


def with_parameters(address: str, parameters: dict[str, str | int]) -> str:
    """A store URL with these query parameters; `address` is one without any."""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"{address}?{query}" if query else address
