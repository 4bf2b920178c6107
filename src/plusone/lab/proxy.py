"""A TCP proxy between a client and its datastore that does, on schedule or at random, what networks do.

    async with Proxy("redis://127.0.0.1:6379/0", Faults(rates={"cut_after_request": 0.05}, seed=7)) as proxy:
        async with plusone.open(proxy.url) as counters: ...
    proxy.counts["cut_after_request"]

It assumes a request/reply protocol: on each connection the client sends a request and waits for the reply. A request
is what the client sends from one reply to the next, however many reads it takes. What a matcher recognises begins a
request too, even where no reply came since: HTTP/2's peers send frames of their own between requests and replies.
Whoever pipelines sees its requests counted as one. Nothing in the bytes is understood, so TLS passes through as well,
but a matcher cannot look into it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from plusone.errors import ConfigurationError
from plusone.lab.faults import Event, Fault, Faults

PATIENCE_SECONDS: Final = 2.0
"""How long the reply to a late request is waited for. It may never come: the request may go on in what is behind it."""


class Proxy:
    """Listens, by default at a free port of 127.0.0.1, and forwards to the address in `target`, a store URL."""

    def __init__(
        self, target: str, faults: Faults | None = None, *, listen: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        """Raises `ConfigurationError` if `target` does not name one host and port."""
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
        self.counts: Counter[Event] = Counter()
        self.host, self.port = listen
        """Where it listens; a free port's number is known once it is entered."""
        self._host, self._target_port = host, port
        self._parts = parts
        self._faults = faults or Faults()
        self._random = random.Random(self._faults.seed)
        self._links: set[_Link] = set()
        self._all_ended = asyncio.Event()
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
    def in_flight(self) -> int:
        """Requests that are held back, or that the datastore has not yet answered."""
        return sum(link.in_flight for link in self._links)

    def deliver(self) -> None:
        """Let the requests that are being delayed go on now."""
        for link in list(self._links):
            link.deliver()

    async def __aenter__(self) -> Proxy:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Link(self).client, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, cut what is open, and wait until it is."""
        assert self._server is not None
        self._server.close()
        while self._links:
            self._all_ended.clear()
            for link in list(self._links):
                link.cut()
            await self._all_ended.wait()
        await self._server.wait_closed()

    def _fault_of(self, request: bytes) -> Fault | None:
        """What befalls the request that begins with these bytes."""
        faults = self._faults
        if faults.matcher is not None and not faults.matcher(request):
            return None
        self.counts["requests"] += 1
        scheduled = faults.schedule.get(self.counts["requests"])
        if scheduled is not None or not faults.rates:
            return scheduled
        # One number per request, whatever is done with it: the seed alone decides what befalls the nth.
        point = self._random.random()
        for fault, rate in faults.rates.items():
            point -= rate
            if point < 0:
                return fault
        return None


def _with_scheme(endpoint: str) -> str:
    return endpoint if "://" in endpoint else f"//{endpoint}"


class _Link:
    """A client's connection and the one to the datastore that belongs to it."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.client = _Side(self._client_made, self._from_client, self._client_lost)
        self._server = _Side(lambda: None, self._from_server, self._server_lost)
        self._connecting: asyncio.Task[None] | None = None
        self._replied = True
        """Whether nothing was forwarded since the datastore's last reply: the client's next bytes begin a request."""
        self._reply_is_to_be_lost = False
        self._half_open = False
        self._late: bytes | None = None
        """The request that is being delayed."""
        self._held: list[bytes] | None = None
        """What the client sent behind a request that is being delayed."""
        self._release: asyncio.TimerHandle | None = None
        self._end_of_patience: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> bool:
        return self._held is not None or not (self._replied or self._server.ended)

    def cut(self) -> None:
        """End both connections at once, and forget what was held."""
        if self._release is not None:
            self._release.cancel()
            self._held = None
        if self._connecting is not None:
            self._connecting.cancel()
        self.client.abort()
        self._server.abort()
        self._end()

    def _client_made(self) -> None:
        self._proxy._links.add(self)
        self._proxy.counts["connections"] += 1
        self.client.peer = self._server
        self._server.peer = self.client
        self.client.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self._server, self._proxy._host, self._proxy._target_port)
            self.client.resume_reading()
        except OSError:
            self._proxy.counts["refused"] += 1
            self.client.abort()
        finally:
            self._connecting = None
            self._end()

    def _from_client(self, data: bytes) -> None:
        if self._half_open:
            return
        if self._held is not None:
            self._held.append(data)
            return
        matcher = self._proxy._faults.matcher
        if self._replied or (matcher is not None and matcher(data)):
            fault = self._proxy._fault_of(data)
            if fault is not None and fault != "cut_after_request":
                self._proxy.counts[fault] += 1
            if fault == "cut_before_request":
                self.cut()
                return
            if fault == "half_open":
                self._half_open = True
                return
            if fault == "delay":
                self._held, self._late = [], data
                self._release = asyncio.get_running_loop().call_later(self._delay, self.deliver)
                return
            self._reply_is_to_be_lost = fault == "cut_after_request"
        self._forward(data)

    @property
    def _delay(self) -> float:
        return self._proxy._faults.delay_ms / 1000

    def deliver(self) -> None:
        """The delay, if there is one, is over."""
        late, self._late = self._late, None
        if late is None:
            return
        if self._release is not None:
            self._release.cancel()
        self._forward(late)
        self._release = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._deliver_rest)

    def _deliver_rest(self) -> None:
        held, self._held = self._held, None
        if self._release is not None:
            self._release.cancel()
            self._release = None
        if held:
            self._forward(b"".join(held))

    def _forward(self, data: bytes) -> None:
        self._replied = False
        self._server.write(data)

    def _from_server(self, data: bytes) -> None:
        delivered = not self._replied
        self._replied = True
        if self._reply_is_to_be_lost:
            self._proxy.counts["cut_after_request"] += 1
            self.cut()
        elif self.client.ended:
            self._proxy.counts["ghosts"] += 1
            self.cut()
        elif not self._half_open:
            self.client.write(data)
            if self._held is not None and delivered:
                self._deliver_rest()

    def _client_lost(self) -> None:
        # A request on its way cannot be called back; its reply, which nobody awaits, ends the link.
        if self.in_flight:
            if self._held is None:
                # The datastore sees the client go, as it would without us, and may rather not reply.
                self._server.finish()
            seconds = self._delay + 2 * PATIENCE_SECONDS
            self._end_of_patience = asyncio.get_running_loop().call_later(seconds, self.cut)
        else:
            if self._connecting is not None:
                self._connecting.cancel()
            self._server.close()
        self._end()

    def _server_lost(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._held = None
        if not self._half_open:
            self.client.close()
        self._end()

    def _end(self) -> None:
        if self.client.ended and self._server.ended and self._connecting is None:
            if self._end_of_patience is not None:
                self._end_of_patience.cancel()
            self._proxy._links.discard(self)
            if not self._proxy._links:
                self._proxy._all_ended.set()


class _Side(asyncio.Protocol):
    """One of the two connections of a link. It stops the other from reading while it cannot write."""

    def __init__(self, made: Callable[[], None], received: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._made, self._received, self._lost = made, received, lost
        self._transport: asyncio.Transport | None = None
        self.peer: _Side | None = None
        self.ended = True
        """Whether there is no connection: not yet, or no longer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.ended = False
        self._made()

    def data_received(self, data: bytes) -> None:
        self._received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
        self._lost()

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None:
            self.peer.resume_reading()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def finish(self) -> None:
        """Say that nothing more will be written; what comes is still read."""
        if self._transport is not None and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
