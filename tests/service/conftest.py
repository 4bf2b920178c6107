"""One service on memory for all tests that only ask it something; each test counts under names of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import httpx
import pytest

from plusone.lab.processes import ServerProcess
from tests.service.running import Running

_numbers = count()

SETTINGS = """
body_bytes_max = 1_000_000
hit_route = true
cors_origins = ["https://shop.example"]
use_conditional_writes = true
max_counter_value = 3
[stores]
default = "memory://"
second = "memory://"
dynamo = "memory://"
redis = "memory://"
momento = "memory://"
docdb = "memory://"
tidb = "memory://"
"""


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("service"), SETTINGS) as running:
        yield running


@pytest.fixture
def client(service: Running) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture
def name() -> str:
    """A counter that no other test uses."""
    return f"counter-{next(_numbers)}"


@pytest.fixture
def redis() -> Iterator[ServerProcess]:
    """A Redis of the test's own, which keeps nothing on disk."""
    from plusone.lab.servers.redis import redis_server
    from tests.servers.redis import skip_without_redis

    skip_without_redis(own=True)
    with redis_server() as server:
        yield server


@pytest.fixture
def redis_url(redis: ServerProcess) -> str:
    return f"redis://127.0.0.1:{redis.port}/0"
