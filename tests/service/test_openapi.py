"""Every operation of the OpenAPI document, asked with good and bad data: whether the answers conform."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import settings
from schemathesis import Case

from plusone.service.run import openapi
from tests.service.running import Running

CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {
            # What the schema cannot say: bounds and preconditions that the counter does not meet, a floor above the
            # ceiling, a page token that nobody gave out.
            "positive_data_acceptance": {"expected-statuses": ["2xx", "304", "409", "412", "422"]},
        },
        "operations": [
            # A bad item fails alone: the request as a whole is accepted.
            {"include-path": "/v1/increments", "checks": {"negative_data_rejection": {"enabled": False}}},
        ],
    }
)


@schemathesis.serializer("application/x-ndjson")
def lines(_: object, value: object) -> bytes:
    return str(value).encode("utf-8", errors="surrogatepass")


SCHEMA = schemathesis.openapi.from_dict(openapi(), config=CONFIG).exclude(tag="named stores")


@SCHEMA.parametrize()
@settings(max_examples=30, deadline=None)
def test_answers_conform(case: Case[Any], service: Running) -> None:
    case.call_and_validate(base_url=service.url)
