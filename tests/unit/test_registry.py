"""Store URLs: taken apart strictly, and never repeated with their passwords."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plusone.clock import Clock
from plusone.errors import ConfigurationError
from plusone.stores.memory import MemoryStore
from plusone.stores.registry import EXTRAS, STORES, StoreURL, make_store, store_class


def test_a_url_names_the_store() -> None:
    store = make_store("memory://", clock=Clock(), token_retention_ms=1_000)
    assert isinstance(store, MemoryStore)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", f"not a store URL: no scheme; known are {', '.join(STORES)}"),
        ("counters.db", f"not a store URL: no scheme; known are {', '.join(STORES)}"),
        ("mongo://h", f"unknown store scheme 'mongo'; known are {', '.join(STORES)}"),
        (
            "redis://h:99999",
            "not a store URL: its host or port is malformed; a password's special characters are percent-encoded",
        ),
        ("redis://h?wait=1&wait=2", "not a store URL: a query parameter stands in it twice"),
        ("redis://h?wait", "not a store URL: its query is malformed"),
        ("memory://?fast=1", "memory: unknown parameter 'fast' in the store URL; it takes none"),
    ],
)
def test_other_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_store(url, clock=Clock(), token_retention_ms=1_000)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("redis://user:secret@host:6379/0?wait=1", "redis://user:***@host:6379/0?wait=1"),
        ("redis://:secret@host/0", "redis://:***@host/0"),
        ("redis://:se%40cret@host/0", "redis://:***@host/0"),
        ("redis://:p@ss:word@host/0", "redis://:***@host/0"),
        ("redis://user@host", "redis://user@host"),
        ("redis://host", "redis://host"),
        ("sqlite:data/counters.db", "sqlite:data/counters.db"),
        ("sqlite:///var/lib/counters.db", "sqlite:///var/lib/counters.db"),
    ],
)
def test_a_redacted_url_has_no_password(url: str, redacted: str) -> None:
    assert StoreURL.parse(url).redacted() == redacted
    assert "secret" not in redacted


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("etcd://a:1,b,[::1]:3,[::2]", (("a", 1), ("b", 7), ("::1", 3), ("::2", 7))),
        ("redis+sentinel://me:p@ss,w:rd@a,b:2/main/0?prefix=x:", (("a", 7), ("b", 2))),
        ("redis://host:6379/0", (("host", 6379),)),
        ("redis://host", (("host", 7),)),
    ],
)
def test_a_url_may_name_several_hosts(url: str, hosts: tuple[tuple[str, int], ...]) -> None:
    parsed = StoreURL.parse(url)
    assert parsed.hosts(7) == hosts
    assert "p@ss" not in parsed.redacted()
    assert parsed.redacted().endswith(url.rpartition("@")[2])


@pytest.mark.parametrize(
    "url",
    [
        "etcd://a:1,",
        "etcd://,a:1",
        "etcd://a:1,:2",
        "etcd://a:1,b:0",
        "etcd://a:1,b:x",
        "etcd://a:1,b:99999",
        "etcd://a:1,secret@b:2:3",
        "redis://a:1,b:2",  # takes one
    ],
)
def test_malformed_hosts_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not a store URL: its host or port is malformed") as caught:
        StoreURL.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("etcd://", "etcd: the store URL names no host"),
        ("redis://:1", "redis: the store URL names no host"),
        ("redis://a,b:2", "redis: the store URL must name one host"),
    ],
)
def test_a_url_without_the_hosts_that_are_needed_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        StoreURL.parse(url).hosts(7)


@pytest.mark.parametrize(
    "url", ["redis://:secret@host:port/0", "redis://:secret/1@host/0", "redis://:secret@[::1/0", "//:secret@host"]
)
def test_what_is_wrong_with_a_url_is_said_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StoreURL.parse(url)
    assert "secret" not in str(caught.value)


def test_the_representation_of_a_url_has_no_password() -> None:
    assert "secret" not in repr(StoreURL.parse("redis://:secret@host/0"))


def test_query_parameters_are_checked() -> None:
    url = StoreURL.parse("redis://h?wait=2&pool=x")
    assert url.integer("wait", 0, 0, 9) == 2
    assert url.integer("absent", 5, 0, 9) == 5
    with pytest.raises(ConfigurationError, match="redis: pool must be an integer from 0 to 9"):
        url.integer("pool", 0, 0, 9)
    with pytest.raises(ConfigurationError, match="redis: wait must be an integer from 3 to 9"):
        url.integer("wait", 0, 3, 9)
    with pytest.raises(ConfigurationError, match="redis: unknown parameter 'pool' in the store URL; known are wait"):
        url.only("wait")
    url.only("wait", "pool")


def test_a_path_is_decoded() -> None:
    assert StoreURL.parse("sqlite:///a%20b%2Fc").path == "/a b/c"
    assert StoreURL.parse("sqlite:data/counters.db").path == "data/counters.db"


@pytest.mark.parametrize("scheme", STORES)
def test_each_scheme_is_one_of_its_stores_own(scheme: str) -> None:
    try:
        found = store_class(scheme)
    except ConfigurationError as error:
        assert scheme in EXTRAS
        pytest.skip(str(error))
    assert scheme in found.CAPABILITIES.schemes


def test_a_missing_driver_is_named_with_the_extra_that_brings_it() -> None:
    script = (
        "import sys; sys.modules['redis'] = None\n"
        "import plusone\n"
        "try: plusone.open('redis://localhost')\n"
        "except plusone.ConfigurationError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "redis: its driver is not installed; run: pip install 'plusone[redis]'\n"


def test_no_driver_is_imported_before_it_is_chosen() -> None:
    script = (
        "import sys, plusone, plusone.cli; print(sorted({'redis', 'sqlite3', 'litestar', 'rich'} & set(sys.modules)))"
    )
    # coverage, where it measures the tests, imports sqlite3 into every process of theirs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout == "[]\n"


def test_parameters_are_spelled_alike_in_all_stores(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    url = StoreURL.parse(f"x://u%40:p%2Fw@h?yes=yes&no=no&maybe=on&file={file}&none=/none&at=[::1]:7&host=h&bad=h:0")
    assert (url.username, url.password) == ("u@", "p/w")
    assert (url.flag("yes", default=False), url.flag("no", default=True), url.flag("other", default=True)) == (1, 0, 1)
    assert (url.file("file"), url.file("other", needs="tls=yes")) == (str(file), None)
    assert (url.address("at", 5), url.address("host", 5), url.address("other", 5)) == (("::1", 7), ("h", 5), None)
    for refused, message in (
        (lambda: url.flag("maybe", default=True), "x: maybe must be yes or no"),
        (lambda: url.file("file", needs="tls=yes"), "x: file needs tls=yes"),
        (lambda: url.file("none"), "x: none '/none' is no file"),
        (lambda: url.address("bad", 5), "x: bad must be host:port"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            refused()
        assert str(caught.value) == message


def test_a_prefix_has_only_characters_that_the_datastore_takes_as_they_are() -> None:
    assert StoreURL.parse("x://h").prefix("plusone:") == "plusone:"
    assert StoreURL.parse("x://h?prefix=a/b").prefix("", "a-z /") == "a/b"
    for text in ("", "a/b", "a" * 65, "%7B", "a%0A"):
        with pytest.raises(ConfigurationError, match="x: prefix must be 1 to 64 of A-Z"):
            StoreURL.parse(f"x://h?prefix={text}").prefix("plusone:")


@pytest.mark.parametrize("scheme", STORES)
def test_the_flag_of_a_failover_agrees_with_its_words(scheme: str) -> None:
    """What begins with "all of them" keeps all, unless a setting is needed for that."""
    try:
        found = store_class(scheme).CAPABILITIES
    except ConfigurationError as error:
        pytest.skip(str(error))
    words = found.survives_failover
    assert found.failover_keeps is (words.startswith("all of them") and "may be lost" not in words)
