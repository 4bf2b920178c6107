"""DynamoDB Local, and aiobotocore with its defaults, which for DynamoDB are ten attempts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from bench import servers
from bench.plain import Plain
from plusone.lab.servers import dynamodb
from plusone.lab.subjects.dynamodb import ADD


@contextlib.contextmanager
def _server() -> Iterator[str]:
    if reason := dynamodb.missing():
        raise servers.Missing(reason)
    # What is measured is meant to get warm: with the JVM's own choice of compilers.
    with dynamodb.dynamodb_server(java=()) as server:
        yield dynamodb.url_of(server)


PLAIN: Final = Plain("dynamodb", "DynamoDB Local, in memory", "aiobotocore `update_item` with `ADD`", _server, ADD)
