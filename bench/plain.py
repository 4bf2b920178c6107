"""The plain increment of a datastore's driver, as people write it: what plusone is compared with.

Each datastore's module beside this one has a `PLAIN`; entries.py and lost_replies.py take them from there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import msgspec

import plusone
from bench.callers import rate, spread_names, touch_all
from bench.measure import Pair
from plusone.lab.load import event_loop
from plusone.lab.subjects.protocol import Subject

CALLERS = 256


class Plain(msgspec.Struct, frozen=True):
    """A datastore, its driver, and the increment that people write with it."""

    name: str
    title: str
    """The server, as the tables name it: with what makes it durable."""
    recipe: str
    """The increment in a few words."""
    server: Callable[[], AbstractContextManager[str]]
    """Starts the server; gives the store URL of an empty place on it. Raises `bench.servers.Missing`."""
    subject: Subject
    """The increment itself, as the lab knows it."""


@contextlib.contextmanager
def opened(runner: asyncio.Runner, url: str) -> Iterator[plusone.Counters]:
    """Counters that live on the runner's loop."""
    counters = plusone.open(url)
    runner.run(counters.__aenter__())
    try:
        yield counters
    finally:
        runner.run(counters.close())


@contextlib.contextmanager
def against(plain: Plain, *, spread: bool) -> Iterator[Pair]:
    """256 callers, each awaiting one increment after the other, on either side; one hot counter or 5,000."""
    with plain.server() as url, event_loop(fast=True) as runner, opened(runner, url) as counters:
        connection = plain.subject.connect(url)
        client = runner.run(connection.__aenter__())
        ours, theirs = (spread_names(), spread_names()) if spread else (lambda: "votes", lambda: "votes-plain")
        if spread:
            touch_all(runner, CALLERS, counters.increment)
            touch_all(runner, CALLERS, lambda name: client.increment(name, None))
        try:
            yield Pair(
                rate(runner, CALLERS, lambda: counters.increment(ours())),
                rate(runner, CALLERS, lambda: client.increment(theirs(), None)),
            )
        finally:
            runner.run(connection.__aexit__(None, None, None))
