"""The application that Granian calls: the increment route itself, on the thinnest path, and the framework for the rest.

Granian's own interface (RSGI) would be somewhat faster at hundreds of connections, but it hands on paths decoded, and
turns what is no UTF-8 into a replacement character: a name with an encoded slash could not be told from two segments,
nor a malformed name from a good one. ASGI has the raw path.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any, Final, TypeAlias

import msgspec
import structlog

from plusone.config import DEFAULT_STORE, Settings
from plusone.errors import PlusoneError
from plusone.service.headers import check_headers, is_loopback
from plusone.service.messages import Problem
from plusone.service.metrics import PUBLISH_SECONDS, Metrics
from plusone.service.operations import Reply, increment
from plusone.service.problems import (
    PROBLEM_JSON,
    BadRequest,
    BodyTooLarge,
    InternalError,
    NotFound,
    problem,
    problem_headers,
)
from plusone.service.requests import NONE, NOTHING_ADDED, conditions, decode_add, decode_name
from plusone.service.stores import Stores

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

INCREMENT_ROUTE: Final = "/v1/counters/{name}/increment"
_BEFORE: Final = b"/v1/counters/"
_AFTER: Final = b"/increment"
_CONSIDERED: Final = frozenset(
    (b"content-type", b"content-length", b"transfer-encoding", b"idempotency-key", b"if-match", b"if-none-match")
)
_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"))
_ANNOUNCE_BODY: Final = (b"content-length", b"transfer-encoding")
_COUNTING_GET: Final = b"/hit/"
_DRAINED_BYTES_MAX: Final = 67_108_864
_DRAINED_SECONDS: Final = 5.0
_NO_STORE: Final = (b"cache-control", b"no-store")
_REPLAYED: Final = (b"idempotent-replayed", b"true")
_JSON_HEADERS: Final = [(b"content-type", b"application/json"), _NO_STORE]
_PROBLEM_HEADERS: Final = [(b"content-type", PROBLEM_JSON.encode()), _NO_STORE]
_encode: Final = msgspec.json.Encoder().encode
_log = structlog.stdlib.get_logger("plusone.service")


class Front:
    """An ASGI application: answers increments of the default store, and passes everything else on."""

    def __init__(self, settings: Settings, stores: Stores, metrics: Metrics, framework: Application) -> None:
        self._body_bytes_max = settings.body_bytes_max
        self._stores = stores
        self._counters = stores.named(DEFAULT_STORE)
        self._metrics = metrics
        self._numbers = metrics.route("POST", INCREMENT_ROUTE)
        self._framework = framework
        self._origins = settings.cors_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        started = perf_counter()
        path: bytes = scope["raw_path"]
        if path.endswith(_AFTER) and path.startswith(_BEFORE) and scope["method"] == "POST":
            segment = path[13:-10]
            if segment and b"/" not in segment and not scope["query_string"]:
                headers: dict[bytes, bytes] = {}
                for name, value in scope["headers"]:
                    if name in _CONSIDERED:
                        if name in headers:
                            break
                        headers[name] = value
                    elif name == b"host":
                        if not is_loopback(value):
                            break
                    elif name == b"origin":  # a browser's: the framework knows CORS
                        break
                else:
                    status = await self._increment(segment, headers, receive, send)
                    self._numbers.observe(status, perf_counter() - started)
                    return
        await self._pass_on(scope, receive, send, path, started)

    async def _increment(self, segment: bytes, headers: dict[bytes, bytes], receive: Receive, send: Send) -> int:
        try:
            if headers:
                request = decode_add(_text(headers, b"content-type"), await self._body(headers, receive))
                conditional = conditions(
                    _text(headers, b"idempotency-key"), _text(headers, b"if-match"), _text(headers, b"if-none-match")
                )
            else:
                request, conditional = NOTHING_ADDED, NONE
            reply = await increment(self._counters, decode_name(segment), request, conditional)
        except Exception as error:
            reply = _reply_to_error(error)
            if isinstance(error, BodyTooLarge):
                await _drain(receive)
        await _send_reply(send, reply)
        return reply.status

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        length = headers.get(b"content-length")
        if length is None and b"transfer-encoding" not in headers:
            return b""
        if length is not None and int(length) > self._body_bytes_max:  # the server has checked that these are digits
            raise self._too_large()
        content = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BadRequest("the body ended before its end")
            piece: bytes = message["body"]
            content += piece
            if len(content) > self._body_bytes_max:
                raise self._too_large()
            if not message.get("more_body", False):
                return content

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"has more than the {self._body_bytes_max} bytes that are allowed")

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, path: bytes, started: float) -> None:
        """Let the framework answer. It sees the path undecoded, and decodes names with the same function as we do."""
        status = 500
        method: str = scope["method"]
        unread = any(name in _ANNOUNCE_BODY for name, _ in scope["headers"])

        async def receive_and_note() -> Message:
            nonlocal unread
            message = await receive()
            unread = message.get("more_body", False)
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                if unread:
                    await _drain(receive)
                status = message["status"]
                if _NO_STORE not in message["headers"]:
                    message["headers"] = [*message["headers"], _NO_STORE]
            elif method == "HEAD":
                message["body"] = b""
            await send(message)

        try:
            check_headers(method, scope["headers"], self._origins)
            # The framework would take empty segments for none.
            if b"//" in path or (path.endswith(b"/") and path != b"/"):
                raise NotFound("there is nothing at this path: it has an empty segment")
        except PlusoneError as error:
            await _send_reply(send_and_note, _reply_to_error(error))
        else:
            scope["path"] = path.decode("latin-1")
            if method == "HEAD" and not path.startswith(_COUNTING_GET):
                scope["method"] = "GET"
            await self._framework(scope, receive_and_note, send_and_note)
        route = scope.get("path_template") or "other"
        self._metrics.route(method if method in _METHODS else "other", route).observe(status, perf_counter() - started)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._stores.open()
        except PlusoneError as error:
            _log.error("cannot start", reason=str(error))
            await send({"type": "lifespan.startup.failed"})
            return
        _end_with_the_main_process()
        publishing = asyncio.create_task(self._publish())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stores.close()
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing
        self._metrics.publish()
        await send({"type": "lifespan.shutdown.complete"})

    async def _publish(self) -> None:
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            self._stores.tell_of_gaps()
            try:
                self._metrics.publish()
            except OSError as error:  # a full disk, say: counting goes on
                _log.warning("metrics cannot be left for the other workers", reason=str(error))


def _end_with_the_main_process() -> None:
    """Drain and exit when the main process is killed: its workers would go on, holding the port, watched by nobody."""
    main = multiprocessing.parent_process()
    if main is not None:
        loop = asyncio.get_running_loop()

        def end() -> None:
            loop.remove_reader(main.sentinel)
            os.kill(os.getpid(), signal.SIGTERM)

        loop.add_reader(main.sentinel, end)


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _reply_to_error(error: Exception) -> Reply:
    if not isinstance(error, PlusoneError):
        _log.error("internal error", exc_info=error)
        error = InternalError("the service failed; its log has the details")
    document = problem(error)
    return Reply(document.status, document)


async def _drain(receive: Receive) -> None:
    """Read the rest of a body that is answered already: a connection closed on one who still sends loses the answer."""
    left = _DRAINED_BYTES_MAX
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


async def _send_reply(send: Send, reply: Reply) -> None:
    headers = _JSON_HEADERS
    if isinstance(reply.content, Problem):
        headers = _PROBLEM_HEADERS + [
            (name.lower().encode(), value.encode()) for name, value in problem_headers(reply.status).items()
        ]
    if reply.replayed:
        headers = [*headers, _REPLAYED]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": _encode(reply.content)})
