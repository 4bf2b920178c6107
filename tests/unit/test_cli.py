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
from plusone.config import ENVIRONMENT_PREFIX, WITHOUT_PREFIX
from plusone.counters import Counters
from plusone.stores import registry
from plusone.types import Outcome, utc


@pytest.fixture(autouse=True)
def _a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in list(os.environ):
        if variable.startswith(ENVIRONMENT_PREFIX) or variable in WITHOUT_PREFIX:
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
        (["get", "a", "--store", "mongo://h"], "plusone: unknown store scheme 'mongo'; known are "),
        (["get", "a", "--config", "none.toml"], "plusone: none.toml: there is no such file\n"),
        (["get", "a", "--timeout", "61"], "plusone: --timeout: Expected `float` <= 60.0\n"),
        (["list", "--limit", "0", "--store", "memory:"], "plusone: limit must be an integer from 1 to 1000\n"),
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
    assert set(EXIT_CODES) == {0, 1, 2, 3, 4, 5, 6, 130}


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
    schemes = {store["title"]: store["schemes"] for store in found}
    assert (schemes["Memory"], schemes["SQLite"]) == (["memory"], ["sqlite"])
    assert len(found) == len(set(registry.STORES.values()))
    for store in found:
        assert store.get("tested_on") or store["not_installed"]


@pytest.mark.parametrize("asked", ["sqlite", "sqlite:", "sqlite:counters.db"])
def test_one_store_is_shown_by_its_scheme(asked: str) -> None:
    shown = run("stores", asked).stdout
    assert shown.startswith("SQLite (sqlite:)\n")
    assert shown.count("tested on") == 1
    assert answer("stores", asked)["schemes"] == ["sqlite"]


def test_a_scheme_that_there_is_not_is_exit_code_2() -> None:
    refused = run("stores", "reddis", exit_code=2).stderr
    assert refused.startswith("plusone: unknown store scheme 'reddis'; known are memory, sqlite, redis, ")


@pytest.mark.parametrize("columns", [80, 120])
def test_stores_is_whole_at_every_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.STORES, "absent", "absent_driver.store:AbsentStore")
    monkeypatch.setitem(registry.EXTRAS, "absent", "absent")
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = run("stores").stdout
    assert max(map(len, shown.splitlines())) <= columns
    words = shown.split()
    assert "…" not in shown
    for store in json.loads(run("stores", "--json").stdout):
        for text in (store["title"], store.get("durable"), store.get("survives_failover"), store.get("tested_on")):
            assert all(word in words for word in (text or "").split()), text
    tested = [line for line in shown.splitlines() if line.startswith("tested on")]
    assert len(tested) == shown.count("\nlongest name")


def test_a_store_without_its_driver_is_shown_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("absent", "absent+tls"):
        monkeypatch.setitem(registry.STORES, scheme, "absent_driver.store:AbsentStore")
        monkeypatch.setitem(registry.EXTRAS, scheme, "absent")
    assert json.loads(run("stores", "--json").stdout)[-1] == {
        "title": "absent",
        "schemes": ["absent", "absent+tls"],
        "not_installed": "pip install 'plusone[absent]'",
    }
    lines = [line.rstrip() for line in run("stores").stdout.splitlines()]
    assert lines[-3:-1] == ["absent (absent:, absent+tls:)", f"not installed{' ' * 19}pip install 'plusone[absent]'"]


def test_a_driver_that_will_not_load_breaks_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_driver.py").write_text("raise ImportError('libdriver.so.5: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry.STORES, "broken", "broken_driver:BrokenStore")
    monkeypatch.setitem(registry.EXTRAS, "broken", "broken")
    found = json.loads(run("stores", "--json").stdout)
    assert len(found) == len(set(registry.STORES.values()))
    assert found[-1]["problem"] == "libdriver.so.5: cannot open shared object file"
    assert "its driver says" in run("stores").stdout


def test_a_dry_run_of_setup_prints_the_steps_and_makes_nothing(tmp_path: Path) -> None:
    shown = run("setup", "sqlite:data/counters.db", "--dry-run").stdout
    assert shown.startswith("sqlite:data/counters.db\n  would do:\n")
    assert "CREATE TABLE counters" in shown
    assert "ready" not in shown
    assert list(tmp_path.iterdir()) == []
    prepared = answer("setup", "sqlite:data/counters.db", "--dry-run")
    assert list(tmp_path.iterdir()) == []
    assert (prepared["dry_run"], prepared["ready"]) == (True, None)
    assert prepared["steps"]


def test_setup_makes_what_is_missing_once(tmp_path: Path) -> None:
    planned = answer("setup", "sqlite:counters.db", "--dry-run")["steps"]
    first = answer("setup", "sqlite:counters.db")
    assert first == {
        "store": "sqlite:counters.db",
        "url": "sqlite:counters.db",
        "dry_run": False,
        "steps": planned,
        "ready": True,
    }
    run("increment", "votes", "--store", "sqlite:counters.db")
    assert run("setup", "sqlite:counters.db").stdout == "sqlite:counters.db\n  nothing to do\n  ready\n"
    assert run("setup", "sqlite:counters.db", "--dry-run").stdout == "sqlite:counters.db\n  nothing to do\n"
    assert answer("get", "votes", "--store", "sqlite:counters.db")["value"] == 1


def test_setup_takes_a_name_a_url_or_all_that_are_configured(tmp_path: Path) -> None:
    Path("plusone.toml").write_text('[stores]\ndefault = "sqlite:a.db"\nother = "sqlite:b.db"\nfar = "memory://"\n')
    assert run("setup", "far").stdout == "far: memory://\n  nothing to do\n  ready\n"
    assert run("setup", "other").stdout.startswith("other: sqlite:b.db\n  done:\n")
    assert not Path("a.db").exists()
    lines = [json.loads(line) for line in run("setup", "--json").stdout.splitlines()]
    assert [(line["store"], bool(line["steps"]), line["ready"]) for line in lines] == [
        ("default", True, True),
        ("other", False, True),
        ("far", False, True),
    ]


def test_setup_says_which_store_could_not_be_set_up_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Path("plusone.toml").write_text('[stores]\ndefault = "memory://"\nother = "sqlite:file/counters.db"\n')
    failed = run("setup", exit_code=2)
    assert failed.stdout == "default: memory://\n  nothing to do\n  ready\n"
    assert failed.stderr.startswith("plusone: store other: sqlite: ")
    assert run("setup", "none://here", exit_code=2).stderr.startswith("plusone: unknown store scheme 'none'")
    assert run("setup", "no/thing", exit_code=2).stderr.startswith("plusone: not a store URL")


def test_a_name_that_is_not_configured_is_said_to_be_none() -> None:
    Path("plusone.toml").write_text('[stores]\ndefault = "memory://"\nother = "sqlite:other.db"\n')
    message = "plusone: no store of the name nosuch is configured; configured are default, other; or give a URL\n"
    assert run("setup", "nosuch", exit_code=2).stderr == message
    message = "plusone: no store of the name nosuch is configured; configured are other; or give a URL\n"
    assert run("get", "votes", "--store", "nosuch", exit_code=2).stderr == message
    Path("plusone.toml").unlink()
    message = "plusone: no store of the name nosuch is configured; give a URL\n"
    assert run("get", "votes", "--store", "nosuch", exit_code=2).stderr == message


def test_setup_without_anything_configured_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is for trying out, and is made when it is counted on."""
    refused = run("setup", exit_code=2).stderr
    assert refused.startswith("plusone: no store is configured: give a URL, as in plusone setup sqlite:data/")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("PLUSONE_STORE", "sqlite:environment.db")
    assert run("setup").stdout.startswith("default: sqlite:environment.db\n  done:\n")


@pytest.mark.parametrize("command", [("get", "votes"), ("list",)])
@pytest.mark.parametrize("url", ["sqlite:typo.db", "sqlite:none/typo.db?", "sqlite:typo.db?synchronous=normal"])
def test_reading_makes_no_file(tmp_path: Path, command: tuple[str, ...], url: str) -> None:
    refused = run(*command, "--store", url, exit_code=2)
    assert refused.stdout == ""
    assert refused.stderr.startswith(f"plusone: sqlite: there is no file {tmp_path}")
    assert "counting makes it" in refused.stderr
    assert list(tmp_path.iterdir()) == []
    run("increment", "votes", "--store", url)
    assert "votes" in run(*command, "--store", url).stdout


def test_setup_of_a_server_says_ready_or_that_it_is_out_of_reach_and_never_a_password() -> None:
    redis = pytest.importorskip("tests.servers.redis")
    redis.skip_without_redis(own=True)
    with redis.redis_server() as server:
        url = redis.url_of(server)
        assert run("setup", url).stdout == f"{url}\n  nothing to do\n  ready\n"
        server.kill()
        failed = run("setup", url.replace("//", "//me:secret@"), exit_code=3)
        assert "ready" not in failed.stdout
        assert "Redis: " in failed.stderr
        assert "secret" not in failed.output
        as_json = run("setup", url, "--json", exit_code=3)
    assert json.loads(as_json.stdout)["ready"] is False
    assert json.loads(as_json.stderr)["code"] == "store-unavailable"


def test_a_spinner_is_for_terminals_only() -> None:
    plain = program("setup", "memory://", "--json")
    assert (plain.returncode, plain.stderr) == (0, "")
    terminal, theirs = os.openpty()
    try:
        shown = program("setup", "memory://", "--json", stderr=theirs, environ={**os.environ, "TERM": "xterm"})
        assert json.loads(shown.stdout)["ready"] is True
        assert "setting up memory://" in os.read(terminal, 65_536).decode()
    finally:
        os.close(terminal)
        os.close(theirs)


def test_the_version_is_the_packages() -> None:
    assert run("version").stdout == f"plusone {plusone.__version__}\n"
    assert answer("version") == {"version": plusone.__version__}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell: str) -> None:
    environ = {**os.environ, "_PLUSONE_COMPLETE": f"complete_{shell}", "COMP_WORDS": "plusone incr", "COMP_CWORD": "1"}
    environ |= {"_TYPER_COMPLETE_ARGS": "plusone incr", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "increment" in program(environ=environ).stdout


def program(
    *arguments: str, environ: dict[str, str] | None = None, before: str = "", stderr: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, after `before` was run there."""
    script = f"import sys; sys.argv[0] = 'plusone'; from plusone import cli\n{before}\ncli.main()"
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60, env=environ)


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
