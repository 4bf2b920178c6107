"""What a request says, taken apart: names in paths, bodies, and the headers that make an operation conditional.

The thin path and the framework's handlers share these functions; there is no second decoder.
"""

from __future__ import annotations

import json
import re
from typing import Final, Generic, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from plusone.errors import InvalidRequest
from plusone.service.messages import AddRequest, BulkItem, SetRequest
from plusone.service.problems import UnsupportedMediaType
from plusone.types import MAX, check_token

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"

T = TypeVar("T")
_MALFORMED_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ENTITY_TAG: Final = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_REVISION: Final = re.compile(r'"(0|[1-9][0-9]{0,18})"')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_UNKNOWN_MEMBER: Final = re.compile(r"unknown field `(.*)`")
_MISSING_MEMBER: Final = re.compile(r"missing required field `(.*)`")
_AT_MEMBER: Final = re.compile(r" - at `\$\.?(.*)`$")


class Conditions(msgspec.Struct, frozen=True):
    """What the headers of a request ask for besides the operation itself."""

    token: str | None = None
    if_revision: int | None = None
    if_absent: bool = False


NONE: Final = Conditions()


def decode_name(segment: bytes) -> str:
    """The counter's name from its segment of the raw path."""
    if b"%" in segment:
        if _MALFORMED_ESCAPE.search(segment):
            raise InvalidRequest("name", "has a % that is not followed by two hexadecimal digits")
        segment = unquote_to_bytes(segment)
    try:
        return segment.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("name", "is not UTF-8, percent-encoded") from None


def conditions(key: str | None, if_match: str | None, if_none_match: str | None) -> Conditions:
    """From the headers Idempotency-Key, If-Match and If-None-Match, as HTTP has them: bytes read as Latin-1."""
    if key is None and if_match is None and if_none_match is None:
        return NONE
    if if_none_match is not None and if_none_match != "*":
        raise InvalidRequest("If-None-Match", "must be * here: the counter must not exist")
    if if_match is not None and if_none_match is not None:
        raise InvalidRequest("If-None-Match", "contradicts If-Match: an absent counter has no revision to match")
    return Conditions(_token(key), _revision(if_match), if_none_match is not None)


def matches(if_none_match: str, entity_tag: str) -> bool:
    """Whether a GET's If-None-Match names `entity_tag`, so that the answer is 304. Tags are compared weakly."""
    if if_none_match.strip() == "*":
        return True
    return entity_tag.strip('"') in _ENTITY_TAG.findall(if_none_match)


def _token(key: str | None) -> str | None:
    if key is None:
        return None
    if key.startswith('"'):
        quoted = _QUOTED.fullmatch(key)
        if quoted is None:
            raise InvalidRequest("Idempotency-Key", "begins with a quote and is no string in quotes (RFC 8941)")
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    try:
        key = key.encode("latin-1").decode()
        check_token(key)
    except UnicodeDecodeError:
        raise InvalidRequest("Idempotency-Key", "is not UTF-8") from None
    except InvalidRequest as error:
        raise InvalidRequest("Idempotency-Key", error.problem) from None
    return key


def _revision(if_match: str | None) -> int | None:
    if if_match is None:
        return None
    found = _REVISION.fullmatch(if_match)
    if found is None or int(found[1]) > MAX:
        raise InvalidRequest("If-Match", 'must be one revision in quotes, such as "5"')
    return int(found[1])


class Body(Generic[T]):
    """How one kind of body is decoded. Errors are `InvalidRequest`, which names the member."""

    def __init__(self, kind: type[T]) -> None:
        self._decode = msgspec.json.Decoder(kind).decode

    def decode(self, content: bytes | memoryview) -> T:
        """The body as a value."""
        try:
            value = self._decode(content)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest("body", f"is not JSON in UTF-8: {error}") from None
        # msgspec takes the last of members that share a name; with one colon there is one member.
        content = bytes(content)
        if content.count(b":") > 1:
            json.loads(content, object_pairs_hook=_refuse_duplicates)
        return value


def check_content_type(content_type: str | None, *accepted: str) -> str:
    """The media type of a body; raises `UnsupportedMediaType` unless it is one of `accepted`, in UTF-8."""
    if content_type in accepted:
        return content_type
    media_type, _, parameters = (content_type or "").partition(";")
    media_type = media_type.strip().lower()
    charset = parameters.replace(" ", "").replace('"', "").lower()
    if media_type not in accepted or charset not in ("", "charset=utf-8", "charset=utf8"):
        raise UnsupportedMediaType(" or ".join(accepted))
    return media_type


def _invalid(message: str) -> InvalidRequest:
    at = _AT_MEMBER.search(message)
    for pattern in (_UNKNOWN_MEMBER, _MISSING_MEMBER):
        if found := pattern.search(message):
            problem = "is missing" if pattern is _MISSING_MEMBER else "is not a member that is known here"
            return InvalidRequest(found[1], problem)
    field = (at[1] if at else "") or "body"
    what = _AT_MEMBER.sub("", message)
    return InvalidRequest(field, f"is not acceptable: {what[0].lower()}{what[1:]}")


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise InvalidRequest(name, "stands in the body twice")
        seen.add(name)


ADD: Final = Body(AddRequest)
SET: Final = Body(SetRequest)
BULK_ITEM: Final = Body(BulkItem)
NOTHING_ADDED: Final = AddRequest()


def decode_add(content_type: str | None, content: bytes) -> AddRequest:
    """The body of an increment or decrement, which may be left out."""
    if not content:
        return NOTHING_ADDED
    check_content_type(content_type, JSON)
    return ADD.decode(content)
