"""Settings: where each comes from, which source wins, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from plusone.config import Settings, load
from plusone.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_serve_sqlite_on_loopback() -> None:
    settings = load()
    assert settings == Settings()
    assert settings.stores == {"default": "sqlite:data/counters.db"}
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert (settings.timeout, settings.token_retention, settings.bulk_items_max) == (10.0, 86_400.0, 10_000)
    assert settings.hit_route is False


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text(
        'port = 1001\nworkers = 3\ntimeout = 5\ngrace = 7.5\n[stores]\ndefault = "memory://"\neu-1 = "redis://eu"\n'
    )
    environ = {"PLUSONE_PORT": "1002", "PLUSONE_WORKERS": "4", "PLUSONE_STORE": "redis://environment", "HOME": "/"}
    settings = load(file, environ, {"port": 1003, "workers": None, "store": None})
    assert (settings.port, settings.workers, settings.timeout, settings.grace) == (1003, 4, 5.0, 7.5)
    assert settings.stores == {"default": "redis://environment", "eu-1": "redis://eu"}
    assert load(file, environ, {"store": "memory://"}).stores["default"] == "memory://"


def test_the_working_folders_file_is_read_without_being_named(tmp_path: Path) -> None:
    (tmp_path / "plusone.toml").write_text('cors_origins = ["https://a.example"]\nhit_route = true\n')
    settings = load()
    assert settings.cors_origins == ("https://a.example",)
    assert settings.hit_route is True


def test_the_environment_has_lists_and_booleans_as_text() -> None:
    environ = {"PLUSONE_CORS_ORIGINS": "https://a.example, https://b.example", "PLUSONE_HIT_ROUTE": "true"}
    settings = load(environ=environ)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.hit_route is True


def test_the_classic_routes_settings_are_in_the_environment_as_such_too(tmp_path: Path) -> None:
    defaults = load()
    assert (defaults.use_conditional_writes, defaults.max_counter_value, defaults.momento_cache_name) == (
        False,
        10,
        None,
    )
    (tmp_path / "plusone.toml").write_text("use_conditional_writes = true\nmax_counter_value = 20\n")
    assert (load().use_conditional_writes, load().max_counter_value) == (True, 20)
    bare = {"USE_CONDITIONAL_WRITES": "false", "MAX_COUNTER_VALUE": "30"}
    settings = load(environ=bare)
    assert (settings.use_conditional_writes, settings.max_counter_value) == (False, 30)
    settings = load(environ={"PLUSONE_MAX_COUNTER_VALUE": "40", **bare})
    assert (settings.use_conditional_writes, settings.max_counter_value) == (False, 40)
    assert load(environ={"MAX_COUNTER_VALUE": ""}).max_counter_value == 20


def test_a_momento_cache_is_a_store_unless_there_is_one(tmp_path: Path) -> None:
    environ = {"MOMENTO_CACHE_NAME": "my-cache"}
    assert load(environ=environ).stores == {"default": "sqlite:data/counters.db", "momento": "momento://my-cache"}
    assert load(environ={**environ, "PLUSONE_MOMENTO_CACHE_NAME": "other"}).stores["momento"] == "momento://other"
    (tmp_path / "plusone.toml").write_text('[stores]\nmomento = "memory://"\n')
    assert load(environ=environ).stores["momento"] == "memory://"
    (tmp_path / "plusone.toml").write_text('momento_cache_name = "counts"\n')
    assert load().stores["momento"] == "momento://counts"


def test_where_the_test_suite_finds_servers_is_no_setting() -> None:
    assert load(environ={"PLUSONE_TEST_REDIS_URL": "redis://localhost"}) == Settings()


def test_what_kubernetes_says_of_a_service_named_plusone_is_no_setting() -> None:
    environ = {
        "PLUSONE_SERVICE_HOST": "10.0.0.11",
        "PLUSONE_SERVICE_PORT": "8000",
        "PLUSONE_SERVICE_PORT_HTTP": "8000",
        "PLUSONE_PORT": "tcp://10.0.0.11:8000",
        "PLUSONE_PORT_8000_TCP": "tcp://10.0.0.11:8000",
        "PLUSONE_PORT_8000_TCP_ADDR": "10.0.0.11",
    }
    assert load(environ=environ) == Settings()
    assert load(environ={**environ, "PLUSONE_PORT": "8001"}).port == 8001


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prot = 1", "plusone.toml: unknown setting 'prot'; known are stores, host, port"),
        ('store = "memory://"', "plusone.toml: unknown setting 'store'"),
        ('port = "80"', "plusone.toml: port: Expected `int`, got `str`"),
        ("port = 0", "plusone.toml: port: Expected `int` >= 1"),
        (
            'use_conditional_writes = "true"',
            "plusone.toml: use_conditional_writes: Expected `bool`, got `str`; allowed are",
        ),
        ("max_counter_value = 9223372036854775808", "plusone.toml: max_counter_value: Expected `int` <="),
        ("port = true", "plusone.toml: port: Expected `int`, got `bool`"),
        ("timeout = nan", "plusone.toml: timeout: Expected `float` >= 0.001"),
        ("timeout = 61", "plusone.toml: timeout: Expected `float` <= 60.0"),
        ('on_gap = "panic"', "plusone.toml: on_gap: Invalid enum value 'panic'; allowed are continue, stop"),
        ('[stores]\nEU = "memory://"', "plusone.toml: stores: Expected `str` matching regex"),
        ("[stores]\neu = 1", "plusone.toml: stores: Expected `str`, got `int` - at `$[...]`"),
        ("port =", "plusone.toml: cannot be read: Invalid value"),
    ],
)
def test_a_wrong_file_is_told_the_key_and_the_source(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "plusone.toml").write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("environ", "flags", "message"),
    [
        ({"PLUSONE_PRT": "1"}, {}, "environment variable PLUSONE_PRT: unknown setting 'prt'; known are store, host"),
        ({"PLUSONE_PORT": "http"}, {}, "PLUSONE_PORT: Expected `int`, got `str`"),
        (
            {"USE_CONDITIONAL_WRITES": "maybe"},
            {},
            "USE_CONDITIONAL_WRITES: Expected `bool`, got `str`; allowed are true, ",
        ),
        ({"MAX_COUNTER_VALUE": "ten"}, {}, "MAX_COUNTER_VALUE: Expected `int`, got `str`"),
        ({"MAX_COUNTER_VALUE": "-1"}, {}, "MAX_COUNTER_VALUE: Expected `int` >= 0"),
        ({"PLUSONE_MAX_COUNTER_VALUE": "-1"}, {}, "PLUSONE_MAX_COUNTER_VALUE: Expected `int` >= 0"),
        ({"MOMENTO_CACHE_NAME": "a/b"}, {}, "MOMENTO_CACHE_NAME: Expected `str` matching regex"),
        ({}, {"port": 70_000}, "--port: Expected `int` <= 65535"),
        ({}, {"log_level": "loud"}, "--log-level: Invalid enum value 'loud'; allowed are debug, info, warning, error"),
        ({}, {"colour": "red"}, "--colour: unknown setting 'colour'"),
    ],
)
def test_a_wrong_variable_or_flag_is_named(environ: dict[str, str], flags: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(environ=environ, flags=flags)
    assert str(caught.value).startswith(message)


def test_a_named_file_must_exist_and_be_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.toml: there is no such file"):
        load(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b'host = "\xff"')
    with pytest.raises(ConfigurationError, match=r"latin\.toml: cannot be read: 'utf-8' codec"):
        load(tmp_path / "latin.toml")
