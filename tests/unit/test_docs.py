"""What the documents say is what the code does: generated parts are current, examples run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from plusone.config import load
from plusone.stores.registry import STORES, StoreURL
from tools import docs

README = (docs.ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", docs.GENERATED)
def test_generating_again_changes_nothing(name: str) -> None:
    assert docs.document(name) == (docs.ROOT / name).read_text(encoding="utf-8"), "run: make docs"


def test_the_readmes_python_runs(tmp_path: Path) -> None:
    answers = []
    for block in blocks("python"):
        command = [sys.executable, "-W", "error", "-c", block]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert run.stderr == ""
        answers.append(run.stdout)
    assert answers == ["True 1\n", "yours\n"]


def test_the_readmes_commands_run(tmp_path: Path) -> None:
    commands = [line for block in blocks("console") for line in re.findall(r"^\$ plusone (.*)$", block, re.MULTILINE)]
    names = [command.split()[0] for command in commands]
    assert names == ["verify", "increment", "get", "serve", "verify", "compare"]
    # What serves is called by the service's tests, what verifies and compares by the lab's.
    for command in [command for command in commands if command.split()[0] in ("increment", "get")]:
        arguments = [sys.executable, "-c", "from plusone.cli import main; main()", *command.split()]
        run = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (run.returncode, run.stderr) == (0, "")


def test_the_readmes_configuration_loads(tmp_path: Path) -> None:
    (block,) = blocks("toml")
    (tmp_path / "plusone.toml").write_text(block, encoding="utf-8")
    assert load(tmp_path / "plusone.toml").stores == tomllib.loads(block)["stores"]


def test_the_readme_has_a_url_of_each_datastore() -> None:
    (block,) = [block for block in blocks("text") if "sqlite:" in block]
    schemes = {StoreURL.parse(url).scheme for url in block.split()}
    assert {STORES[scheme] for scheme in schemes} == set(STORES.values())


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/protocol.md", "docs/speed.md", *docs.GENERATED])
def test_links_lead_to_files(name: str) -> None:
    file = docs.ROOT / name
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", file.read_text(encoding="utf-8")):
        assert (file.parent / target).exists(), target


def test_every_parameter_of_a_store_url_is_documented() -> None:
    text = (docs.ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for source in (docs.ROOT / "src" / "plusone" / "stores").rglob("*.py"):
        for known in re.findall(r"url\.only\(([^)]*)\)", source.read_text(encoding="utf-8")):
            for parameter in re.findall(r'"(\w+)"', known):
                assert f"| `{parameter}` |" in text, parameter
