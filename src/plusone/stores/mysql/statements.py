"""The SQL of the files beside this one, with values put in as literals that no setting of a server can misread."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

from plusone.stores import resources
from plusone.stores.protocol import GuardedAdd
from plusone.stores.sessions import SESSIONS_KEPT

Statements = Sequence[str]

_COMMENT: Final = re.compile(r"^--.*$", re.MULTILINE)


def sql(name: str) -> str:
    """The text of a file of this folder without its comments, in one line."""
    return _in_one_line(resources.text(__package__, name))


def statements(name: str) -> Statements:
    """Those of a file that holds several, each ended by a semicolon at the end of a line."""
    *found, _ = resources.text(__package__, name).split(";\n")
    return [_in_one_line(statement) for statement in found]


def _in_one_line(text: str) -> str:
    return " ".join(_COMMENT.sub("", text).split())


NOW: Final = sql("now.sql")
BEGIN: Final = "BEGIN"
COMMIT: Final = "COMMIT"
OTHERS_MAX: Final = SESSIONS_KEPT - 1
"""Sessions beside the last writer's, from which on a new writer's needs room first: the last one's joins them."""

_STEP: Final = re.split(r"(VALUES\(asked_\w+\)|\{\w+\})", sql("step.sql").replace("{now}", NOW))
"""In parts; every other one is to be put in."""
_LOCK: Final = sql("lock.sql")
_KNOWN: Final = sql("known.sql").replace("{now}", NOW)
_COLUMNS: Final = sql("columns.sql")
_ANSWERS: Final = sql("answers.sql").replace("{columns}", _COLUMNS)
_STAGE_TOKENS: Final = sql("stage_tokens.sql")
_RECORD_TOKENS: Final = sql("record_tokens.sql")
_KNOWN_TOKENS: Final = sql("known_tokens.sql").replace("{now}", NOW)


def literal(text: str) -> str:
    """A string as its bytes in hexadecimal: no character of it means anything, in whatever character set."""
    return f"x'{text.encode().hex()}'"


def literals(texts: Iterable[str]) -> str:
    return ",".join([literal(text) for text in texts])


def filled(text: str, **values: str | int) -> str:
    """`text` with each `{name}` replaced by the value of that name."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def step(requests: Sequence[GuardedAdd], others_max: int, retention_ms: int, *, returning: bool) -> Statements:
    """The transaction that applies these, all in one exchange; requests are in the order of their keys.

    What it answers: a row of `columns.sql` for each, in the last result before COMMIT; where there are tokens, rows of
    `known_tokens.sql` come in between. `returning`: the server has INSERT … RETURNING, which spares it a statement.
    """
    with_tokens = [request for request in requests if request.tokens]
    inserted = _inserted(requests, others_max, with_tokens=bool(with_tokens))
    if returning and not with_tokens:
        return (BEGIN, f"{inserted} RETURNING {_COLUMNS}", COMMIT)
    counters = literals(request.key for request in requests)
    answers = filled(_ANSWERS, counters=counters)
    if not with_tokens:
        return (BEGIN, inserted, answers, COMMIT)
    staged = ",".join(
        f"({literal(request.key)},{literal(token.token)},{literal(token.data)})"
        for request in with_tokens
        for token in request.tokens
    )
    return (
        BEGIN,
        filled(_LOCK, rows=",".join([f"({literal(request.key)},'{{}}')" for request in requests])),
        inserted,
        filled(_STAGE_TOKENS, rows=staged),
        filled(_RECORD_TOKENS, retention_ms=retention_ms, tokens=_among(with_tokens, "t.")),
        answers,
        filled(_KNOWN_TOKENS, tokens=_among(with_tokens, "")),
        COMMIT,
    )


def _inserted(requests: Sequence[GuardedAdd], others_max: int, *, with_tokens: bool) -> str:
    """`step.sql` for these. What is the same in all of them is written once: to read the text is much of the work."""
    columns = ["counter", "others"]
    values: list[Iterable[str]] = [[f"{literal(request.key)},'{{}}'" for request in requests]]
    parts = {"VALUES(asked_known)": "0", "{others_max}": str(others_max)}
    for column, of, written in _ASKED:
        asked = list(map(of, requests))
        if asked.count(asked[0]) == len(asked):
            parts[f"VALUES({column})"] = written(asked[0])
        else:
            columns.append(column)
            values.append(map(written, asked))
    if with_tokens:
        del parts["VALUES(asked_known)"]
        columns.append("asked_known")
        values.append(map(_known, requests))
    parts["{columns}"] = ",".join(columns)
    parts["{rows}"] = f"({'),('.join(map(','.join, zip(*values, strict=True)))})"
    return "".join([parts.get(part, part) for part in _STEP])


def _writer(writer: str) -> str:
    return f"_ascii {literal(writer)}"


def _number(number: int | None) -> str:
    return "NULL" if number is None else str(int(number))


def _kind(asked: tuple[bool, bool, bool]) -> str:
    closing, delete, restart = asked
    return "3" if closing else "2" if delete else "1" if restart else "0"


_NUMBERS: Final = ("seq", "acked", "total", "applied", "lo", "hi", "revision", "alive", "ttl_ms")
_ASKED: Final[Sequence[tuple[str, Callable[[GuardedAdd], Any], Callable[[Any], str]]]] = (
    ("asked_writer", attrgetter("writer"), _writer),
    ("asked_kind", attrgetter("closing", "delete", "restart"), _kind),
    *[(f"asked_{name}", attrgetter(name), _number) for name in _NUMBERS],
)
"""Columns that carry a request to its row: what of the request it is, and how that is written."""


def _known(request: GuardedAdd) -> str:
    """How many of the request's tokens are recorded."""
    if not request.tokens:
        return "0"
    return filled(_KNOWN, counter=literal(request.key), tokens=_tokens(request))


def _tokens(request: GuardedAdd) -> str:
    return literals(token.token for token in request.tokens)


def _among(requests: Sequence[GuardedAdd], table: str) -> str:
    """A condition that holds for the rows of these requests' tokens."""
    return " OR ".join(
        f"({table}counter = {literal(request.key)} AND {table}token IN ({_tokens(request)}))" for request in requests
    )


def among(rows: Iterable[Sequence[Any]]) -> str:
    """A condition that holds for these rows of tokens, given as counter and token."""
    tokens: dict[bytes, list[bytes]] = {}
    for counter, token in sorted(map(tuple, rows)):
        tokens.setdefault(counter, []).append(token)
    return " OR ".join(
        f"(counter = x'{counter.hex()}' AND token IN ({hexadecimal(found)}))" for counter, found in tokens.items()
    )


def hexadecimal(texts: Iterable[bytes]) -> str:
    return ",".join([f"x'{text.hex()}'" for text in texts])
