"""`plusone check`, on histories that stand here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from plusone.cli import app

_HISTORY: Final = re.compile(r"```json\n(\{\"type\":\"history\".*?)```", re.DOTALL)
_MANUAL: Final = _HISTORY.findall(Path("docs/lab.md").read_text(encoding="utf-8"))


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """That of the manual."""
    path = tmp_path / "history.jsonl"
    path.write_text(_MANUAL[0], encoding="utf-8")
    return path


def test_the_manuals_history_is_one_of_a_counter(history: Path) -> None:
    found = CliRunner().invoke(app, ["check", str(history), str(history)])
    assert (found.exit_code, found.stdout) == (0, f"{history}: ok, 2 operations on 1 counter\n" * 2)


def test_what_contradicts_itself_is_said(history: Path) -> None:
    """That the store forgot is the explanation that nothing speaks against."""
    late = '{"type":"call","number":3,"at_ns":200,"process":2,"counter":"votes","kind":"read"}\n'
    stale = '{"type":"answer","number":3,"at_ns":210,"result":"read","value":0}\n'
    history.write_text(_MANUAL[0] + late + stale, encoding="utf-8")
    found = CliRunner().invoke(app, ["check", str(history)])
    assert found.exit_code == 1
    first, second = found.stdout.splitlines()
    assert first == f"{history}: illegal, 3 operations on 1 counter"
    assert second.startswith("  lost after acknowledgement, votes: #1 was acknowledged with 1; #3, which")
    found = CliRunner().invoke(app, ["check", str(history), "--json"])
    told = json.loads(found.stdout)
    assert (found.exit_code, told["history"], told["verdict"], told["found"]) == (
        *(1, str(history), "illegal", {"lost after acknowledgement": 1}),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty: a history begins with a header"),
        (_MANUAL[0] + '{"type":"answer","number":9,"at_ns":1,"result":"read","value":0}\n', "line 6"),
        (_MANUAL[0] + "nonsense\n{}\n", "line 6"),
    ],
)
def test_what_is_no_history_is_refused(text: str, said: str, history: Path) -> None:
    history.write_text(text, encoding="utf-8")
    found = CliRunner().invoke(app, ["check", str(history)])
    assert (found.exit_code, said in found.stderr) == (2, True), found.stderr
    missing = CliRunner().invoke(app, ["check", str(history) + ".gz"])
    assert (missing.exit_code, "cannot be read: No such file" in missing.stderr) == (2, True)
