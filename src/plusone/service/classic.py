"""The classic routes, `POST /dynamo/{name}` and four more: paths and answers that callers of theirs know already.

They add 1 on the store of that name, whatever datastore it is on. What is no answer of theirs is a problem document,
as everywhere else.
"""

from __future__ import annotations

from typing import Final

from litestar import Response, Router, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi import ResponseSpec

from plusone.config import Settings
from plusone.counters import Counters
from plusone.errors import InvalidRequest
from plusone.service.messages import ClassicAnswer, ClassicRefusal
from plusone.service.openapi import problems
from plusone.service.problems import UnknownStore
from plusone.service.requests import JSON, conditions
from plusone.service.routes import (
    AnyRequest,
    AsText,
    Key,
    Name,
    OfStore,
    name_in_path,
    provide_as_text,
)
from plusone.types import MAX, Operation

CLASSIC_STORES: Final = {
    "dynamo": "dynamodb://table?region=eu-west-1",
    "redis": "redis://localhost:6379/0",
    "momento": "momento://cache",
    "docdb": "mongodb://localhost:27017/plusone",
    "tidb": "tidb://root@localhost:4000/plusone",
}
"""The names of stores that have such a route, and what the configuration could say of each."""
_NO_BODY: Final = (b"", b"{}")
OfSettings = NamedDependency[Settings]


def provide_settings(state: State) -> Settings:
    return state.settings  # type: ignore[no-any-return]


def provider(name: str) -> Provide:
    """Of the counters of the store of this name."""

    def provide_classic_counters(state: State) -> Counters:
        try:
            return state.stores.named(name)  # type: ignore[no-any-return]
        except UnknownStore:
            example = f'{name} = "{CLASSIC_STORES[name]}"'
            raise UnknownStore(f"no store {name!r} is configured; add it to [stores], for instance {example}") from None

    return Provide(provide_classic_counters, sync_to_thread=False)


@post(
    "/{name:str}",
    summary="Add 1 on the store of this name",
    status_code=200,
    responses={
        **problems(413),
        409: ResponseSpec(
            ClassicRefusal,
            description="The counter is at its maximum, and as it was.",
            media_type=JSON,
            generate_examples=False,
        ),
    },
)
async def increment_classic(
    request: AnyRequest,
    counters: OfStore,
    settings: OfSettings,
    name: Name,
    as_text: AsText,
    idempotency_key: Key = None,
) -> Response[ClassicAnswer]:
    if (await request.body()).strip() not in _NO_BODY:
        raise InvalidRequest("body", "has to be empty here: a classic route adds 1; see /docs for those that take more")
    bounded = settings.use_conditional_writes
    ceiling = settings.max_counter_value if bounded else None
    token = conditions(idempotency_key, None, None).token
    outcome = await counters.perform(name_in_path(name), Operation.add(1, ceiling=ceiling, token=token))
    content: ClassicAnswer | ClassicRefusal
    if outcome.reason is None:
        number = str(outcome.value) if as_text else outcome.value
        status, content = 200, ClassicAnswer(counter=number, use_conditional_writes=bounded)
    else:
        maximum = MAX if ceiling is None else ceiling  # without one of theirs there is the end of 64 bits
        error = f"Counter has reached its maximum value of: {maximum}"
        status, content = 409, ClassicRefusal(error=error, use_conditional_writes=bounded)
    headers = {"Idempotent-Replayed": "true"} if outcome.replayed else {}
    return Response(content, status_code=status, headers=headers)  # type: ignore[arg-type]


def classic_routes() -> list[Router]:
    """All five, whichever stores are configured: the answers of the others say what to configure."""
    shared = {
        "settings": Provide(provide_settings, sync_to_thread=False),
        "as_text": Provide(provide_as_text, sync_to_thread=False),
    }
    return [
        Router(
            f"/{name}",
            route_handlers=[increment_classic],
            dependencies={**shared, "counters": provider(name)},
            tags=["classic routes"],
        )
        for name in CLASSIC_STORES
    ]
