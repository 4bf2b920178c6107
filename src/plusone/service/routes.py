"""The framework's routes: every path of the API, the increment's too, for OpenAPI and for what the thin path leaves."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, cast
from urllib.parse import urlencode

from litestar import HttpMethod, Request, Response, Router, delete, get, post, put, route
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from litestar.response import Stream

from plusone.config import DEFAULT_STORE
from plusone.counters import Counters
from plusone.errors import InvalidRequest
from plusone.service import bulk, operations
from plusone.service.messages import (
    AddRequest,
    BulkItem,
    BulkOutcome,
    CounterAnswer,
    OutcomeAnswer,
    PageAnswer,
    Problem,
    SetRequest,
    counter_answer,
)
from plusone.service.openapi import accepting, problems
from plusone.service.problems import PROBLEM_JSON, problem_headers
from plusone.service.requests import (
    JSON,
    NDJSON,
    SET,
    Conditions,
    check_content_type,
    conditions,
    decode_add,
    decode_name,
    matches,
)
from plusone.types import PAGE_LIMIT_MAX, Operation

AnyRequest = Request[Any, Any, State]
Name = Annotated[
    str,
    PathParameter(
        description="The counter's name: 1 to 255 bytes of UTF-8 without control characters, percent-encoded.",
        schema_extra={"minLength": 1, "maxLength": 255, "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$"},
    ),
]
Key = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="1 to 255 characters, in quotes or bare. The first outcome under it is remembered, and replayed.",
    ),
]
IfMatch = Annotated[
    str | None,
    HeaderParameter(name="If-Match", description='The revision that the counter must be at, in quotes, such as "5".'),
]
IfNoneMatch = Annotated[
    str | None, HeaderParameter(name="If-None-Match", description="`*`: the counter must not exist.")
]
KnownTags = Annotated[
    str | None, HeaderParameter(name="If-None-Match", description="ETags known already; 304 if one is still current.")
]
Numbers = Annotated[
    Literal["integer", "string"],
    QueryParameter(description="`string` answers integers as text, for callers whose integers stop at 2^53."),
]
StoreName = Annotated[str, PathParameter(description="A store's name in the configuration.")]
Prefix = Annotated[str, QueryParameter(description="What the names begin with.")]
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_LIMIT_MAX, description="How many counters a page has at most.")]
PageToken = Annotated[str | None, QueryParameter(description="`next_page_token` of the page before.")]
OfStore = NamedDependency[Counters]
AsText = NamedDependency[bool]
Conditional = NamedDependency[Conditions]


def check_parameters(request: AnyRequest) -> None:
    """Raise `InvalidRequest` for what the document does not have: it would not do what it says."""
    methods = request.app.state.document["paths"].get(request.scope["path_template"], {})
    operation = methods.get(request.scope["method"].lower())
    if operation is None:
        return
    known = {parameter["name"] for parameter in operation.get("parameters", ())}
    for name in ("If-Match", "If-None-Match"):
        if name in request.headers and name not in known:
            raise InvalidRequest(name, "is not a condition that is known here")
    for name in request.query_params:
        if name not in known:
            raise InvalidRequest(name, "is not a parameter that is known here")


def provide_default_counters(state: State) -> Counters:
    return state.stores.named(DEFAULT_STORE)  # type: ignore[no-any-return]


def provide_named_counters(state: State, store: StoreName) -> Counters:
    return state.stores.named(store)  # type: ignore[no-any-return]


def provide_as_text(numbers: Numbers = "integer") -> bool:
    return numbers == "string"


def provide_conditions(
    idempotency_key: Key = None, if_match: IfMatch = None, if_none_match: IfNoneMatch = None
) -> Conditions:
    return conditions(idempotency_key, if_match, if_none_match)


def respond(reply: operations.Reply) -> Response[Any]:
    """The framework's form of a reply."""
    headers = problem_headers(reply.status)
    if reply.replayed:
        headers["Idempotent-Replayed"] = "true"
    media_type = PROBLEM_JSON if isinstance(reply.content, Problem) else JSON
    return Response(reply.content, status_code=reply.status, media_type=media_type, headers=headers)


@post(
    "/counters/{name:str}/increment",
    summary="Add to a counter",
    status_code=200,
    operation_class=accepting(AddRequest),
    responses=problems(409, 412, 413, 415),
)
async def increment_counter(
    request: AnyRequest, counters: OfStore, name: Name, conditional: Conditional, as_text: AsText
) -> Response[OutcomeAnswer]:
    body = decode_add(request.headers.get("content-type"), await request.body())
    return respond(await operations.increment(counters, name_in_path(name), body, conditional, as_text=as_text))


@post(
    "/counters/{name:str}/decrement",
    summary="Subtract from a counter",
    status_code=200,
    operation_class=accepting(AddRequest),
    responses=problems(409, 412, 413, 415),
)
async def decrement_counter(
    request: AnyRequest, counters: OfStore, name: Name, conditional: Conditional, as_text: AsText
) -> Response[OutcomeAnswer]:
    body = decode_add(request.headers.get("content-type"), await request.body())
    operation = operations.subtraction(body, conditional)
    return respond(await operations.perform(counters, name_in_path(name), operation, as_text=as_text))


@put(
    "/counters/{name:str}",
    summary="Set a counter",
    operation_class=accepting(SetRequest, required=True),
    responses=problems(412, 413, 415),
)
async def set_counter(
    request: AnyRequest, counters: OfStore, name: Name, conditional: Conditional, as_text: AsText
) -> Response[OutcomeAnswer]:
    check_content_type(request.headers.get("content-type"), JSON)
    body = SET.decode(await request.body())
    operation = operations.setting(body, conditional)
    return respond(await operations.perform(counters, name_in_path(name), operation, as_text=as_text))


@delete("/counters/{name:str}", summary="Delete a counter", responses=problems(412))
async def delete_counter(
    counters: OfStore, name: Name, as_text: AsText, idempotency_key: Key = None, if_match: IfMatch = None
) -> Response[None]:
    conditional = conditions(idempotency_key, if_match, None)
    operation = Operation.delete(token=conditional.token, if_revision=conditional.if_revision)
    reply = await operations.perform(counters, name_in_path(name), operation, as_text=as_text)
    if reply.status != 200:
        return respond(reply)
    return Response(None, status_code=204, headers={"Idempotent-Replayed": "true"} if reply.replayed else {})


@get(
    "/counters/{name:str}",
    summary="Read a counter",
    responses={304: ResponseSpec(None, description="The counter is still as one of the ETags says."), **problems()},
)
async def get_counter(
    counters: OfStore,
    name: Name,
    as_text: AsText,
    consistency: Annotated[
        Literal["strong", "eventual"],
        QueryParameter(description="`eventual` may be answered by a replica, where the datastore has one."),
    ] = "strong",
    if_none_match: KnownTags = None,
) -> Response[CounterAnswer]:
    counter = await counters.get(name_in_path(name), consistency=consistency)
    # An absent counter has no ETag, so nothing can be said to be unchanged about it.
    headers = {"ETag": f'"{counter.revision}"'} if counter.exists else {}
    if counter.exists and if_none_match is not None and matches(if_none_match, headers["ETag"]):
        return Response(None, status_code=304, headers=headers)  # type: ignore[arg-type]
    return Response(counter_answer(counter, as_text=as_text), headers=headers)


@get("/counters", summary="List counters", responses=problems(501))
async def list_counters(
    request: AnyRequest,
    counters: OfStore,
    as_text: AsText,
    prefix: Prefix = "",
    limit: Limit = 100,
    page_token: PageToken = None,
) -> Response[PageAnswer]:
    page = await counters.list(prefix, limit=limit, page_token=page_token)
    headers = {}
    if page.next_page_token is not None:
        query = {"prefix": prefix, "limit": limit, "page_token": page.next_page_token}
        if as_text:
            query["numbers"] = "string"
        headers["Link"] = f'<{request.scope["path"]}?{urlencode(query)}>; rel="next"'
    found = [counter_answer(counter, as_text=as_text) for counter in page.counters]
    return Response(PageAnswer(counters=found, next_page_token=page.next_page_token), headers=headers)


@post(
    "/increments",
    summary="Add to many counters",
    description="The answers come in the order of the items. One deadline, the setting `timeout`, is that of them all: "
    "items that could not be sent in time are answered `not-sent`, definitely not counted; ask again for them.",
    status_code=200,
    operation_class=accepting(BulkItem, required=True, many=True),
    responses=problems(413, 415),
)
async def increment_many(
    request: AnyRequest, counters: OfStore, as_text: AsText, idempotency_key: Key = None
) -> Response[list[BulkOutcome | Problem]]:
    media_type = check_content_type(request.headers.get("content-type"), JSON, NDJSON)
    answers = await bulk.apply(
        counters,
        await request.body(),
        media_type,
        conditions(idempotency_key, None, None).token,
        items_max=request.app.state.bulk_items_max,
        as_text=as_text,
    )
    headers = {"Idempotent-Replayed": "true"} if answers.replayed else {}
    stream = Stream(bulk.pieces(answers.results, media_type), media_type=media_type, headers=headers)
    return cast("Response[Any]", stream)


@route("/counters/{name:str}", http_method=HttpMethod.OPTIONS, include_in_schema=False)
async def counter_methods(name: Name) -> Response[None]:
    # The framework's own answer names only the first handler's method.
    return Response(None, status_code=204, headers={"Allow": "DELETE, GET, HEAD, OPTIONS, PUT"})


def name_in_path(segment: str) -> str:
    # The front hands the raw path on as Latin-1, which has a character for every byte.
    return decode_name(segment.encode("latin-1"))


_HANDLERS: Final = (
    counter_methods,  # first, or the framework's own stays
    increment_counter,
    decrement_counter,
    get_counter,
    set_counter,
    delete_counter,
    list_counters,
    increment_many,
)
_DEPENDENCIES: Final = {
    "as_text": Provide(provide_as_text, sync_to_thread=False),
    "conditional": Provide(provide_conditions, sync_to_thread=False),
}


def counter_routes() -> list[Router]:
    """The tree of counters, once for the default store and once for named ones."""
    default = {**_DEPENDENCIES, "counters": Provide(provide_default_counters, sync_to_thread=False)}
    named = {**_DEPENDENCIES, "counters": Provide(provide_named_counters, sync_to_thread=False)}
    return [
        Router("/v1", route_handlers=_HANDLERS, dependencies=default, tags=["counters"]),
        Router("/v1/stores/{store:str}", route_handlers=_HANDLERS, dependencies=named, tags=["named stores"]),
    ]
