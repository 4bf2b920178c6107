"""The two ends of a proxied connection, and what passes between them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

_WAITING_BYTES_MAX: Final = 65_536
"""What waits for its turn in a throttled direction before the sender is no longer read."""
_SLICES_PER_SECOND: Final = 50
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that makes closing a reset."""


class Side(asyncio.Protocol):
    """One of the connections of a link. It stops the other from reading while it cannot write."""

    def __init__(self, made: Callable[[], None], received: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._made, self._received, self._lost = made, received, lost
        self._transport: asyncio.Transport | None = None
        self._holders: set[object] = set()
        self.peer: Side | None = None
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
        if self.peer is not None:
            self.peer.release(self)
        self._lost()

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.hold(self)

    def resume_writing(self) -> None:
        if self.peer is not None:
            self.peer.release(self)

    def hold(self, holder: object) -> None:
        """Do not read, as long as anybody holds it."""
        self._holders.add(holder)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def release(self, holder: object) -> None:
        self._holders.discard(holder)
        if not self._holders and self._transport is not None and not self._transport.is_closing():
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

    def reset(self) -> None:
        """End it by a RST instead of a FIN."""
        if self._transport is not None:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._transport.abort()


class Direction:
    """What passes from one side of a link to the other: at once, or so many bytes per second."""

    def __init__(self, rate: Callable[[], int | None], source: Side, sink: Side, throttled: Callable[[], None]) -> None:
        """`rate` is asked for the bytes per second that pass now; None: all. `throttled` hears of what has to wait."""
        self._rate, self._source, self._sink, self._throttled = rate, source, sink, throttled
        self._waiting = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._ending: Callable[[], None] | None = None

    def write(self, data: bytes) -> None:
        if self._timer is None and self._rate() is None:
            self._sink.write(data)
            return
        self._throttled()
        self._waiting += data
        if len(self._waiting) > _WAITING_BYTES_MAX:
            self._source.hold(self)
        if self._timer is None:
            self._pass_slice()

    def end(self, ending: Callable[[], None]) -> None:
        """Call it when everything has passed."""
        if self._waiting:
            self._ending = ending
        else:
            ending()

    def go_on(self) -> None:
        """Pass on what waits, unless it is still to wait."""
        if self._timer is not None and self._rate() is None:
            self._timer.cancel()
            self._timer = None
            self._pass(len(self._waiting))

    def stop(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._ending = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass_slice(self) -> None:
        self._timer = None
        rate = self._rate()
        if rate is None:
            self._pass(len(self._waiting))
        elif self._waiting:
            size = min(len(self._waiting), max(1, rate // _SLICES_PER_SECOND))
            # What follows waits for as long as this slice takes, even if there is nothing yet.
            self._timer = asyncio.get_running_loop().call_later(size / rate, self._pass_slice)
            self._pass(size)

    def _pass(self, size: int) -> None:
        self._sink.write(bytes(self._waiting[:size]))
        del self._waiting[:size]
        if len(self._waiting) <= _WAITING_BYTES_MAX:
            self._source.release(self)
        if not self._waiting and self._ending is not None:
            ending, self._ending = self._ending, None
            ending()
