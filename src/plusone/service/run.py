"""The process that serves: Granian's main process, which watches the workers and hands signals on to them."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels

from plusone.config import Settings
from plusone.errors import ConfigurationError
from plusone.service import log
from plusone.service.app import document, make_app
from plusone.service.front import Front
from plusone.service.stores import Stores, naming
from plusone.stores.registry import StoreURL

_log = structlog.stdlib.get_logger("plusone.service")


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; return when everything accepted has been answered, or the grace period is over.

    On a signal the workers stop listening, which is how readiness fails; they finish the requests under way, close the
    connections, and answer what still waits in their combiners. Raises `ConfigurationError` for settings that cannot
    be served, what opening its stores raises, and `SystemExit` when a worker ended by itself.
    """
    if settings.host == "localhost":
        settings = msgspec.structs.replace(settings, host="127.0.0.1")
    _check_loopback(settings.host)
    _check_shared(settings)
    _check_free(settings)
    asyncio.run(_check_stores(settings))
    log.configure(settings)
    with tempfile.TemporaryDirectory(prefix="plusone-") as folder:
        shared = Path(folder) if settings.workers > 1 else None
        server = Granian(
            "plusone",
            address=settings.host,
            port=settings.port,
            interface=Interfaces.ASGI,
            workers=settings.workers,
            loop=Loops.uvloop,
            http=HTTPModes.http1,
            websockets=False,
            backlog=4096,
            backpressure=65_536,  # how many operations may wait is the combiner's to say
            workers_kill_timeout=settings.grace,  # type: ignore[arg-type]  # handed to join(), which takes fractions
            log_level=LogLevels.warning,  # it tells of every start and stop of a worker; what goes wrong is enough
            log_dictconfig={"loggers": {}, "handlers": {}, "formatters": {}},  # its lines go to our log
        )
        _log.info("serving without keys, for this machine only", url=_url(settings), workers=settings.workers)
        server.serve(target_loader=partial(_load, settings, shared), wrap_loader=False)
    _log.info("stopped")


def openapi() -> dict[str, Any]:
    """The OpenAPI document of the service with default settings."""
    return document(Settings())


def _load(settings: Settings, shared: Path | None) -> Front:
    log.configure(settings)
    return make_app(settings, shared)


def _check_loopback(host: str) -> None:
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigurationError(
            f"host: {host} is not a loopback address, and keys are not available yet: anybody could count."
            " Serve on 127.0.0.1, ::1 or localhost"
        )


async def _check_stores(settings: Settings) -> None:
    """Open each store and let it go: what keeps the service from starting is told here, not by every worker."""
    stores = Stores(settings)
    await stores.open()
    await stores.close()


def _check_shared(settings: Settings) -> None:
    for name, url in settings.stores.items():
        with naming(name):
            if settings.workers > 1 and StoreURL.parse(url).scheme == "memory":
                raise ConfigurationError(
                    f"each worker would count in a memory of its own. Serve {url} with one worker, or choose a store"
                    " that they share"
                )


def _check_free(settings: Settings) -> None:
    """Raise `ConfigurationError` if the port is taken: by another plusone too, with which we would share it unseen.

    The server's own sockets ask for SO_REUSEPORT, so that each worker can have one.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise ConfigurationError(f"port: cannot listen on {_url(settings)}: {error.strerror}") from None


def _url(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"
