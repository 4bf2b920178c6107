"""All ways of counting that the lab knows, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plusone.errors import ConfigurationError
from plusone.lab.results import Violation
from plusone.lab.servers import SERVERS
from plusone.lab.subjects import dynamodb, etcd, momento, mongodb, mysql, own, postgresql, redis, service, sqlite
from plusone.lab.subjects.protocol import Subject

SUBJECTS: Final[Mapping[str, Subject]] = {
    subject.name: subject
    for subject in (
        own.PLUSONE,
        service.SERVICE,
        redis.INCRBY,
        redis.GET_CHECK_INCR,
        redis.LUA,
        redis.CLAIMING,
        redis.SHARDED,
        redis.BUFFERED,
        dynamodb.ADD,
        dynamodb.CONDITIONAL,
        mongodb.INC,
        mongodb.FILTERED_UPSERT,
        mysql.UPSERT,
        mysql.UPSERT_THEN_READ,
        mysql.SELECT_THEN_UPDATE,
        postgresql.UPSERT,
        postgresql.SELECT_THEN_UPDATE,
        momento.INCREMENT,
        momento.SET_IF_NOT_EQUAL,
        etcd.PUT_IF_UNCHANGED,
        sqlite.UPSERT,
        sqlite.SELECT_THEN_UPDATE,
    )
}
OWN: Final = (own.PLUSONE.name, service.SERVICE.name)
"""The subjects that are this project. What the others count is shown beside them."""


def subjects_for(scheme: str) -> list[Subject]:
    """Those that count on stores of this scheme, in the order of the tables."""
    return [subject for subject in SUBJECTS.values() if scheme in subject.schemes]


def expected(subject: Subject, store: str) -> tuple[frozenset[Violation], frozenset[Violation]]:
    """What a verification of the subject has to find on a server that the lab starts, and all that it may find."""
    shown = SERVERS[store].shows.get(subject.name, frozenset()) if store in SERVERS else frozenset()
    known = subject.weaknesses | shown
    return known - subject.rare, known


def named(name: str, scheme: str) -> Subject:
    """The subject of this name. Raises `ConfigurationError` unless it counts on stores of this scheme."""
    fitting = {subject.name: subject for subject in subjects_for(scheme)}
    if name not in fitting:
        what = "does not count on" if name in SUBJECTS else "is no subject, on"
        raise ConfigurationError(f"subject {name!r} {what} {scheme}: known there are {', '.join(fitting)}")
    return fitting[name]
