"""From a request, and what is known of its counter's item, to the statement that applies it if nothing has changed.

DynamoDB has no conditional right-hand side, so the step has three forms: for a record that is alive, for one that is
dead, and for one that is not there. Each holds its own condition, and the session besides: of the forms that are sent
under one seq, one at most is applied. Which one to send is a guess at first; what it misses tells the right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from plusone.errors import PlusoneError
from plusone.stores.dynamodb.item import ABSENT, Item
from plusone.stores.dynamodb.keys import counter_key, token_key
from plusone.stores.dynamodb.statements import Parameter, Statement, Statements, number, numbers, text
from plusone.stores.protocol import GuardedAdd, TokenWrite
from plusone.stores.sessions import SESSIONS_MAX, crowded, make_room

Form: TypeAlias = Literal["alive", "dead", "absent"]

DEAD_KEPT_SECONDS: Final = 60 * 60
SESSIONS_KEPT: Final = 8
"""Fewer than elsewhere: a write is billed by the KB of its item, and a session is up to 91 bytes of it."""
_PRUNED_AT_ONCE: Final = 16
"""A statement has at most 8,192 characters, and its expressions 4 KB."""


class Plan(msgspec.Struct):
    """A statement, and the form that it has the record to be of."""

    form: Form
    statement: Statement


class _Seen(msgspec.Struct):
    time_ms: int


def plan(
    statements: Statements, request: GuardedAdd, item: Item | None, now_ms: int, token_retention_ms: int
) -> Plan | PlusoneError | None:
    """How to apply a request to this item, which admits it; None for an item means that it is not known.

    None in answer: it has to be read first. An error: there is no room for another writer.
    """
    form = _guess(request) if item is None else _form(item, now_ms)
    if form is None:
        return None
    if form == "absent":
        return Plan(form, _insert(statements, request, now_ms, token_retention_ms))
    pruned: Sequence[str] = ()
    sessions_max = SESSIONS_KEPT
    if item is not None and request.writer not in item.s.entries and len(item.s.entries) >= SESSIONS_KEPT:
        found = _old_sessions(item, now_ms)
        if found is None:
            return crowded()
        # The condition counts those that go with it.
        pruned, sessions_max = found, SESSIONS_MAX + len(found)
    parts = _update(request, form, item, now_ms, token_retention_ms, sessions_max)
    if pruned:
        assert item is not None
        parts |= {"prune": (), "pruned": [number(item.s.entries[writer].number) for writer in pruned]}
    return Plan(form, statements.compose(parts, request.writer, pruned))


def token_statement(
    statements: Statements, request: GuardedAdd, token: TokenWrite, now_ms: int, until_ms: int, *, again: bool
) -> Statement:
    """What records a token; `again` in the place of an item that has expired."""
    assert token.before is not None
    value, revision, exists = token.before
    partition, name = token_key(request.key, token.token)
    key = [text(partition), text(name)]
    removal = _seconds(until_ms) + DEAD_KEPT_SECONDS
    notes = [text(token.data), *map(number, (value, revision, int(exists), until_ms, removal))]
    if again:
        return statements.compose({"again": [*notes, *key, number(now_ms)]})
    return statements.compose({"token": [*key, *notes]})


def _guess(request: GuardedAdd) -> Form | None:
    if request.alive is not False and (request.revision != 0 or request.alive):
        return "alive"
    if not request.lo <= 0 <= request.hi:
        return None
    return "dead" if request.acked or request.revision else "absent"


def _form(item: Item, now_ms: int) -> Form:
    if item is ABSENT:
        return "absent"
    return "alive" if item.is_alive(now_ms) else "dead"


def _update(
    request: GuardedAdd, form: Form, item: Item | None, now_ms: int, token_retention_ms: int, sessions_max: int
) -> dict[str, Sequence[Parameter]]:
    partition, name = counter_key(request.key)
    alive = form == "alive"
    stamp = 2 * now_ms + alive
    parts: dict[str, Sequence[Parameter]] = {
        "update": (number(request.seq), number(stamp), text(partition), text(name)),
        "closing" if request.closing else "before" if alive else "before 0": (),
    }
    if request.acked:
        parts["known"] = (number(request.acked), number(request.seq - 1))
    else:
        parts["unknown"] = (number(request.seq), number(sessions_max))
    if alive:
        parts["alive"] = (number(now_ms), number(request.lo), number(request.hi))
    else:
        parts["dead"] = (number(now_ms),)
    if request.revision is not None:
        parts["revision"] = (number(request.revision),)
    if request.applied:
        parts["applied"] = (number(request.applied), number(now_ms))
        parts["value" if request.restart or not alive else "add"] = (number(request.total),)
    if request.tokens or not alive or request.delete:
        parts |= _ends(request, form, item, now_ms, token_retention_ms)
    if not request.tokens:
        parts["changed" if request.applied else "whole"] = ()
    return parts


def _ends(
    request: GuardedAdd, form: Form, item: Item | None, now_ms: int, token_retention_ms: int
) -> dict[str, Sequence[Parameter]]:
    """When the record expires, and when it may be removed: an hour after its last write, and behind its last token."""
    parts: dict[str, Sequence[Parameter]] = {}
    held = item.k.number if item is not None and item.k is not None else 0
    if request.tokens:
        held = max(held, _seconds(now_ms + token_retention_ms))
        parts["tokens"] = parts["held"] = (number(held),)
    removal: int | None = None
    if request.delete:
        parts["expires"] = (number(0),)
        removal = _seconds(now_ms)
    elif form == "dead" and not request.applied:
        removal = _seconds(now_ms)
    elif form == "dead" and request.ttl_ms is not None:
        parts["expires"] = (number(now_ms + request.ttl_ms),)
        removal = _seconds(now_ms + request.ttl_ms)
    elif form == "dead":
        parts["for ever"] = ()
    elif item is not None and item.x is not None:
        removal = item.x.number - DEAD_KEPT_SECONDS
    else:
        parts["removed"] = (number(held),)
    if removal is not None:
        removal = max(removal + DEAD_KEPT_SECONDS, held)
        parts["removal"] = (number(removal),)
        parts.setdefault("held", (number(removal),))
    return parts


def _insert(statements: Statements, request: GuardedAdd, now_ms: int, token_retention_ms: int) -> Statement:
    partition, name = counter_key(request.key)
    writer = request.writer
    parts: dict[str, Sequence[Parameter]] = {
        "insert": (
            *(text(partition), text(name), number(request.total), number(request.applied)),
            numbers({writer: request.seq}),
            numbers({} if request.closing else {writer: 0}),
            numbers({writer: 0}),
            numbers({writer: 2 * now_ms}),
        )
    }
    held = 0
    if request.tokens:
        held = _seconds(now_ms + token_retention_ms)
        parts["holds"] = (number(held),)
    if request.applied:
        parts["at"] = (number(now_ms),)
    expires_ms: int | None = 0
    if request.applied and not request.delete:
        expires_ms = None if request.ttl_ms is None else now_ms + request.ttl_ms
    if expires_ms is not None:
        parts["ends"] = (number(expires_ms),)
        parts["goes"] = (number(max(_seconds(expires_ms or now_ms) + DEAD_KEPT_SECONDS, held)),)
    return statements.compose(parts)


def _old_sessions(item: Item, now_ms: int) -> Sequence[str] | None:
    """Sessions that may go for a new one, the oldest first; None if there are too many that may not."""
    sessions = {
        writer: _Seen(stamp.number // 2) for writer, stamp in item.t.entries.items() if writer in item.s.entries
    }
    kept = dict(sessions)
    if not make_room(kept, now_ms, kept=SESSIONS_KEPT):
        return None
    by_age = sorted(sessions.keys() - kept.keys(), key=lambda writer: sessions[writer].time_ms)
    return by_age[:_PRUNED_AT_ONCE]


def _seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up."""
    return -(-milliseconds // 1000)
