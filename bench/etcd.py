"""etcd: three members on this machine, durable at every commit, and aetcd's client with its defaults."""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import aetcd

from bench import servers
from bench.measure import Pair
from bench.plain import Plain, against

_STARTS_WITHIN_SECONDS = 20.0


class _Aetcd:
    """What everybody writes: read the value, put one more if it is still the same, else once more from the start."""

    def __init__(self, client: aetcd.Client) -> None:
        self.client = client

    async def increment(self, name: str) -> object:
        key, transactions = name.encode(), self.client.transactions
        while True:
            found = await self.client.get(key)
            value = 1 if found is None else int(found.value) + 1
            unchanged = transactions.mod(key) == (0 if found is None else found.mod_revision)
            put = transactions.put(key, str(value).encode())
            applied, _ = await self.client.transaction(compare=[unchanged], success=[put], failure=[])
            if applied:
                return value

    async def read(self, name: str) -> int:
        found = await self.client.get(name.encode())
        return 0 if found is None else int(found.value)


@contextlib.asynccontextmanager
async def _connect(url: str) -> AsyncIterator[_Aetcd]:
    address = urlsplit(url)
    async with aetcd.Client(address.hostname, address.port) as client:
        yield _Aetcd(client)


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """Three members; the URL names the first of them."""
    program = servers.program("etcd", "etcd-server")
    ports = [(f"member-{number}", servers.free_port(), servers.free_port()) for number in range(3)]
    cluster = ",".join(f"{name}=http://127.0.0.1:{peer}" for name, _, peer in ports)
    with servers.folder() as folder, contextlib.ExitStack() as stack:
        for name, port, peer in ports:
            client = f"http://127.0.0.1:{port}"
            command = [program, "--name", name, "--data-dir", str(folder / name), "--initial-cluster", cluster]
            command += ["--listen-client-urls", client, "--advertise-client-urls", client, "--logger", "zap"]
            for option in ("--listen-peer-urls", "--initial-advertise-peer-urls"):
                command += [option, f"http://127.0.0.1:{peer}"]
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
        while not all(_serves(port) for _, port, _ in ports):
            if time.monotonic() > deadline:
                raise RuntimeError(f"etcd did not start:\n{(folder / 'member-0.log').read_text(errors='replace')}")
            time.sleep(0.05)
        yield f"etcd://127.0.0.1:{ports[0][1]}"


def _serves(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return b'"true"' in answer.read()
    except OSError:
        return False


PLAIN = Plain("etcd", "etcd, three members", "aetcd get, then put if unchanged", _server, _connect)


def against_aetcd(*, spread: bool) -> contextlib.AbstractContextManager[Pair]:
    """256 callers on one event loop; the peer has one channel, as aetcd's client does."""
    return against(PLAIN, spread=spread)
