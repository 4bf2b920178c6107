"""The SQL of the files beside this one, with values put in as literals that no setting of a server can misread."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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

_STEP: Final = sql("step.sql").replace("{now}", NOW)
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
    rows = ",".join([_row(request) for request in requests])
    inserted = filled(_STEP, rows=rows, others_max=others_max)
    with_tokens = [request for request in requests if request.tokens]
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


def _row(request: GuardedAdd) -> str:
    kind = 3 if request.closing else 2 if request.delete else 1 if request.restart else 0
    revision = "NULL" if request.revision is None else request.revision
    alive = "NULL" if request.alive is None else int(request.alive)
    ttl_ms = "NULL" if request.ttl_ms is None else request.ttl_ms
    known = "0"
    if request.tokens:
        known = filled(_KNOWN, counter=literal(request.key), tokens=_tokens(request))
    return (
        f"(x'{request.key.encode().hex()}','{{}}',x'{request.writer.encode().hex()}',{request.seq},{request.acked},"
        f"{request.total},{request.applied},{request.lo},{request.hi},{kind},{revision},{alive},{ttl_ms},{known})"
    )


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
