"""The OpenAPI document: the framework's, with what only the decoder knows about request bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema

from plusone.service.messages import AddRequest, BulkItem, Problem, SetRequest
from plusone.service.problems import PROBLEM_JSON
from plusone.service.requests import JSON, NDJSON

_REFERENCE: Final = "#/components/schemas/{name}"
_MEANINGS: Final = {
    400: "The request is no acceptable HTTP.",
    403: "The request comes from elsewhere: see `Host` and `Origin`.",
    404: "There is no such path, or no such store.",
    409: "A bound was reached; the counter is as it was.",
    412: "The precondition did not hold; the counter is as it was.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken here.",
    422: "A field of the request is not acceptable.",
    500: "The service failed.",
    501: "The datastore cannot do this.",
    503: "Definitely not applied; ask again after Retry-After.",
    504: "The outcome is unknown; ask again with the same Idempotency-Key.",
}
_ALWAYS: Final = (400, 403, 404, 422, 500, 503, 504)


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The problems that a route may answer with: these, and those that every route may."""
    return {
        status: ResponseSpec(Problem, description=_MEANINGS[status], media_type=PROBLEM_JSON, generate_examples=False)
        for status in sorted((*_ALWAYS, *statuses))
    }


def accepting(kind: type, *, required: bool = False, many: bool = False) -> type[Operation]:
    """An operation whose body is of this kind. The framework does not decode it, so it has to be told."""
    schema: dict[str, Any] = {"$ref": _REFERENCE.format(name=kind.__name__)}
    content = {JSON: {"type": "array", "items": schema} if many else schema}
    if many:
        content[NDJSON] = {"type": "string", "description": f"One {kind.__name__} a line."}

    @dataclass
    class Accepting(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(
                content={name: OpenAPIMediaType(schema=cast("Schema", schema)) for name, schema in content.items()},
                required=required,
            )

    return Accepting


def complete(document: dict[str, Any]) -> None:
    """Add to the framework's document what it cannot know, and take out what it gets wrong."""
    # The schemas of request bodies, from the very types that decode them.
    schemas = msgspec.json.schema_components((AddRequest, SetRequest, BulkItem), ref_template=_REFERENCE)[1]
    document["components"]["schemas"].update(schemas)
    for methods in document["paths"].values():
        for operation in methods.values():
            responses = operation["responses"]
            if NDJSON in operation.get("requestBody", {}).get("content", {}):
                responses["200"]["content"][NDJSON] = {
                    "schema": {"type": "string", "description": "One BulkOutcome or Problem a line."}
                }
            responses.get("204", {}).pop("content", None)  # it would promise a null
