"""Signature Version 4 for requests that differ in nothing but operation, body and time.

botocore's signer takes any request apart anew, which costs more than making and reading the JSON of 25 counters. Here
the shape is fixed, and the day's key is derived once; a test compares the two. The rules: "Create a signed AWS API
request", AWS Identity and Access Management User Guide.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any, Final

_CONTENT_TYPE: Final = "application/x-amz-json-1.0"
_VERSION: Final = "DynamoDB_20120810"


class Signer:
    """Signs for one region and host."""

    def __init__(self, region: str, host: str) -> None:
        self._region = region
        self._host = host
        self._derived: tuple[str, str, bytes] = ("", "", b"")
        """Secret key and day, and the key that they make."""

    def headers(self, operation: str, body: bytes, credentials: Any, now: float) -> dict[str, str]:
        """All headers of a request; `credentials` are botocore's frozen ones, `now` in seconds since 1970."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        headers = {"content-type": _CONTENT_TYPE, "host": self._host, "x-amz-date": stamp}
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        headers["x-amz-target"] = f"{_VERSION}.{operation}"
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{stamp[:8]}/{self._region}/dynamodb/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._key(credentials.secret_key, stamp[:8]), to_sign.encode(), "sha256").hex()
        signer = f"{credentials.access_key}/{scope}"
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={signer}, SignedHeaders={names}, Signature={signature}"
        return headers

    def _key(self, secret: str, day: str) -> bytes:
        if self._derived[:2] != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, "dynamodb", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._derived = (secret, day, key)
        return self._derived[2]
