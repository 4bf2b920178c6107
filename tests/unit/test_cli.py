"""The command line as it is called: its answers, its exit codes, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import plusone
from plusone import cli, errors
from plusone.cli.printing import EXIT_CODES, exit_code
from plusone.counters import Counters
from plusone.stores import registry
from plusone.types import Outcome, utc


@pytest.fixture(autouse=True)
def _a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in list(os.environ):
        if variable.startswith("PLUSONE_"):
            monkeypatch.delenv(variable)


def run(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(cli.app, list(arguments), prog_name="plusone")
    assert result.exit_code == exit_code, result.output
    return result


def answer(*arguments: str, exit_code: int = 0) -> dict[str, object]:
    decoded = json.loads(run(*arguments, "--json", exit_code=exit_code).stdout)
    assert isinstance(decoded, dict)
    return decoded


def test_it_counts_where_the_service_does_by_default(tmp_path: Path) -> None:
    assert answer("increment", "votes")["value"] == 1
    assert answer("increment", "votes", "--by", "-3")["value"] == -2
    assert answer("decrement", "votes", "--by", "5")["value"] == -7
    assert answer("get", "votes")["value"] == -7
    assert (tmp_path / "data" / "counters.db").is_file()


def test_an_answer_has_the_whole_outcome() -> None:
    first = answer("increment", "votes", "--by", "2", "--token", "order-1")
    at = first.pop("at")
    assert isinstance(at, str)
    assert at.endswith("Z")
    expected = {"name": "votes", "applied": True, "value": 2, "previous": 0, "revision": 1, "reason": None}
    assert first == {**expected, "replayed": False}
    assert answer("increment", "votes", "--by", "2", "--token", "order-1") == {**expected, "replayed": True, "at": at}


def test_people_get_a_table() -> None:
    assert [line.split() for line in run("increment", "votes", "--by", "1234567").stdout.splitlines()] == [
        ["counter", "value", "previous", "revision"],
        ["votes", "1234567", "0", "1"],
    ]


def test_a_long_name_is_folded_and_never_cut_or_taken_for_markup() -> None:
    name = "[bold]" + "".join(chr(ord("a") + index % 26) for index in range(240))
    run("set", name, "0")
    assert "".join(line.split()[0] for line in run("get", name).stdout.splitlines()[1:]) == name


@pytest.mark.parametrize(
    "arguments",
    [
        ("votes", "-5"),
        ("--json", "votes", "-5"),
        ("votes", "-5", "--token", "-7"),
        ("--", "votes", "-5"),
        ("votes", "--token=t", "-5"),
    ],
)
def test_negative_numbers_are_values(arguments: tuple[str, ...]) -> None:
    run("set", *arguments)
    assert answer("get", "votes")["value"] == -5


def test_bounds_and_preconditions_are_exit_code_5() -> None:
    run("increment", "seats", "--ceiling", "1")
    rejected = run("increment", "seats", "--ceiling", "1", "--json", exit_code=5)
    assert json.loads(rejected.stdout)["reason"] == "ceiling"
    assert json.loads(rejected.stderr) == {
        "code": "bound-reached",
        "applied": "no",
        "message": "rejected by ceiling: the counter is 1 at revision 1",
    }
    assert run("decrement", "seats", "--floor", "1", exit_code=5).stderr == (
        "plusone: rejected by floor: the counter is 1 at revision 1\n"
    )
    run("set", "seats", "9", "--if-absent", exit_code=5)
    run("reset", "seats", "--if-revision", "9", exit_code=5)
    run("delete", "seats", "--if-revision", "1")
    assert answer("get", "seats")["exists"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["increment", ""], "plusone: name must be 1 to 255 bytes of UTF-8; this one has 0\n"),
        (["increment", "a", "--by", "9223372036854775808"], "plusone: by is beyond 64 bits"),
        (["increment", "a", "--ttl", "0"], "plusone: ttl must be a number of seconds"),
        (["get", "a", "--store", "mongo://h"], "plusone: unknown store scheme 'mongo'; known are memory, sqlite"),
        (["get", "a", "--config", "none.toml"], "plusone: none.toml: there is no such file\n"),
        (["get", "a", "--timeout", "61"], "plusone: --timeout: Expected `float` <= 60.0\n"),
        (["list", "--limit", "0"], "plusone: limit must be an integer from 1 to 1000\n"),
        (["serve", "--log-level", "loud"], "plusone: --log-level: Invalid enum value 'loud'; allowed are debug, info"),
    ],
)
def test_what_is_wrong_with_a_request_is_exit_code_2(arguments: list[str], message: str) -> None:
    assert run(*arguments, exit_code=2).stderr.startswith(message)


@pytest.mark.parametrize(
    "arguments", [["increment"], ["set", "a", "b"], ["set", "a", "-x"], ["counts"], ["get", "--by"]]
)
def test_a_wrong_command_is_exit_code_2_and_shows_its_usage(arguments: list[str]) -> None:
    assert run(*arguments, exit_code=2).stderr.startswith("Usage: plusone")


def test_each_error_has_its_exit_code() -> None:
    kept = Outcome(False, 1, 1, 1, utc(0), reason="ceiling")
    assert exit_code(errors.InvalidRequest("by", "is odd")) == 2
    assert exit_code(errors.TokenReused()) == 2
    assert exit_code(errors.ConfigurationError("wrong")) == 2
    assert exit_code(errors.StoreUnavailable("away")) == 3
    assert exit_code(errors.UnsupportedByStore("list", "Momento")) == 3
    assert exit_code(errors.OutcomeUnknown("late")) == 4
    assert exit_code(errors.BoundReached(kept)) == 5
    assert exit_code(errors.PreconditionFailed(kept)) == 5
    assert set(EXIT_CODES) == {0, 1, 2, 3, 4, 5, 130}


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.StoreUnavailable("connection refused"), 3), (errors.OutcomeUnknown("no answer within 10 s"), 4)],
)
def test_what_went_wrong_is_said_with_what_to_do(
    error: errors.PlusoneError, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> Outcome:
        raise error

    monkeypatch.setattr(Counters, "reset", fails)
    assert run("reset", "votes", exit_code=code).stderr == f"plusone: {error}\n{error.__doc__}\n"
    as_json = json.loads(run("reset", "votes", "--json", exit_code=code).stderr)
    assert as_json == {"code": error.code, "applied": error.applied, "message": str(error)}


def test_the_store_is_taken_from_flag_then_environment_then_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("plusone.toml").write_text('[stores]\ndefault = "sqlite:file.db"\nother = "sqlite:other.db"\n')
    run("increment", "votes")
    run("increment", "votes", "--store", "other")
    run("increment", "votes", "--store", "sqlite:flag.db")
    monkeypatch.setenv("PLUSONE_STORE", "sqlite:environment.db")
    run("increment", "votes")
    assert {path.name for path in tmp_path.glob("*.db")} == {"file.db", "other.db", "flag.db", "environment.db"}


def test_listing_goes_on_where_the_page_ended() -> None:
    for name in ("a1", "a2", "a3", "b"):
        run("increment", name)
    first = run("list", "a", "--limit", "2", "--json")
    page = json.loads(first.stdout)
    assert [counter["name"] for counter in page["counters"]] == ["a1", "a2"]
    rest = json.loads(run("list", "a", "--json", "--page-token", page["next_page_token"]).stdout)
    assert ([counter["name"] for counter in rest["counters"]], rest["next_page_token"]) == (["a3"], None)
    assert run("list", "a", "--limit", "2").stderr.startswith("more: --page-token ")


def test_several_counters_are_read_in_the_order_of_the_command() -> None:
    run("increment", "b")
    lines = [json.loads(line) for line in run("get", "b", "a", "--eventual", "--json").stdout.splitlines()]
    assert [(line["name"], line["value"], line["exists"]) for line in lines] == [("b", 1, True), ("a", 0, False)]


def test_stores_shows_what_each_promises() -> None:
    shown = run("stores").stdout
    assert "SQLite (sqlite:)" in shown
    assert "linearizable" in shown
    found = json.loads(run("stores", "--json").stdout)
    assert [store["title"] for store in found[:2]] == ["Memory", "SQLite"]
    assert [store["schemes"] for store in found[:2]] == [["memory"], ["sqlite"]]
    assert len(found) == 3


def test_a_store_without_its_driver_is_shown_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.STORES, "absent", "absent_driver.store:AbsentStore")
    monkeypatch.setitem(registry.EXTRAS, "absent", "absent")
    assert json.loads(run("stores", "--json").stdout)[-1] == {
        "title": "absent",
        "not installed": "absent: its driver is not installed; run: pip install 'plusone[absent]'",
    }
    assert "pip install 'plusone[absent]'" in " ".join(run("stores").stdout.split())


def test_the_version_is_the_packages() -> None:
    assert run("version").stdout == f"plusone {plusone.__version__}\n"
    assert answer("version") == {"version": plusone.__version__}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell: str) -> None:
    environ = {**os.environ, "_PLUSONE_COMPLETE": f"complete_{shell}", "COMP_WORDS": "plusone incr", "COMP_CWORD": "1"}
    environ |= {"_TYPER_COMPLETE_ARGS": "plusone incr", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "increment" in program(environ=environ).stdout


def program(
    *arguments: str, environ: dict[str, str] | None = None, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, after `before` was run there."""
    script = f"import sys; sys.argv[0] = 'plusone'; from plusone import cli\n{before}\ncli.main()"
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)


DEFECT = "def fails(*_, **__): raise RuntimeError('two\\nlines')\ncli.load = fails"


def test_an_unexpected_failure_is_two_lines_and_exit_code_1() -> None:
    failed = program("get", "votes", before=DEFECT)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == (
        "plusone: unexpected failure: RuntimeError: two lines\n"
        "This is a defect. Please report it with what `plusone --debug ...` prints.\n"
    )


def test_debug_shows_the_traceback() -> None:
    failed = program("--debug", "get", "votes", before=DEFECT)
    assert failed.returncode == 1
    assert failed.stderr.startswith("Traceback (most recent call last):")


def test_an_interrupt_is_exit_code_130() -> None:
    interrupts = "async def stops(*_, **__): raise KeyboardInterrupt\ncli.Counters.reset = stops"
    stopped = program("reset", "votes", before=interrupts)
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (130, "", "plusone: interrupted\n")


@pytest.mark.parametrize("command", ["serve", "openapi"])
def test_without_the_server_extra_the_service_says_how_to_get_it(command: str) -> None:
    absent = "for name in ('granian', 'litestar', 'prometheus_client', 'structlog', 'uvloop'): sys.modules[name] = None"
    refused = program(command, before=absent)
    assert (refused.returncode, refused.stderr) == (
        2,
        "plusone: the HTTP service is not installed; run: pip install 'plusone[server]'\n",
    )
