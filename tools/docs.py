"""Writes the generated documents from the code, or with --check says which of them are not what the code says."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from bench import lost_replies
from bench.datastores import PLAIN
from bench.report import Report, markdown
from plusone import config, errors
from plusone.cli import app
from plusone.cli.printing import EXIT_CODES, promises
from plusone.service import problems
from plusone.stores.registry import STORES, store_class

GROUPS: Final = (errors.PlusoneError, errors.Rejected, errors.NotCounted)
ROOT: Final = Path(__file__).resolve().parent.parent


def main() -> None:
    stale = []
    for name in GENERATED:
        file, text = ROOT / name, document(name)
        if file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            file.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'is not what the code says; run: make docs' if '--check' in sys.argv else 'written'}")
    sys.exit(1 if stale and "--check" in sys.argv else 0)


def document(name: str) -> str:
    """A document with its generated parts as they should be."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for marker, generate in GENERATED[name].items():
        text = replace_region(text, marker, generate())
    return text


def replace_region(text: str, marker: str, content: str) -> str:
    """`text` with what stands between `<!-- marker -->` and `<!-- /marker -->` replaced."""
    pattern = re.compile(rf"(<!-- {re.escape(marker)} -->\n).*?(<!-- /{re.escape(marker)} -->)", re.DOTALL)
    replaced, count = pattern.subn(lambda match: f"{match[1]}{content.strip()}\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"{marker}: expected one generated region, found {count}")
    return replaced


GUARANTEES: Final = ("an acknowledged count survives", "failover", "idempotency keys", "tested on")
"""What the README shows of the promises; docs/datastores.md has them all."""


def guarantee_table() -> str:
    rows = [promises(store_class(scheme).CAPABILITIES) for scheme in one_scheme_per_store()]
    return table(["", *GUARANTEES], ([row["title"], *(row[label] for label in GUARANTEES)] for row in rows))


def promise_table(scheme: str) -> str:
    return table(["", ""], ([label, text] for label, text in _promised(scheme).items()))


def _promised(scheme: str) -> dict[str, str]:
    capabilities = store_class(scheme).CAPABILITIES
    urls = ", ".join(f"`{each}:`" for each in capabilities.schemes)
    return {"store URL": urls, **{label: text for label, text in promises(capabilities).items() if label != "title"}}


def cli_reference() -> str:
    group: Any = typer.main.get_command(app)
    context = typer.Context(group, info_name="plusone")
    commands = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    sections = []
    for name, command in commands:
        with context.scope():
            inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        records = [parameter.get_help_record(inner) for parameter in command.get_params(inner)]
        usage = " ".join(command.collect_usage_pieces(inner))
        rows = [[f"`{what}`", said] for what, said in filter(None, records) if what != "--help"]
        sections.append(f"## plusone {name}\n\n{command.help}\n\n    plusone {name} {usage}\n")
        if rows:
            sections.append(table(["", ""], rows) + "\n")
    return "\n".join(sections)


def settings_table() -> str:
    """The settings with their defaults, and the docstrings beneath them, which only the source has."""
    (body,) = (
        node.body
        for node in ast.parse(Path(config.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    meanings: dict[str, str] = {}
    for field, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            meanings[field.target.id] = " ".join(str(said).split())
    defaults = msgspec.to_builtins(config.Settings())
    rows = ([f"`{key}`", f"`{json.dumps(defaults[key])}`", meaning] for key, meaning in meanings.items())
    return table(["setting", "default", "meaning"], rows)


def exit_code_table() -> str:
    return table(["code", "meaning"], ([str(code), meaning] for code, meaning in EXIT_CODES.items()))


def error_tree() -> str:
    block = (errors.__doc__ or "").split("\n\n")[1]
    return f"```text\n{block}\n```"


def error_table() -> str:
    """What a caller may meet; a class that only groups others is not raised itself."""
    return _errors(kind for kind in error_classes() if kind not in GROUPS)


def problem_table() -> str:
    """What only the service answers."""
    return _errors(kind for kind in problems.problem_types().values() if kind.__module__ == problems.__name__)


def _errors(kinds: Iterable[type[errors.PlusoneError]]) -> str:
    rows = (
        [
            f"`{kind.__name__}`",
            f"`{kind.code}`",
            kind.applied,
            str(kind.http_status),
            " ".join((kind.__doc__ or "").split()),
        ]
        for kind in kinds
    )
    return table(["class", "code", "applied", "HTTP", "meaning, and what to do"], rows)


def error_classes(root: type[errors.PlusoneError] = errors.PlusoneError) -> Iterator[type[errors.PlusoneError]]:
    """The error classes of `plusone.errors`, each before its children, in the order of their definition."""
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from error_classes(kind)


def lost_replies_table() -> str:
    file = ROOT / "docs/lost-replies.json"
    measured = msgspec.json.decode(file.read_bytes(), type=lost_replies.Table)
    if {line.name for line in measured.lines} != {plain.name for plain in PLAIN}:
        raise ValueError(f"{file} lacks a datastore: run python -m bench.lost_replies")
    return lost_replies.markdown(measured)


def lab_region() -> str:
    from tools.lab import region  # the lab's libraries take long to import, and one document in five needs them

    return region()


def speed_table() -> str:
    return markdown(msgspec.json.decode((ROOT / "docs/bench.json").read_bytes(), type=Report))


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def one_scheme_per_store() -> list[str]:
    """The first scheme of each store, in the order of the registry."""
    return list({target: scheme for scheme, target in reversed(STORES.items())}.values())[::-1]


GENERATED: Final[dict[str, dict[str, Callable[[], str]]]] = {
    "README.md": {
        "guarantees": guarantee_table,
        "lab": lab_region,
        "lost-replies": lost_replies_table,
        "speed": speed_table,
    },
    "docs/cli.md": {"exit-codes": exit_code_table, "commands": cli_reference},
    "docs/datastores.md": {f"promises-{scheme}": partial(promise_table, scheme) for scheme in one_scheme_per_store()},
    "docs/configuration.md": {"settings": settings_table},
    "docs/errors.md": {"tree": error_tree, "errors": error_table, "problems": problem_table},
}
"""For each document, what stands between its markers."""

if __name__ == "__main__":
    main()
