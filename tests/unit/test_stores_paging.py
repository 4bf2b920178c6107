"""Page tokens: what is given out comes back, and nothing else is taken. And where the keys of a prefix end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plusone.errors import InvalidRequest
from plusone.stores.paging import above, decode, decode_key, encode, encode_key


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


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(TEXT, TEXT)
def test_the_end_of_a_prefix_is_above_all_that_begin_with_it(prefix: str, rest: str) -> None:
    """In the order of UTF-8, which is that of code points."""
    end = above(prefix)
    assert end is None or (prefix + rest).encode() < end.encode()


@given(TEXT, TEXT)
def test_what_is_between_a_prefix_and_its_end_begins_with_it(prefix: str, other: str) -> None:
    prefix = f"default/{prefix}"
    end = above(prefix)
    assert end is not None
    for key in (other, f"default/{other}"):
        assert (prefix.encode() <= key.encode() < end.encode()) == key.startswith(prefix)


def test_ends_at_the_edges() -> None:
    assert above("a") == "b"
    assert above("\ud7ff") == "\ue000"
    assert above("a\U0010ffff") == "b"
    assert above("\U0010ffff") is None
    assert above("") is None
