"""The routes beside the counters': health, metrics, documents, and the counting GET for those who ask for it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from prometheus_client import CONTENT_TYPE_LATEST

from plusone.config import DEFAULT_STORE
from plusone.service import docs
from plusone.service.problems import NotFound, problem_types
from plusone.service.requests import JSON
from plusone.service.routes import AnyRequest, name_in_path
from plusone.service.stores import Readiness


@get("/livez")
async def live() -> dict[str, str]:
    """Whether this worker answers at all."""
    return {"status": "alive"}


@get("/readyz")
async def ready(request: AnyRequest) -> Response[Readiness]:
    """Whether every store can serve, and what they lost lately."""
    readiness: Readiness = await request.app.state.stores.readiness()
    return Response(readiness, status_code=200 if readiness.ready else 503)


@get("/metrics")
async def metrics(request: AnyRequest) -> Response[bytes]:
    """All workers' numbers."""
    # Not in a thread: the numbers change, and are left for the other workers, on the event loop.
    return Response(request.app.state.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@get("/openapi.json")
async def openapi(request: AnyRequest) -> Response[bytes]:
    """The API, for machines."""
    return Response(msgspec.json.encode(request.app.state.document), media_type=JSON)


@get("/docs", media_type=MediaType.HTML)
async def documentation(request: AnyRequest) -> str:
    """The API, for people."""
    return docs.api_page(request.app.state.document)


@get("/problems/{code:str}", media_type=MediaType.HTML)
async def explain_problem(code: FromPath[str]) -> str:
    """What a problem's `type` means."""
    kind = problem_types().get(code)
    if kind is None:
        raise NotFound(f"there is no problem {code!r}; /docs lists them")
    return docs.problem_page(kind)


@get("/hit/{name:str}", media_type=MediaType.TEXT)
async def hit(request: AnyRequest, name: FromPath[str]) -> Response[Any]:
    """Add 1, and answer the number as text."""
    outcome = await request.app.state.stores.named(DEFAULT_STORE).increment(name_in_path(name))
    return Response(str(outcome.raise_for_rejection().value))


SYSTEM_ROUTES: Final[list[HTTPRouteHandler]] = [live, ready, metrics, openapi, documentation, explain_problem]
