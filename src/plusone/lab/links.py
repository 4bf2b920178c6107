"""A client's connection to a proxy, the one to the datastore that belongs to it, and what befalls what passes."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from plusone.errors import ConfigurationError
from plusone.lab.faults import CONDITIONS, Condition, Event, Fault, Faults
from plusone.lab.sides import Direction, Side

End: TypeAlias = Literal["client", "server"]
Translate: TypeAlias = Callable[[bytes], bytes]
"""Rewrites what the datastore sends on one connection; what is not whole yet it keeps until the rest has come."""

PATIENCE_SECONDS: Final = 2.0
"""How long the reply to a late request is waited for. It may never come: the request may go on in what is behind it."""


class Line:
    """What the connections of a proxy, or of several that stand together, have in common."""

    def __init__(self, faults: Faults, notice: Callable[[Event], None] | None = None) -> None:
        """`notice` is called at everything that is counted."""
        self.faults = faults
        self.counts: Counter[Event] = Counter()
        self.in_force: set[Condition] = set()
        self.links: set[Link] = set()
        self.ended = asyncio.Event()
        """Set whenever a connection has ended."""
        self._notice = notice
        self._random = random.Random(faults.seed)

    @property
    def in_flight(self) -> int:
        """Requests that are held back, or that the datastore has not yet answered."""
        return sum(link.in_flight for link in self.links)

    def count(self, event: Event) -> None:
        self.counts[event] += 1
        if self._notice is not None:
            self._notice(event)

    def begin(self, condition: Condition) -> None:
        """Let it be in force. Raises `ConfigurationError` for what is no condition."""
        if condition not in CONDITIONS:
            raise ConfigurationError(f"no condition is named {condition!r}; there are {', '.join(CONDITIONS)}")
        self.in_force.add(condition)

    def end(self, condition: Condition) -> None:
        """Let it be over, if it was in force: what it held back goes on."""
        self.in_force.discard(condition)
        for link in list(self.links):
            link.go_on()

    def deliver(self) -> None:
        """Let the requests that are being delayed go on now."""
        for link in list(self.links):
            link.deliver()

    async def cut(self, of: Callable[[Link], bool]) -> None:
        """End those connections at once, and wait until they have ended."""
        while found := [link for link in self.links if of(link)]:
            self.ended.clear()
            for link in found:
                link.cut()
            if any(link in self.links for link in found):
                await self.ended.wait()

    def fault_of(self, request: bytes) -> Fault | None:
        """What befalls the request that begins with these bytes."""
        faults = self.faults
        if faults.matcher is not None and not faults.matcher(request):
            return None
        self.count("requests")
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


class Link:
    """A client's connection and the one to the datastore that belongs to it."""

    def __init__(
        self,
        line: Line,
        address: tuple[str, int],
        owner: object,
        translate: Translate | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`owner` is the proxy that it came to; `address` is the datastore's, which is spoken to by `tls`, if given."""
        self.owner = owner
        self._tls = tls
        self._line = line
        self._address = address
        self._translate = translate
        self.client = Side(self._client_made, self._from_client, self._client_lost)
        self._server = Side(lambda: None, self._from_server, self._server_lost)
        self._to_server = Direction(self._rate, self.client, self._server, self._count_throttled)
        self._to_client = Direction(self._rate, self._server, self.client, self._count_throttled)
        self._mirror: _Mirror | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._replied = True
        """Whether nothing was forwarded since the datastore's last reply: the client's next bytes begin a request."""
        self._reply_is_to_be_lost = False
        self._half_open = False
        self._deaf = False
        """Whether what the client sends vanishes."""
        self._mute = False
        """Whether what the datastore sends vanishes."""
        self._throttled = False
        self._is_cut = False
        self._held_ends: set[End] = set()
        """Who has closed, without the other's knowledge."""
        self._late: bytes | None = None
        """The request that is being delayed."""
        self._held: list[bytes] | None = None
        """What the client sent behind a request that is being delayed."""
        self._release: asyncio.TimerHandle | None = None
        self._end_of_patience: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> bool:
        return self._awaits_reply or (self._mirror is not None and self._mirror.in_flight)

    @property
    def _awaits_reply(self) -> bool:
        return self._held is not None or not (self._replied or self._server.ended)

    def cut(self) -> None:
        """End both connections at once, and forget what was held."""
        self._is_cut = True
        self._stop_delaying()
        if self._connecting is not None:
            self._connecting.cancel()
        self._held_ends.clear()
        self._to_server.stop()
        self._to_client.stop()
        self.client.abort()
        self._server.abort()
        if self._mirror is not None:
            self._mirror.side.abort()
        self._end()

    def deliver(self) -> None:
        """The delay, if there is one, is over."""
        late, self._late = self._late, None
        if late is None:
            return
        if self._release is not None:
            self._release.cancel()
        self._forward(late)
        self._release = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._deliver_rest)

    def go_on(self) -> None:
        """A condition is over."""
        self._to_server.go_on()
        self._to_client.go_on()
        if "client" in self._held_ends and not self._holds("client"):
            self._held_ends.discard("client")
            self._pass_end_of_client()
        if "server" in self._held_ends and not self._holds("server"):
            self._held_ends.discard("server")
            self._to_client.end(self.client.close)

    def _client_made(self) -> None:
        line = self._line
        line.links.add(self)
        line.count("connections")
        if "refuse" in line.in_force:
            line.count("refuse")
            self.client.reset()
        elif broken := line.in_force & {"partition_to_server", "partition_to_client"}:
            # Either way the connection is not made. Its client believes that it is: the kernel has greeted it.
            for condition in broken:
                line.count(condition)
            self._deaf = self._mute = True
        else:
            self.client.peer = self._server
            self._server.peer = self.client
            self.client.hold(self)
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            # No `finally` in the task: one that is cancelled before its first step never gets there.
            self._connecting.add_done_callback(self._connected)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self._server, *self._address, ssl=self._tls)
            if "duplicate" in self._line.in_force:
                mirror = _Mirror(self._line, self.client, self._end)
                await loop.create_connection(lambda: mirror.side, *self._address, ssl=self._tls)
                self._mirror = mirror
            self.client.release(self)
        except OSError:
            self._line.count("refused")
            self.client.abort()
            self._server.abort()

    def _connected(self, _: asyncio.Task[None]) -> None:
        self._connecting = None
        self._end()

    def _from_client(self, data: bytes) -> None:
        if self._vanishes_on_its_way_there():
            return
        if self._held is not None:
            self._held.append(data)
            return
        matcher = self._line.faults.matcher
        if self._replied or (matcher is not None and matcher(data)):
            fault = self._line.fault_of(data)
            if fault is not None and fault != "cut_after_request":
                self._line.count(fault)
            if fault == "cut_before_request":
                self.cut()
                return
            if fault == "half_open":
                self._half_open = self._deaf = self._mute = True
                return
            if fault == "delay":
                self._held, self._late = [], data
                self._release = asyncio.get_running_loop().call_later(self._delay, self.deliver)
                return
            self._reply_is_to_be_lost = fault == "cut_after_request"
        self._forward(data)

    @property
    def _delay(self) -> float:
        return self._line.faults.delay_ms / 1000

    def _vanishes_on_its_way_there(self) -> bool:
        if not self._deaf and "partition_to_server" in self._line.in_force:
            self._line.count("partition_to_server")
            self._deaf = True
        return self._deaf

    def _vanishes_on_its_way_back(self) -> bool:
        if not self._mute and "partition_to_client" in self._line.in_force:
            self._line.count("partition_to_client")
            self._mute = True
        return self._mute

    def _deliver_rest(self) -> None:
        held, self._held = self._held, None
        if self._release is not None:
            self._release.cancel()
            self._release = None
        if held:
            self._forward(b"".join(held))

    def _stop_delaying(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._held = self._late = None

    def _forward(self, data: bytes) -> None:
        if self._vanishes_on_its_way_there():
            return
        self._replied = False
        self._to_server.write(data)
        if self._mirror is not None:
            self._mirror.write(data)

    def _from_server(self, data: bytes) -> None:
        if self._translate is not None:
            data = self._translate(data)
            if not data:
                return
        delivered = not self._replied
        self._replied = True
        if self._reply_is_to_be_lost:
            self._line.count("cut_after_request")
            self.cut()
        elif self.client.ended:
            self._line.count("ghosts")
            if not self._held_ends:
                self.cut()
        else:
            if not self._vanishes_on_its_way_back():
                self._to_client.write(data)
            if self._held is not None and delivered:
                self._deliver_rest()

    def _holds(self, end: End) -> bool:
        """Whether the other side does not hear now that this one has closed."""
        way: Condition = "partition_to_server" if end == "client" else "partition_to_client"
        return not self._is_cut and bool(self._line.in_force & {way, "slow_close"})

    def _hold(self, end: End) -> None:
        self._held_ends.add(end)
        if "slow_close" in self._line.in_force:
            self._line.count("slow_close")

    def _client_lost(self) -> None:
        if not self._server.ended and self._holds("client"):
            self._hold("client")
        elif not self._is_cut:
            self._pass_end_of_client()
        self._end()

    def _pass_end_of_client(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._mirror is not None:
            self._mirror.side.finish()
        # A request on its way cannot be called back; its reply, which nobody awaits, ends the link.
        if not self._awaits_reply:
            self._server.close()
        elif self._held is None:
            # The datastore sees the client go, as it would without us, and may rather not reply.
            self._to_server.end(self._server.finish)
        if self.in_flight:
            seconds = self._delay + 2 * PATIENCE_SECONDS
            self._end_of_patience = asyncio.get_running_loop().call_later(seconds, self.cut)

    def _server_lost(self) -> None:
        self._stop_delaying()
        if not self.client.ended and not self._half_open:
            if self._holds("server"):
                self._hold("server")
            else:
                self._to_client.end(self.client.close)
        self._end()

    def _rate(self) -> int | None:
        return self._line.faults.throttle_bytes_per_second if "throttle" in self._line.in_force else None

    def _count_throttled(self) -> None:
        if not self._throttled:
            self._throttled = True
            self._line.count("throttle")

    def _end(self) -> None:
        mirror_ended = self._mirror is None or self._mirror.side.ended
        if self.client.ended and self._server.ended and mirror_ended and self._connecting is None:
            if self._end_of_patience is not None:
                self._end_of_patience.cancel()
            self._to_server.stop()
            self._to_client.stop()
            self._line.links.discard(self)
            self._line.ended.set()


class _Mirror:
    """A second connection to the datastore, which is sent the same. Its answers are dropped."""

    def __init__(self, line: Line, client: Side, ended: Callable[[], None]) -> None:
        self.side = Side(lambda: None, self._received, ended)
        self.side.peer = client
        self._line = line
        self._client = client
        self._replied = True

    @property
    def in_flight(self) -> bool:
        return not (self._replied or self.side.ended)

    def write(self, data: bytes) -> None:
        self._replied = False
        self.side.write(data)

    def _received(self, data: bytes) -> None:
        if not self._replied:
            self._line.count("duplicate")
        self._replied = True
        if self._client.ended:
            self.side.close()
