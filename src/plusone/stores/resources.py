"""Files in the datastore's own language that lie beside a store's code: its step, its queries, its schema."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files


def text(package: str, name: str) -> str:
    """The file `name` of the folder of `package`, which callers give as `__package__`."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def migrations(package: str) -> Sequence[Sequence[str]]:
    """The statements of each script in `schema/`, from nothing to the newest: the nth makes version n.

    A statement ends with a semicolon at the end of a line; comments before it belong to it.
    """
    scripts = sorted(files(package).joinpath("schema").iterdir(), key=lambda script: script.name)
    return [_statements(script.read_text(encoding="utf-8")) for script in scripts]


def _statements(script: str) -> Sequence[str]:
    *statements, rest = script.split(";\n")
    if rest.strip():
        raise ValueError("a schema script ends within a statement")
    return [statement.strip() for statement in statements]
