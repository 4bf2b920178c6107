"""The application: stores, metrics, the framework and the front before it, put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import structlog
from litestar import Litestar, Response
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig

import plusone
from plusone.config import Settings
from plusone.errors import InvalidRequest, PlusoneError
from plusone.service.classic import classic_routes
from plusone.service.front import Front
from plusone.service.metrics import Metrics
from plusone.service.openapi import complete
from plusone.service.operations import Reply
from plusone.service.problems import (
    BadRequest,
    BodyTooLarge,
    InternalError,
    MethodNotAllowed,
    NotFound,
    problem,
)
from plusone.service.routes import AnyRequest, check_parameters, counter_routes, respond
from plusone.service.stores import Stores
from plusone.service.system import SYSTEM_ROUTES, hit

EXPOSED_HEADERS: Final = ["ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "Idempotent-Replayed"]
_DESCRIPTION: Final = """Counts exactly once. Every operation is atomic, and applied once however often it is sent.

Send an Idempotency-Key with what changes a counter, and repeat the request with the same key whenever the answer was
lost or the outcome unknown. The first outcome is remembered for {retention}, together with the count, and replayed with
`Idempotent-Replayed: true`. The same key with another request is answered 422. A key belongs to one counter.

Problems are `application/problem+json`; `applied` says whether the operation may have happened (`maybe`) or definitely
did not (`no`). Numbers are signed 64-bit integers; `?numbers=string` answers them as text.

For operators: `/livez`, `/readyz` (asks every store) and `/metrics` (Prometheus)."""
_log = structlog.stdlib.get_logger("plusone.service")


def make_app(settings: Settings, shared: Path | None = None) -> Front:
    """What one worker serves. `shared` is where the workers leave their metrics for one another.

    Raises `ConfigurationError` for a store URL that is none.
    """
    stores = Stores(settings)
    metrics = Metrics(stores.statistics, shared)
    framework = Litestar(
        [*counter_routes(), *classic_routes(), *SYSTEM_ROUTES, *([hit] if settings.hit_route else [])],
        state=State(
            {
                "stores": stores,
                "metrics": metrics,
                "settings": settings,
                "bulk_items_max": settings.bulk_items_max,
                "document": document(settings),
            }
        ),
        before_request=check_parameters,
        exception_handlers={
            PlusoneError: _on_error,
            HTTPException: _on_http_exception,
            Exception: _on_exception,
        },
        cors_config=_cors(settings),
        request_max_body_size=settings.body_bytes_max,
        openapi_config=None,
        logging_config=None,
    )
    return Front(settings, stores, metrics, framework)  # type: ignore[arg-type]


def document(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document of the service with these settings."""
    description = _DESCRIPTION.format(retention=_duration(settings.token_retention))
    config = OpenAPIConfig("plusone", plusone.__version__, description=description)
    schema = Litestar(
        [*counter_routes(), *classic_routes()], openapi_config=config, logging_config=None
    ).openapi_schema.to_schema()
    complete(schema)
    return schema


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return "24 hours" if seconds == 86_400 else f"{seconds:g} seconds"


def _cors(settings: Settings) -> CORSConfig | None:
    if not settings.cors_origins:
        return None
    return CORSConfig(allow_origins=list(settings.cors_origins), expose_headers=EXPOSED_HEADERS)


def _on_error(_: AnyRequest, error: PlusoneError) -> Response[Any]:
    document = problem(error)
    return respond(Reply(document.status, document))


def _on_http_exception(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """The framework's own refusals, as our problems."""
    path = request.scope["path"]
    ours: PlusoneError
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        first = error.extra[0]
        ours = InvalidRequest(first.get("key", "request"), f"is not acceptable: {first['message']}")
    elif error.status_code == 404:
        ours = NotFound(f"there is nothing at {path}")
    elif error.status_code == 405:
        ours = MethodNotAllowed(f"{path} does not take {request.scope['method']}")
    elif error.status_code == 413:
        ours = BodyTooLarge("has more bytes than are allowed")
    elif error.status_code < 500:
        ours = BadRequest(error.detail)
    else:
        return _on_exception(request, error)
    response = _on_error(request, ours)
    if error.status_code == 405:
        allowed = (error.headers or {})["allow"].split(", ")
        counting = path.startswith("/hit/")
        response.headers["Allow"] = ", ".join([*allowed, "HEAD"] if "GET" in allowed and not counting else allowed)
    return response


def _on_exception(request: AnyRequest, error: Exception) -> Response[Any]:
    _log.error("internal error", method=request.scope["method"], path=request.scope["path"], exc_info=error)
    return _on_error(request, InternalError("the service failed; its log has the details"))
