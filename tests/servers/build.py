"""Servers that no package manager has ready: built once from recipes, kept in the user's cache.

    python -m tests.servers.build dynamodb mongo tidb

A recipe is a folder of `recipes/`: a `pom.xml` with the server's Maven coordinates and a `Main.java` that starts it on
127.0.0.1, or a `go.mod` whose only tool is the server. What it builds lies in the cache under the recipe's hash, so
that a recipe that changes builds anew. Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

RECIPES: Final = Path(__file__).parent / "recipes"
TOOLS: Final = {"pom.xml": ("mvn", "javac", "java"), "go.mod": ("go",)}
"""What a recipe of this kind needs on the machine."""


class Unavailable(Exception):
    """A server cannot be had here; the message says why, and what would help."""


def folder(name: str) -> Path:
    """Where the built server lies. Raises `Unavailable` if it was not built."""
    target = _target(name)
    if not target.is_dir():
        raise Unavailable(f"{name} was not built: run: make {'tidb' if name == 'tidb' else 'servers'}")
    return target


def build(name: str) -> Path:
    """Build the server if that was not done yet. Raises `Unavailable`, or what the tools fail with."""
    target = _target(name)
    if target.is_dir():
        return target
    recipe = RECIPES / name
    missing = [tool for tool in _tools(recipe) if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"{name} cannot be built: there is no {', no '.join(missing)}")
    print(f"building {name}, once, into {target}", flush=True)
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
    _run(["mvn", "-q", "-B", copy, "-DoutputDirectory=lib", "-DincludeScope=runtime"], work)
    _run(["javac", "-cp", "lib/*", *(source.name for source in work.glob("*.java"))], work)


def _go(work: Path) -> None:
    """The tool of `go.mod`, named as its package is."""
    [package] = [line.split()[1] for line in (work / "go.mod").read_text().splitlines() if line.startswith("tool ")]
    _run(["go", "mod", "tidy", "-e"], work)
    _run(["go", "build", "-trimpath", "-ldflags=-s -w", "-o", package.rpartition("/")[2], package], work)


def _run(command: Sequence[str], work: Path) -> None:
    done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)} failed:\n{done.stdout[-4_000:]}")


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
        except Unavailable as error:
            print(f"{error}", file=sys.stderr)
            if os.environ.get("CI") == "true":
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
