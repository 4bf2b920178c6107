"""What goes wrong with DynamoDB, as ours: each definite (it was not applied) or ambiguous.

Definite is what DynamoDB answers before it writes, and what fails before anything is sent. The same names come as the
code of a whole call's error, of one statement's in a batch, and as a reason for which a transaction was cancelled.
What is not listed is ambiguous.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import aiohttp
from botocore import exceptions as botocore

from plusone.errors import OutcomeUnknown, PlusoneError, StoreRefused, StoreUnavailable

Verdict: TypeAlias = type[StoreUnavailable] | type[StoreRefused] | type[OutcomeUnknown]

_SETUP: Final = "run: plusone setup, with this store's URL"
_CREDENTIALS: Final = "see that the credentials are right, and that they are meant for this region and endpoint"
_CLOCK: Final = "see that the credentials and this machine's clock are right"
_RIGHTS: Final = "let these credentials do that on this table; docs/datastores.md lists the rights"
_PLACE: Final = "see endpoint and region in the store URL or the environment, and that this machine may reach it"

BY_CODE: Final[Mapping[str, tuple[Verdict, str]]] = {
    # It asks for patience, or another writer was there; nothing was written.
    "LimitExceeded": (StoreUnavailable, ""),
    "ProvisionedThroughputExceeded": (StoreUnavailable, ""),
    "ReplicatedWriteConflict": (StoreUnavailable, ""),
    "RequestLimitExceeded": (StoreUnavailable, ""),
    "ResourceInUse": (StoreUnavailable, ""),
    "TableInUse": (StoreUnavailable, ""),
    "Throttling": (StoreUnavailable, ""),
    "TransactionCanceled": (StoreUnavailable, ""),
    "TransactionConflict": (StoreUnavailable, ""),
    # It will go on saying no until somebody changes something.
    "AccessDenied": (StoreRefused, _RIGHTS),
    "ExpiredToken": (StoreRefused, _CREDENTIALS),
    "IncompleteSignature": (StoreRefused, _CREDENTIALS),
    "InvalidClientTokenId": (StoreRefused, _CREDENTIALS),
    "InvalidSignature": (StoreRefused, _CLOCK),
    "MissingAuthenticationToken": (StoreRefused, _CREDENTIALS),
    "NotAuthorized": (StoreRefused, _RIGHTS),
    "OptInRequired": (StoreRefused, _CREDENTIALS),
    "RequestExpired": (StoreRefused, _CLOCK),
    "SignatureDoesNotMatch": (StoreRefused, _CLOCK),
    "UnrecognizedClient": (StoreRefused, _CREDENTIALS),
    "IdempotentParameterMismatch": (StoreRefused, ""),
    "IndexNotFound": (StoreRefused, _SETUP),
    "ItemCollectionSizeLimitExceeded": (StoreRefused, "the table has a local index, which plusone's has not"),
    "ResourceNotFound": (StoreRefused, _SETUP),
    "TableNotFound": (StoreRefused, _SETUP),
    "Serialization": (StoreRefused, ""),
    "UnknownOperation": (StoreRefused, "the endpoint is no DynamoDB that knows PartiQL"),
    "Validation": (StoreRefused, ""),
    # The condition did not hold: the step answers these itself, but for what it does not expect.
    "ConditionalCheckFailed": (StoreUnavailable, ""),
    "DuplicateItem": (StoreUnavailable, ""),
    # It may have been written.
    "InternalFailure": (OutcomeUnknown, ""),
    "InternalServer": (OutcomeUnknown, ""),
    "ServiceUnavailable": (OutcomeUnknown, ""),
    "TransactionInProgress": (OutcomeUnknown, ""),
}
"""By the code, without the "Exception" or "Error" that some of them end with."""

WHILE_SENDING: Final[Mapping[type[Exception], Verdict]] = {
    botocore.ConnectTimeoutError: StoreUnavailable,
    botocore.ProxyConnectionError: StoreUnavailable,
    botocore.SSLError: StoreRefused,
    # Of a connection that could not be made, and of one that broke: see `while_sending`.
    botocore.EndpointConnectionError: OutcomeUnknown,
    botocore.ConnectionClosedError: OutcomeUnknown,
    botocore.ConnectionError: OutcomeUnknown,
    botocore.HTTPClientError: OutcomeUnknown,
    botocore.ReadTimeoutError: OutcomeUnknown,
    botocore.ResponseStreamingError: OutcomeUnknown,
}
"""What aiobotocore raises for a request that was handed to it."""

BEFORE_SENDING: Final[Mapping[type[Exception], Verdict]] = {
    # Credentials come from somewhere else, which may be there again later.
    botocore.CredentialRetrievalError: StoreUnavailable,
    botocore.MetadataRetrievalError: StoreUnavailable,
    botocore.TokenRetrievalError: StoreUnavailable,
    botocore.BotoCoreError: StoreRefused,
}
"""What botocore raises while it looks for region, endpoint and credentials, and signs; the nearest class decides."""


def by_code(code: str, message: str) -> PlusoneError:
    """An error that DynamoDB answered, of a call, a statement or a transaction's part."""
    verdict, advice = BY_CODE.get(bare(code), (OutcomeUnknown, ""))
    return verdict(f"DynamoDB: {bare(code)}: {message}" + (f"; {advice}" if advice else ""))


def bare(code: str) -> str:
    """`com.amazonaws.dynamodb.v20120810#ThrottlingException`, or `ThrottlingError`: `Throttling`."""
    return code.rpartition("#")[2].removesuffix("Exception").removesuffix("Error")


def while_sending(error: Exception) -> PlusoneError:
    """What came of a request that was handed to aiobotocore, and was not answered."""
    verdict = WHILE_SENDING.get(type(error), OutcomeUnknown)
    cause: Any = getattr(error, "kwargs", {}).get("error")
    if type(error) is botocore.EndpointConnectionError and isinstance(cause, aiohttp.ClientConnectorError):
        # Only then: aiobotocore says the same of a connection that was reset after the request had left.
        verdict = StoreUnavailable
    if verdict is StoreRefused:
        return StoreRefused(f"DynamoDB: {error}; see that endpoint has the certificate's name, or set ca_file")
    return verdict(f"DynamoDB: {error}" + (f"; {_PLACE}" if verdict is StoreUnavailable else ""))


def before_sending(error: Exception) -> StoreUnavailable | StoreRefused:
    """What failed before anything was sent: it is definite."""
    verdicts = (BEFORE_SENDING[kind] for kind in type(error).__mro__ if kind in BEFORE_SENDING)
    if next(verdicts, StoreRefused) is StoreUnavailable:
        return StoreUnavailable(f"DynamoDB: {error}")
    advice = ""
    if isinstance(error, botocore.NoCredentialsError):
        advice = (
            "; give them as to any AWS SDK, by the environment, a profile or a role;"
            " DynamoDB Local takes any, as in dynamodb://key:secret@table"
        )
    elif isinstance(error, botocore.NoRegionError):
        advice = "; say region= in the store URL, or set AWS_REGION"
    return StoreRefused(f"DynamoDB: {error}{advice}")
