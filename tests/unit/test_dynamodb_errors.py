"""What the DynamoDB store says to those who have no credentials, no rights, or a wrong address."""

from __future__ import annotations

import pytest

pytest.importorskip("aiobotocore")

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from botocore import exceptions

from plusone.errors import OutcomeUnknown, StoreRefused, StoreUnavailable
from plusone.stores.dynamodb.errors import before_sending, by_code, while_sending


def test_who_has_no_credentials_is_told_what_aws_programs_do() -> None:
    """DynamoDB Local comes last: who is at Amazon's would otherwise put a made-up key into the URL."""
    found = before_sending(exceptions.NoCredentialsError())
    assert type(found) is StoreRefused
    assert str(found) == (
        "DynamoDB: Unable to locate credentials; give them as to any AWS SDK, by the environment, a profile or a role;"
        " DynamoDB Local takes any, as in dynamodb://key:secret@table"
    )


def test_who_lacks_a_right_is_told_where_they_are_listed() -> None:
    found = by_code("AccessDeniedException", "not authorized to perform: dynamodb:PartiQLInsert")
    assert str(found).endswith("; let these credentials do that on this table; docs/datastores.md lists the rights")


@pytest.mark.parametrize("host", ["unknown", "not listening", "slow"])
def test_an_address_where_nobody_is_comes_with_advice(host: str) -> None:
    key = ConnectionKey("host", 1, False, True, None, None, None, None)
    failures: dict[str, Exception] = {
        "unknown": aiohttp.ClientConnectorDNSError(key, OSError(-2, "Name or service not known")),
        "not listening": aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused")),
    }
    error: Exception = exceptions.ConnectTimeoutError(endpoint_url="http://h:1/")
    if host in failures:
        error = exceptions.EndpointConnectionError(endpoint_url="http://h:1/", error=failures[host])
    found = while_sending(error)
    assert type(found) is StoreUnavailable
    assert str(found).endswith(
        "; see endpoint and region in the store URL or the environment, and that this machine may reach it"
    )


def test_a_broken_connection_comes_with_none() -> None:
    found = while_sending(exceptions.ConnectionClosedError(endpoint_url="http://h:1/"))
    assert type(found) is OutcomeUnknown
    assert "see endpoint" not in str(found)
