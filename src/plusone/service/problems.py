"""From errors to problem documents (RFC 9457). Which problems there are is taken from the error tree itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from plusone.errors import ConfigurationError, InvalidRequest, NotCounted, PlusoneError, Rejected
from plusone.service.messages import Number, Problem

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = "1"
"""Combining makes a crowd cheap: what is waited for is over in a moment or not soon."""


class BadRequest(PlusoneError):
    """The request is no acceptable HTTP. Correct it."""

    code = "bad-request"
    http_status = 400


class Forbidden(PlusoneError):
    """Who asks may not. Without keys the service is for this machine alone: `Host` has to be a loopback name or
    address, and what changes a counter comes from no browser page of an origin that `cors_origins` does not have."""

    code = "forbidden"
    http_status = 403

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


class NotFound(PlusoneError):
    """There is nothing at this path. `/docs` lists the paths; names in a path are percent-encoded, slashes too."""

    code = "not-found"
    http_status = 404


class UnknownStore(PlusoneError):
    """No store of this name is configured. Use one of those that `/readyz` names, or add it to `[stores]`."""

    code = "unknown-store"
    http_status = 404


class MethodNotAllowed(PlusoneError):
    """This path does not take this method; the header `Allow` names those that it takes."""

    code = "method-not-allowed"
    http_status = 405


class BodyTooLarge(PlusoneError):
    """The body has more bytes, or more items, than the service takes. Send it in parts."""

    code = "body-too-large"
    http_status = 413

    def __init__(self, problem: str) -> None:
        super().__init__(f"the body {problem}")
        self.field = "body"


class UnsupportedMediaType(PlusoneError):
    """The body is of a type that this path does not take. Say `Content-Type: application/json`."""

    code = "unsupported-media-type"
    http_status = 415

    def __init__(self, accepted: str) -> None:
        super().__init__(f"Content-Type must be {accepted}, in UTF-8")
        self.field = "Content-Type"


class InternalError(PlusoneError):
    """The service failed in a way that nobody foresaw; its log has the details. Ask again with the same key."""

    code = "internal-error"
    applied = "maybe"
    http_status = 500


def problem_types() -> dict[str, type[PlusoneError]]:
    """Every problem that an answer can name, by its code."""

    def below(error: type[PlusoneError]) -> Iterator[type[PlusoneError]]:
        for kind in error.__subclasses__():
            if not kind.__module__.startswith("plusone.lab."):  # the lab's errors have no answer to be in
                yield kind
                yield from below(kind)

    abstract = (Rejected, NotCounted, ConfigurationError)  # two are only branches; the third never leaves the start
    return {kind.code: kind for kind in below(PlusoneError) if kind not in abstract}


def title(kind: type[PlusoneError]) -> str:
    """A problem's title: its code, as words."""
    return kind.code.replace("-", " ").capitalize()


def problem(
    error: PlusoneError,
    *,
    requested: int | None = None,
    ceiling: int | None = None,
    floor: int | None = None,
    token_field: str = "Idempotency-Key",
    as_text: bool = False,
) -> Problem:
    """The document for `error`. `token_field` is what the caller knows a token by."""

    def number(value: int | None) -> Number | None:
        return str(value) if as_text and value is not None else value

    kind = type(error)
    field: str | None = getattr(error, "field", None)
    detail = str(error)
    if field == "token" and isinstance(error, InvalidRequest):
        field, detail = token_field, f"{token_field} {error.problem}"
    outcome = error.outcome if isinstance(error, Rejected) else None
    by_bound = outcome is not None and outcome.reason in ("ceiling", "floor", "overflow")
    return Problem(
        type=f"/problems/{kind.code}",
        title=title(kind),
        status=kind.http_status,
        detail=detail,
        applied=kind.applied,
        field=field,
        reason=None if outcome is None else outcome.reason,
        value=None if outcome is None else number(outcome.value),
        revision=None if outcome is None else number(outcome.revision),
        requested=number(requested) if outcome is not None else None,
        ceiling=number(ceiling) if by_bound else None,
        floor=number(floor) if by_bound else None,
    )


def problem_headers(status: int) -> dict[str, str]:
    """The headers that go with a problem of this status, besides its type."""
    return {"Retry-After": RETRY_AFTER_SECONDS} if status == 503 else {}
