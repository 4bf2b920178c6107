"""etcd: three members on this machine, durable at every commit, and aetcd's client with its defaults."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench import servers
from bench.plain import Plain
from plusone.lab.servers import etcd
from plusone.lab.subjects.etcd import PUT_IF_UNCHANGED


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """Three members; the URL names the first of them."""
    if reason := etcd.missing():
        raise servers.Missing(reason)
    with etcd.etcd_cluster() as members:
        yield etcd.url_of(members[0])


PLAIN = Plain("etcd", "etcd, three members", "aetcd get, then put if unchanged", _server, PUT_IF_UNCHANGED)
