"""Servers that no package manager has ready: built once from recipes, kept in the user's cache.

    python -m plusone.lab.servers.build dynamodb mongo tidb

A recipe is a folder of `recipes/`: a `pom.xml` with the server's Maven coordinates and a `Main.java` that starts it on
127.0.0.1, or a `go.mod` whose only tool is the server. What it builds lies in the cache under the recipe's hash, so
that a recipe that changes builds anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from plusone.errors import ConfigurationError
from plusone.lab.programs import ServerFailed, run

RECIPES: Final = Path(__file__).parent / "recipes"
TOOLS: Final = {"pom.xml": ("mvn", "javac", "java"), "go.mod": ("go",)}
"""What a recipe of this kind needs on the machine."""
BUILDS_WITHIN_SECONDS: Final = 3_600.0


class Unavailable(ConfigurationError):
    """A server cannot be had here. Do what the message says would help, or take another datastore."""


def folder(name: str) -> Path:
    """Where the built server lies. Raises `Unavailable` if it was not built."""
    target = _target(name)
    if not target.is_dir():
        raise Unavailable(f"{name} was not built: run: python -m plusone.lab.servers.build {name}")
    return target


def version(name: str) -> str:
    """The version of the server that the recipe asks for."""
    recipe = RECIPES / name
    text = next((recipe / marker).read_text() for marker in TOOLS if (recipe / marker).exists())
    found = re.search(r"<version>([\d.]+)</version>\s*</dependency>|^require \S+ v(\S+)$", text, re.MULTILINE)
    assert found is not None
    return found[1] or found[2]


def build(name: str) -> Path:
    """Build the server if that was not done yet. Raises `Unavailable`, or `ServerFailed` with what the tools said."""
    target = _target(name)
    if target.is_dir():
        return target
    recipe = RECIPES / name
    missing = [tool for tool in _tools(recipe) if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"{name} cannot be built: there is no {', no '.join(missing)}")
    sys.stderr.write(f"building {name}, once, into {target}\n")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as place:
        work = Path(place) / "work"
        shutil.copytree(recipe, work)
        if (work / "pom.xml").exists():
            _maven(work)
        else:
            _go(work)
        # Whoever builds at the same time, the first one's stays.
        if not target.is_dir():
            work.rename(target)
    return target


def _maven(work: Path) -> None:
    """The jars into `lib/`, the main class beside them."""
    copy = "dependency:copy-dependencies"
    run(
        ["mvn", "-q", "-B", copy, "-DoutputDirectory=lib", "-DincludeScope=runtime"],
        work,
        seconds=BUILDS_WITHIN_SECONDS,
    )
    sources = [source.name for source in work.glob("*.java")]
    run(["javac", "-cp", "lib/*", *sources], work, seconds=BUILDS_WITHIN_SECONDS)


def _go(work: Path) -> None:
    """The tool of `go.mod`, named as its package is."""
    [package] = [line.split()[1] for line in (work / "go.mod").read_text().splitlines() if line.startswith("tool ")]
    run(["go", "mod", "tidy", "-e"], work, seconds=BUILDS_WITHIN_SECONDS)
    build = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", package.rpartition("/")[2], package]
    run(build, work, seconds=BUILDS_WITHIN_SECONDS)


def _tools(recipe: Path) -> Sequence[str]:
    return next(tools for marker, tools in TOOLS.items() if (recipe / marker).exists())


def _target(name: str) -> Path:
    digest = hashlib.sha256()
    for file in sorted((RECIPES / name).iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "plusone" / f"{name}-{digest.hexdigest()[:16]}"


def main(names: Sequence[str]) -> int:
    for name in names:
        try:
            build(name)
        except (Unavailable, ServerFailed) as error:
            sys.stderr.write(f"{error}\n")
            if os.environ.get("CI") == "true":
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
