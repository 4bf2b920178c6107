"""A proxy before each of the servers that a store URL leads to: one, the members of an etcd, a Redis Cluster's nodes.

    async with proxied("etcd://a:2379,b:2379,c:2379", Faults(rates={"cut_after_request": 0.01})) as proxies:
        async with plusone.open(proxies.url) as counters: ...

A Redis Cluster and Redis Sentinel tell their clients where to go; the proxies put their own addresses there, so that
those of further nodes, and of the primary after a failover, are led through proxies as well. A Redis by TLS is asked
by TLS by its proxy, which compares the certificate, and the client asks the proxy plainly. What is not possible is
an error, and never a proxy that is gone around: Amazon's own endpoints and others by TLS whose certificate the client
compares with the host's name, and several hosts of a MongoDB, whose drivers ask the servers for one another.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final
from urllib.parse import SplitResult, urlencode

from plusone.errors import ConfigurationError
from plusone.lab import redis_addresses
from plusone.lab.faults import Condition, Event, Faults
from plusone.lab.links import Line, Translate
from plusone.lab.proxy import LISTENS_AT, Proxy
from plusone.lab.redis_addresses import Address
from plusone.stores.registry import StoreURL

PORTS: Final = {
    "redis": 6379,
    "rediss": 6379,
    "redis+cluster": 6379,
    "redis+sentinel": 26_379,
    "mongodb": 27_017,
    "documentdb": 27_017,
    "mysql": 3306,
    "mariadb": 3306,
    "tidb": 4000,
    "postgresql": 5432,
    "postgres": 5432,
    "etcd": 2379,
    "http": 80,
}
_BY_ENDPOINT: Final = ("dynamodb", "momento")


def proxied(url: str, faults: Faults | None = None, *, notice: Callable[[Event], None] | None = None) -> Proxies:
    """Proxies, not yet listening, before what this URL of a store, or of the service, leads to.

    `notice` is called at everything that is counted. Raises `ConfigurationError` where there can be none.
    """
    return Proxies(url, Line(faults or Faults(), notice))


class Proxies:
    """Proxies that stand together: faults, conditions and counts are of all of them."""

    def __init__(self, url: str, line: Line) -> None:
        """Raises `ConfigurationError` where there can be none."""
        self._parsed = parsed = StoreURL.parse(url)
        self._line = line
        self._stack = AsyncExitStack()
        self._through: dict[Address, Proxy] = {}
        self._entering: set[asyncio.Task[Proxy]] = set()
        _check_names(parsed)
        if parsed.scheme in _BY_ENDPOINT:
            self._proxies = [Proxy(_with_port(parsed), line=line)]
        elif parsed.scheme in PORTS:
            addresses = parsed.hosts(PORTS[parsed.scheme])
            if parsed.scheme in ("mongodb", "documentdb") and (len(addresses) > 1 or "replica_set" in parsed.query):
                raise ConfigurationError(
                    f"{parsed.scheme}: several hosts cannot be reached by way of proxies, as each tells the driver "
                    "where the others are; name one server that is no member of a replica set"
                )
            self._proxies = [self._proxy(address) for address in addresses]
        else:
            raise ConfigurationError(f"{parsed.scheme}: there is no way to put a proxy before it")

    @property
    def url(self) -> str:
        """The URL by way of the proxies, once they are entered."""
        parts = self._parsed.parts
        if self._parsed.scheme in _BY_ENDPOINT:
            return self._proxies[0].url
        hosts = ",".join(f"{proxy.host}:{proxy.port}" for proxy in self._proxies)
        credentials, at, _ = parts.netloc.rpartition("@")
        if self._parsed.scheme == "rediss":
            # What is left of the URL is said to the proxy, which has no certificate; a replica is not behind it.
            query = {name: value for name, value in self._parsed.query.items() if name not in ("ca_file", "replica")}
            parts = parts._replace(scheme="redis", query=urlencode(query))
        return parts._replace(netloc=f"{credentials}{at}{hosts}").geturl()

    @property
    def counts(self) -> Counter[Event]:
        return self._line.counts

    @property
    def in_flight(self) -> int:
        """Requests that are held back, or that the datastore has not yet answered."""
        return self._line.in_flight

    def deliver(self) -> None:
        """Let the requests that are being delayed go on now."""
        self._line.deliver()

    def begin(self, condition: Condition) -> None:
        """Let the condition be in force. Raises `ConfigurationError` for what is none."""
        self._line.begin(condition)

    def end(self, condition: Condition) -> None:
        """Let the condition be over, if it was in force: what it held back goes on."""
        self._line.end(condition)

    def cut(self) -> None:
        """Cut every connection that there is, those that lead nowhere included; new ones are served.

        Nobody waits for their end: callers connect anew meanwhile, and those under load would have one wait for ever.
        """
        for link in list(self._line.links):
            link.cut()

    async def __aenter__(self) -> Proxies:
        async with AsyncExitStack() as stack:
            for proxy in self._proxies:
                await stack.enter_async_context(proxy)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, cut what is open, and wait until it is."""
        await self._stack.aclose()
        while self._entering:  # a client was told of another server just before its connection was cut
            await asyncio.wait(self._entering)
            await self._stack.aclose()

    def _proxy(self, address: Address) -> Proxy:
        """The proxy of one of the hosts that the URL names, or of a cluster's node."""
        translator: Callable[[], Translate] | None = None
        if self._parsed.scheme == "redis+sentinel":
            translator = lambda: redis_addresses.of_sentinel(self._find)  # noqa: E731
        elif self._parsed.scheme == "redis+cluster":
            translator = lambda: redis_addresses.of_node(address, self._find)  # noqa: E731
        tls = _tls(self._parsed) if self._parsed.scheme == "rediss" else None
        proxy = Proxy(_url(address), line=self._line, translator=translator, tls=tls)
        if self._parsed.scheme == "redis+cluster":
            self._through[address] = proxy
        return proxy

    def _find(self, address: Address) -> Address:
        """Where the proxy of a server is that a client is being told of: it is made if there is none."""
        proxy = self._through.get(address)
        if proxy is None:
            # Behind a sentinel's proxy are the servers that it watches, which lead nowhere else.
            servers = self._parsed.scheme == "redis+sentinel"
            proxy = self._through[address] = Proxy(_url(address), line=self._line) if servers else self._proxy(address)
            proxy.listen()
            entering = asyncio.get_running_loop().create_task(self._stack.enter_async_context(proxy))
            self._entering.add(entering)
            entering.add_done_callback(self._entering.discard)
        return proxy.host, proxy.port


def _url(address: Address) -> str:
    host, port = address
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def _tls(parsed: StoreURL) -> ssl.SSLContext:
    """What compares the server's certificate with its name, as the client would have."""
    try:
        return ssl.create_default_context(cafile=parsed.file("ca_file"))
    except ssl.SSLError:
        raise ConfigurationError(f"{parsed.scheme}: ca_file holds no certificates") from None


def _with_port(parsed: StoreURL) -> str:
    """The URL of a store whose `endpoint` says where it is, with the port that it has by default."""
    endpoint = parsed.query.get("endpoint")
    found = StoreURL.parse(endpoint if endpoint and "://" in endpoint else f"tcp://{endpoint or ''}")
    if endpoint is None or not found.parts.hostname:
        raise ConfigurationError(
            f"{parsed.scheme}: a proxy needs an endpoint in the store URL, as in {parsed.scheme}://…?endpoint=…:8000; "
            "the provider's own are reached by TLS, whose certificate does not have the proxy's address"
        )
    if found.parts.port is not None:
        return parsed.text
    if found.scheme == "tcp":
        raise ConfigurationError(f"{parsed.scheme}: a proxy needs an endpoint with a port, host:port")
    port = 443 if found.scheme == "https" else 80
    query = {**parsed.query, "endpoint": found.parts._replace(netloc=f"{found.parts.netloc}:{port}").geturl()}
    return parsed.parts._replace(query=urlencode(query)).geturl()


def _check_names(parsed: StoreURL) -> None:
    """Raise `ConfigurationError` if the client will compare a certificate with an address that is the proxy's."""
    parts: SplitResult = parsed.parts
    query = parsed.query
    tls = (
        parsed.scheme in ("rediss+cluster", "mongodb+srv", "https")
        or (parsed.scheme == "documentdb" and query.get("tls") != "no")
        or query.get("tls") == "yes"
        or query.get("endpoint", "").startswith("https:")
        or query.get("sslmode") == "verify-full"
    )
    if not tls:
        return
    endpoint = query.get("endpoint")
    named = (
        parts.hostname if endpoint is None else StoreURL.parse(f"tcp://{endpoint.rpartition('://')[2]}").parts.hostname
    )
    if named != LISTENS_AT or parsed.scheme == "rediss+cluster":
        raise ConfigurationError(
            f"{parsed.scheme}: with TLS the server's name has to match its certificate, and a proxy is at "
            f"{LISTENS_AT}: name the server by that address if its certificate has it, or run without a proxy"
        )
