"""A line of the shipped source changed, and a test fails by an assertion: what shows that the suite can see."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from tests.mutations.mutants import MUTANTS, Server
from tests.mutations.running import PACKAGE, Ran, mutate, overlay, run

MODULES: Final[dict[Server, str]] = {
    "REDIS": "redis",
    "POSTGRESQL": "postgresql",
    "MARIADB": "mariadb",
    "DYNAMODB": "dynamodb",
    "MONGODB": "mongo",
    "MOMENTO": "momento",
    "ETCD": "etcd",
}
"""Of `plusone.lab.servers`, which says what is missing, and of `tests.servers`, which starts one for many tests."""

SERVERS: Final = tuple(MODULES)
Serving: TypeAlias = Callable[[Server | None], dict[str, str]]


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    """Starts a server once for all tests, and says to whom they are to turn; skips where there can be none."""
    with ExitStack() as stack:
        urls: dict[Server, str] = {}

        def serve(server: Server | None) -> dict[str, str]:
            if server is None:
                return {}
            if server not in urls:
                missing = importlib.import_module(f"plusone.lab.servers.{MODULES[server]}").missing()
                if missing is not None:
                    pytest.skip(missing)
                module = importlib.import_module(f"tests.servers.{MODULES[server]}")
                shared: AbstractContextManager[str] = module.shared_url()
                urls[server] = stack.enter_context(shared)
            return {f"PLUSONE_TEST_{server}_URL": urls[server]}

        yield serve


def check_package(ran: Ran, folder: Path) -> None:
    assert {ended.package for ended in ran.ended} == {str(folder)}, ran.output


@pytest.mark.parametrize("name", MUTANTS)
def test_the_line_stands_in_the_source_once(name: str) -> None:
    mutant = MUTANTS[name]
    text = (PACKAGE / mutant.file).read_text(encoding="utf-8")
    assert mutate(text, mutant) != text


@pytest.mark.parametrize("server", [None, *SERVERS])
def test_the_same_tests_pass_on_the_source_as_it_is(server: Server | None, serving: Serving, tmp_path: Path) -> None:
    tests = sorted({test for mutant in MUTANTS.values() if mutant.server == server for test in mutant.tests})
    package = overlay(tmp_path, None)
    ran = run(tests, package, tmp_path / "report", serving(server))
    assert ran.status == 0, ran.output
    assert {ended.how for ended in ran.ended} == {"passed"}, ran.output
    assert len(ran.ended) >= len(tests)
    check_package(ran, package)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_changed_line_is_caught(name: str, serving: Serving, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    package = overlay(tmp_path, mutant)
    ran = run(mutant.tests, package, tmp_path / "report", serving(mutant.server))
    assert ran.status == 1, ran.output
    assert ran.ended[-1].how == "assertion", ran.output
    check_package(ran, package)
