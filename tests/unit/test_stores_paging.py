"""Page tokens: what is given out comes back, and nothing else is taken."""

from __future__ import annotations

import pytest

from plusone.errors import InvalidRequest
from plusone.stores.paging import decode, decode_key, encode, encode_key


@pytest.mark.parametrize(
    ("position", "token"), [(b"", ""), (b"a", "YQ"), (b"ab", "YWI"), (b"abc", "YWJj"), (b"\xfb\xff\xfe", "-__-")]
)
def test_a_position_comes_back_from_its_token(position: bytes, token: str) -> None:
    assert encode(position) == token
    assert decode(token) == position


@pytest.mark.parametrize("token", ["=", "YQ=", "YQ==", "YR", "Y", "YWJjZ", " YQ", "YQ\n", "+//+", "\u00e9", "\ud800"])
def test_what_encode_does_not_make_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(token)
    assert refused.value.field == "page_token"


@pytest.mark.parametrize("key", ["default/", "default/a", "default/b\U0010ffff", "default/" + "n" * 255])
def test_a_key_comes_back_from_its_token(key: str) -> None:
    assert decode_key(encode_key(key), "default/") == key


@pytest.mark.parametrize("token", ["", "gICA", encode_key("other/a"), encode_key("default")])
def test_a_key_that_the_listing_cannot_have_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_key(token, "default/")
    assert refused.value.field == "page_token"
