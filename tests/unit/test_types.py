"""What an operation may be: each wrong field is refused before anything is sent, and named."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from plusone.errors import BoundReached, InvalidRequest, PreconditionFailed
from plusone.types import (
    MAX,
    MIN,
    TTL_SECONDS_MAX,
    Operation,
    Outcome,
    check_account,
    check_name,
    check_token,
    ttl_milliseconds,
    utc,
)


def test_operations_take_everything_that_a_counter_can() -> None:
    operation = Operation.add(MIN, ceiling=MAX, floor=MIN, token="t" * 255, if_revision=0, ttl=0.001)
    assert operation == Operation("add", -(2**63), -(2**63), 2**63 - 1, "t" * 255, 0, False, 1)
    assert Operation.add() == Operation("add", 1)
    assert Operation.add(0, floor=5, ceiling=5).floor == 5
    assert Operation.set(MAX, if_absent=True, ttl=2) == Operation("set", MAX, None, None, None, None, True, 2000)
    assert Operation.delete(if_revision=MAX) == Operation("delete", 0, None, None, None, MAX)


@pytest.mark.parametrize(
    ("arguments", "field", "message"),
    [
        ({"by": 2**63}, "by", "by is beyond 64 bits: it must lie in -2^63 to 2^63 - 1"),
        ({"by": -(2**63) - 1}, "by", "by is beyond 64 bits: it must lie in -2^63 to 2^63 - 1"),
        ({"by": 1.0}, "by", "by must be an integer, not float"),
        ({"by": True}, "by", "by must be an integer, not bool"),
        ({"by": "1"}, "by", "by must be an integer, not str"),
        ({"by": None}, "by", "by must be an integer, not NoneType"),
        ({"ceiling": 2**63}, "ceiling", "ceiling is beyond 64 bits: it must lie in -2^63 to 2^63 - 1"),
        ({"ceiling": 1.5}, "ceiling", "ceiling must be an integer, not float"),
        ({"floor": False}, "floor", "floor must be an integer, not bool"),
        ({"floor": 6, "ceiling": 5}, "floor", "floor is 6, above the ceiling 5"),
        ({"token": ""}, "token", "token must be 1 to 255 characters; this one has 0"),
        ({"token": "t" * 256}, "token", "token must be 1 to 255 characters; this one has 256"),
        ({"token": 7}, "token", "token must be a string, not int"),
        ({"token": "a\nb"}, "token", "token must not contain control characters"),
        ({"token": "\ud800"}, "token", "token is not valid Unicode: it has a lone surrogate"),
        ({"if_revision": -1}, "if_revision", "if_revision must be a revision: an integer from 0 to 2^63 - 1"),
        ({"if_revision": 2**63}, "if_revision", "if_revision must be a revision: an integer from 0 to 2^63 - 1"),
        ({"if_revision": True}, "if_revision", "if_revision must be a revision: an integer from 0 to 2^63 - 1"),
        (
            {"if_revision": 1, "if_absent": True},
            "if_absent",
            "if_absent contradicts if_revision: an absent counter has no revision to match",
        ),
        ({"ttl": 0}, "ttl", "ttl must be a number of seconds from 0.001 to 3155760000"),
        ({"ttl": -1}, "ttl", "ttl must be a number of seconds from 0.001 to 3155760000"),
        ({"ttl": math.nan}, "ttl", "ttl must be a number of seconds from 0.001 to 3155760000"),
        ({"ttl": math.inf}, "ttl", "ttl must be a number of seconds from 0.001 to 3155760000"),
        ({"ttl": True}, "ttl", "ttl must be a number of seconds from 0.001 to 3155760000"),
        ({"ttl": "60"}, "ttl", "ttl must be a number of seconds from 0.001 to 3155760000"),
    ],
)
def test_a_wrong_add_is_refused_by_field(arguments: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Operation.add(**arguments)
    assert (caught.value.field, str(caught.value)) == (field, message)


def test_a_wrong_set_names_its_value() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Operation.set(2**63)
    assert caught.value.field == "value"


@pytest.mark.parametrize("name", ["a", "n" * 255, "é" * 127, "a/b c%2F{}[]*", "日本", "\U0001f600"])
def test_names_are_any_text_of_255_bytes(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "name must be 1 to 255 bytes of UTF-8; this one has 0"),
        ("n" * 256, "name must be 1 to 255 bytes of UTF-8; this one has 256"),
        ("é" * 128, "name must be 1 to 255 bytes of UTF-8; this one has 256"),
        ("a\x00", "name must not contain control characters"),
        ("a\x1f", "name must not contain control characters"),
        ("a\x7f", "name must not contain control characters"),
        ("a\x85", "name must not contain control characters"),
        ("\udcff", "name is not valid Unicode: it has a lone surrogate"),
        (b"a", "name must be a string, not bytes"),
        (None, "name must be a string, not NoneType"),
    ],
)
def test_other_names_are_refused(name: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_name(name)
    assert (caught.value.field, str(caught.value)) == ("name", message)


@pytest.mark.parametrize("account", ["", "a" * 64, "A", "a/b", "a_b", "é"])
def test_an_account_cannot_reach_into_another(account: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_account(account)
    assert caught.value.field == "account"


def test_accounts_and_tokens_at_their_limits() -> None:
    check_account("a" * 63)
    check_account("0-9")
    check_token("é" * 255)
    check_token(" ~")


def test_a_ttl_is_whole_milliseconds() -> None:
    assert ttl_milliseconds(None) is None
    assert ttl_milliseconds(1) == 1000
    assert ttl_milliseconds(0.0014) == 1
    assert ttl_milliseconds(TTL_SECONDS_MAX) == 3_155_760_000_000


def test_an_outcome_is_true_exactly_when_it_was_applied() -> None:
    applied = Outcome(True, 1, 0, 1, utc(0))
    assert applied
    assert applied.raise_for_rejection() is applied
    rejected = Outcome(False, 1, 1, 1, utc(0), reason="floor")
    assert not rejected
    with pytest.raises(BoundReached) as bound:
        rejected.raise_for_rejection()
    assert bound.value.outcome is rejected
    for reason in ("revision", "exists"):
        with pytest.raises(PreconditionFailed):
            Outcome(False, 1, 1, 1, utc(0), reason=reason).raise_for_rejection()


def test_values_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Operation.add(1).amount = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Outcome(True, 1, 0, 1, utc(0)).value = 2  # type: ignore[misc]


def test_times_are_utc() -> None:
    assert utc(1_500).isoformat() == "1970-01-01T00:00:01.500000+00:00"


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Operation("frob"), "kind"),  # type: ignore[arg-type]
        (lambda: Operation("delete", 5), "amount"),
        (lambda: Operation("add", 1, ttl_ms=-5), "ttl"),
        (lambda: Operation("add", 1, ttl_ms=0), "ttl"),
        (lambda: Operation("add", 1, ttl_ms=1.5), "ttl"),  # type: ignore[arg-type]
        (lambda: Operation("add", 1, ttl_ms=TTL_SECONDS_MAX * 1000 + 1), "ttl"),
        (lambda: Operation("delete", ttl_ms=1000), "ttl"),
        (lambda: Operation("set", 1, floor=0), "floor"),
        (lambda: Operation("delete", floor=0), "floor"),
        (lambda: Operation("set", 1, ceiling=5), "ceiling"),
        (lambda: Operation("delete", if_absent=True), "if_absent"),
    ],
)
def test_an_operation_is_valid_by_construction(make: Callable[[], Operation], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        make()
    assert refused.value.field == field
