"""A TCP proxy between a client and its datastore that does, on schedule or at random, what networks do.

    async with Proxy("redis://127.0.0.1:6379/0", Faults(rates={"cut_after_request": 0.05}, seed=7)) as proxy:
        async with plusone.open(proxy.url) as counters:
            ...
            proxy.begin("partition_to_server")
            ...
            proxy.end("partition_to_server")
    proxy.counts["cut_after_request"]

It assumes a request/reply protocol: on each connection the client sends a request and waits for the reply. A request
is what the client sends from one reply to the next, however many reads it takes. What a matcher recognises begins a
request too, even where no reply came since: HTTP/2's peers send frames of their own between requests and replies.
Whoever pipelines sees its requests counted as one. Nothing in the bytes is understood, so TLS passes through as well,
but a matcher cannot look into it, and a client that compares the certificate's names with the proxy's address refuses:
then the proxy may speak TLS to the datastore, and plainly to the client on this machine.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from plusone.errors import ConfigurationError
from plusone.lab.faults import Condition, Event, Faults
from plusone.lab.links import Line, Link, Translate

LISTENS_AT: Final = "127.0.0.1"
_BACKLOG: Final = 1_024


class Proxy:
    """Listens at a free port of this machine, and forwards to the address in `target`, a store URL."""

    def __init__(
        self,
        target: str,
        faults: Faults | None = None,
        *,
        line: Line | None = None,
        translator: Callable[[], Translate] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Proxies of one `line` have faults, conditions and counts in common; then `faults` are the line's.

        `translator` makes what rewrites the datastore's answers on a connection. With `tls` the proxy itself speaks TLS
        to the datastore, and its client does not. Raises `ConfigurationError` if `target` does not name one host and
        port.
        """
        parts = urlsplit(target)
        # Where the URL's host is no address but a table's or a cache's name, `endpoint` has the address.
        self._endpoint = dict(parse_qsl(parts.query)).get("endpoint")
        try:
            address = parts if self._endpoint is None else urlsplit(_with_scheme(self._endpoint))
            host, port = address.hostname, address.port
        except ValueError:
            host = port = None
        if host is None or port is None:
            raise ConfigurationError("a proxy's target must be a URL with one host and one port")
        self.host, self.port = LISTENS_AT, 0
        """Where it listens; the port is known once it does."""
        self.line = line or Line(faults or Faults())
        self._address = (host, port)
        self._parts = parts
        self._translator = translator
        self._tls = tls
        self._listener: socket.socket | None = None
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The target's URL by way of this proxy."""
        address = f"{self.host}:{self.port}"
        if self._endpoint is not None:
            endpoint = urlsplit(_with_scheme(self._endpoint))._replace(netloc=address).geturl()
            query = dict(parse_qsl(self._parts.query, keep_blank_values=True))
            query["endpoint"] = endpoint if "://" in self._endpoint else address
            return self._parts._replace(query=urlencode(query)).geturl()
        credentials = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{credentials}@{address}" if credentials else address).geturl()

    @property
    def counts(self) -> Counter[Event]:
        return self.line.counts

    @property
    def in_flight(self) -> int:
        """Requests that are held back, or that the datastore has not yet answered."""
        return self.line.in_flight

    def deliver(self) -> None:
        """Let the requests that are being delayed go on now."""
        self.line.deliver()

    def begin(self, condition: Condition) -> None:
        """Let the condition be in force. Raises `ConfigurationError` for what is none."""
        self.line.begin(condition)

    def end(self, condition: Condition) -> None:
        """Let the condition be over, if it was in force: what it held back goes on."""
        self.line.end(condition)

    def listen(self) -> socket.socket:
        """Take connections from now on; they are served once the proxy is entered."""
        if self._listener is None:
            self._listener = socket.create_server((self.host, self.port), backlog=_BACKLOG)
            self.port = self._listener.getsockname()[1]
        return self._listener

    async def __aenter__(self) -> Proxy:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self._link().client, sock=self.listen(), backlog=_BACKLOG)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, cut what is open, and wait until it is."""
        assert self._server is not None
        self._server.close()
        await self.line.cut(lambda link: link.owner is self)
        await self._server.wait_closed()

    def _link(self) -> Link:
        translate = None if self._translator is None else self._translator()
        return Link(self.line, self._address, self, translate, self._tls)


def _with_scheme(endpoint: str) -> str:
    return endpoint if "://" in endpoint else f"//{endpoint}"
