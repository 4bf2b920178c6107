"""Every error says whether it happened, what it is called, and what to do; the docstring's tree is the real one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

import plusone
from plusone import errors
from plusone.errors import BoundReached, InvalidRequest, PlusoneError, TokenReused, UnsupportedByStore
from plusone.types import Outcome, utc


def walk(kind: type[PlusoneError]) -> Iterator[type[PlusoneError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from walk(child)


CLASSES = [kind for kind in walk(PlusoneError) if kind.__module__ == "plusone.errors"]


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    def real(kind: type[PlusoneError], depth: int = 0) -> Iterator[tuple[int, str]]:
        yield depth, kind.__name__
        for child in kind.__subclasses__():
            if child in CLASSES:
                yield from real(child, depth + 1)

    drawn = re.findall(r"^    ((?:[│ ]   )*)(├── |└── )?([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)
    assert [(len(indent) // 4 + bool(branch), name) for indent, branch, name in drawn] == list(real(PlusoneError))


@pytest.mark.parametrize("kind", CLASSES)
def test_each_error_says_what_became_of_the_operation(kind: type[PlusoneError]) -> None:
    assert kind.applied == ("maybe" if kind.__name__ == "OutcomeUnknown" else "no")
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code)
    assert 400 <= kind.http_status <= 599


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not PlusoneError])
def test_each_error_says_what_to_do(kind: type[PlusoneError]) -> None:
    # A sentence on what happened, then one on what to do about it (or the clause that does both).
    assert kind.__doc__
    assert len(re.findall(r"[.;:](?:\s|$)", kind.__doc__)) >= 2


def test_each_error_has_its_own_code_and_is_public() -> None:
    assert [code for code, count in Counter(kind.code for kind in CLASSES).items() if count > 1] == []
    assert {kind.__name__ for kind in CLASSES} <= set(plusone.__all__)


def test_invalid_requests_are_value_errors_that_name_the_field() -> None:
    error = InvalidRequest("by", "must be an integer")
    assert isinstance(error, ValueError)
    assert (str(error), error.field, error.problem) == ("by must be an integer", "by", "must be an integer")
    assert TokenReused().field == "token"


def test_an_error_for_one_more_caller_is_another_exception_that_says_the_same() -> None:
    outcome = Outcome(False, 10, 10, 3, utc(0), reason="ceiling")
    for error in (
        InvalidRequest("by", "is odd"),
        TokenReused(),
        BoundReached(outcome),
        UnsupportedByStore("list", "X"),
    ):
        error.__cause__ = OSError("the cause")
        again = error.again()
        assert again is not error
        assert type(again) is type(error)
        assert (str(again), vars(again), again.__cause__) == (str(error), vars(error), error.__cause__)


def test_the_message_of_a_rejection_has_the_counters_state() -> None:
    outcome = Outcome(False, 10, 10, 3, utc(0), reason="ceiling")
    assert str(BoundReached(outcome)) == "rejected by ceiling: the counter is 10 at revision 3"
