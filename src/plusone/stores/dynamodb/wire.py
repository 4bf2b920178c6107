"""Requests to DynamoDB. aiobotocore finds region, endpoint and credentials, and has the connections; we speak.

Its client would serialize and parse each attribute of each item by a description of the whole service, which costs
more than all the rest of a call. So the client is for the table itself, with its retries off, and what counts goes as
JSON of our own, signed by botocore, over aiobotocore's HTTP session, which sends a request once.
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.loaders import Loader, create_loader
from botocore.utils import get_environ_proxies

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused
from plusone.stores.dynamodb.errors import before_sending, by_code, while_sending
from plusone.stores.dynamodb.settings import Settings

_CONTENT_TYPE: Final = "application/x-amz-json-1.0"
_VERSION: Final = "DynamoDB_20120810"
READ_TIMEOUT_SECONDS: Final = 70
"""Longer than the longest deadline: whoever waits gives up before."""
_SERVER_ERROR: Final = 500


class Refusal(msgspec.Struct):
    """The body of an error response."""

    code: str = msgspec.field(name="__type", default="")
    message: str = ""
    capital_message: str = msgspec.field(name="Message", default="")
    reasons: list[msgspec.Raw] = msgspec.field(name="CancellationReasons", default_factory=list)


class Reason(msgspec.Struct):
    """Why one part of a transaction kept it from being applied, if it did."""

    code: str = msgspec.field(name="Code", default="None")
    message: str = msgspec.field(name="Message", default="")


class Cancelled(Exception):
    """A transaction that was not applied, with a reason for each of its parts."""

    def __init__(self, reasons: list[Reason]) -> None:
        super().__init__(", ".join(reason.code for reason in reasons))
        self.reasons = reasons


_decode_refusal: Final = msgspec.json.Decoder(Refusal).decode
_decode_reason: Final = msgspec.json.Decoder(Reason).decode


class Wire:
    """The way to one DynamoDB, as long as it is open."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opening = asyncio.Lock()
        self._stack: AsyncExitStack | None = None
        self.client: Any = None
        """aiobotocore's, for the table as a whole."""
        self.http: Any = None
        self._credentials: Any = None

    async def open(self) -> None:
        """Find out where to go and as whom; nothing is sent yet. Idempotent."""
        async with self._opening:
            if self._stack is not None:
                return
            async with AsyncExitStack() as stack:
                try:
                    await self._enter(stack)
                except (BotoCoreError, ClientError, ValueError, OSError) as error:
                    raise before_sending(error) from error
                self._stack = stack.pop_all()

    async def _enter(self, stack: AsyncExitStack) -> None:
        settings = self._settings
        session = AioSession()
        session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
        if settings.access_key is not None:
            session.set_credentials(settings.access_key, settings.secret_key)
        verify = settings.ca_file or session.get_config_variable("ca_bundle") or True
        timeouts = (settings.connect_timeout_ms / 1000, READ_TIMEOUT_SECONDS)
        self.client = await stack.enter_async_context(
            session.create_client(
                "dynamodb",
                region_name=settings.region,
                endpoint_url=settings.endpoint,
                verify=verify,
                config=AioConfig(
                    retries={"mode": "standard", "total_max_attempts": 1},
                    connect_timeout=timeouts[0],
                    read_timeout=timeouts[1],
                ),
            )
        )
        self._url = self.client.meta.endpoint_url + "/"
        self._credentials = await session.get_credentials()
        if self._credentials is None:
            raise NoCredentialsError
        self.http = await stack.enter_async_context(
            AIOHTTPSession(
                verify=verify,
                proxies=get_environ_proxies(self._url),
                timeout=timeouts,
                max_pool_connections=settings.connections,
            )
        )

    async def close(self) -> None:
        """Close all connections; what is under way fails. Idempotent."""
        async with self._opening:
            stack, self._stack = self._stack, None
            if stack is not None:
                await stack.aclose()

    async def call(self, operation: str, body: bytes) -> bytes:
        """The answer to a request. Raises what the error tables say, and `Cancelled` for a transaction."""
        if self._stack is None:
            raise StoreRefused("DynamoDB: the store is not open")
        request = await self._signed(operation, body)
        try:
            response = await self.http.send(request)
            content: bytes = await response.content
        except Exception as error:
            raise while_sending(error) from error
        if response.status_code != 200:
            raise _refused(response.status_code, content)
        return content

    async def control(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """The client's answer about the table as a whole. Raises what the error tables say."""
        try:
            answer: dict[str, Any] = await getattr(self.client, operation)(**parameters)
        except ClientError as error:
            said = error.response["Error"]
            raise by_code(said["Code"], said["Message"]) from error
        except (BotoCoreError, OSError) as error:
            raise while_sending(error) from error
        return answer

    async def _signed(self, operation: str, body: bytes) -> AWSPreparedRequest:
        try:
            credentials = await self._credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError, OSError) as error:
            raise before_sending(error) from error
        headers = {"content-type": _CONTENT_TYPE, "x-amz-target": f"{_VERSION}.{operation}"}
        request = AWSRequest("POST", self._url, headers, body)
        SigV4Auth(credentials, "dynamodb", self.client.meta.region_name).add_auth(request)
        return request.prepare()


@functools.lru_cache(maxsize=4)
def _loader(data_path: str | None) -> Loader:
    """botocore's descriptions of services, read once: for each session they take it 0.1 s."""
    return create_loader(data_path)


def _refused(status: int, content: bytes) -> PlusoneError | Cancelled:
    try:
        refusal = _decode_refusal(content)
        reasons = [_decode_reason(reason) for reason in refusal.reasons]
    except msgspec.DecodeError:
        return OutcomeUnknown(f"DynamoDB: HTTP status {status}, without a reason that can be read")
    if reasons:
        return Cancelled(reasons)
    if status >= _SERVER_ERROR:
        return OutcomeUnknown(f"DynamoDB: HTTP status {status}: {refusal.code} {refusal.message}")
    return by_code(refusal.code, refusal.message or refusal.capital_message)
