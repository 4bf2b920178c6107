"""What docs/datastores.md says in its own words is what the stores do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "datastores.md").read_text(encoding="utf-8")
STORES = ROOT / "src" / "plusone" / "stores"


def section(title: str) -> str:
    """The words under this heading, on one line, without the generated table."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return " ".join(re.sub(r"<!-- promises-(\S+) -->.*?<!-- /promises-\1 -->", "", found[1], flags=re.DOTALL).split())


def sources(folder: Path, pattern: str, *endings: str) -> set[str]:
    files = [file for file in folder.iterdir() if file.suffix in endings]
    return {found for file in files for found in re.findall(pattern, file.read_text(encoding="utf-8"))}


def test_the_rights_on_dynamodb_are_those_of_the_requests_that_are_sent() -> None:
    """A statement needs the right of its verb, not one of the call that it travels in."""
    folder = STORES / "dynamodb"
    calls = sources(folder, r'\bcall\(\s*"(\w+)"', ".py")
    assert {"BatchExecuteStatement", "BatchGetItem"} <= calls
    verbs = sources(folder, r'\b(INSERT|UPDATE|DELETE|SELECT)\b[^"\n|]*"\{table\}"', ".partiql", ".py")
    assert {"INSERT", "UPDATE"} <= verbs
    by_statement = {f"PartiQL{verb.capitalize()}" for verb in verbs}
    asked_of_the_table = sources(folder, r'\bcontrol\(\s*"(\w+)"', ".py")
    of_the_table = {"".join(map(str.capitalize, name.split("_"))) for name in asked_of_the_table}

    to_count, _, to_set_up = section("DynamoDB").partition("`plusone setup` needs besides")
    rights = re.compile(r"`dynamodb:(\w+)`")
    counting = calls - {"BatchExecuteStatement", "ExecuteTransaction"} | by_statement | {"DescribeTable"}
    assert set(rights.findall(to_count)) == counting
    assert set(rights.findall(to_set_up)) == of_the_table - {"DescribeTable"}


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("DynamoDB", "as any AWS SDK finds them: the environment, a profile, a role"),
        ("MongoDB and Amazon DocumentDB", "`documentdb:` asks for TLS, `mongodb:` does not"),
        ("MongoDB and Amazon DocumentDB", "`global-bundle.pem`, named by `ca_file`"),
        ("MongoDB and Amazon DocumentDB", "mongo-java-server, altered for the tests"),
        ("MongoDB and Amazon DocumentDB", "commits before it answers"),
        ("Momento", "even if an operation gave it a `ttl` beyond 24 h"),
        ("Momento", "`MOMENTO_API_KEY`, or in the one that `api_key_from` names"),
        ("etcd", "`tls=yes`"),
    ],
)
def test_what_is_needed_is_said(title: str, words: str) -> None:
    assert words in section(title)
