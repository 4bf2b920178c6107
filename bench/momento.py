"""Momento, by the lab's emulator: the real wire types over gRPC, with gRPC's defaults. Momento was not run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench import servers
from bench.plain import Plain
from plusone.lab.servers import momento
from plusone.lab.subjects.momento import INCREMENT


@contextlib.contextmanager
def _server() -> Iterator[str]:
    if reason := momento.missing():
        raise servers.Missing(reason)
    with momento.momento_emulator() as server, momento.api_key():
        yield momento.url_of(server)


PLAIN = Plain("momento", "an emulator of Momento, in memory", "Momento's `Increment`", _server, INCREMENT)
