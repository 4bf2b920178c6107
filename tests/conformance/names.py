"""Names: compared byte by byte, read and listed back as they were given."""

from __future__ import annotations

import re
from typing import Final, cast

import pytest

from plusone.errors import InvalidRequest
from plusone.stores.protocol import Lists, Store
from tests.conformance.harness import (
    NewStore,
    World,
    add,
    apply,
    asynchronous,
    delete,
    listed,
    opened,
    pages,
    restart,
)
from tests.conformance.reasons import requires

NAMES: Final = (
    *("votes", "Votes", "VOTES", "votes ", " votes", "votes  ", " ", "  ", "\u00a0", "\u200b", "\ufeff"),
    *("caf\u00e9", "cafe\u0301", "cafe", "CAF\u00c9", "stra\u00dfe", "strasse", "\u0130", "i\u0307", "\ufb01", "fi"),
    *("0", "00", "007", "7", "7.0", "-7", "1e3", "null", "None", "true", "NaN"),
    *("%", "%25", "100%", "_", "v_tes", "v%tes", "?", "v?tes", "*", "v*tes", "**", "[", "[votes]", "[v]otes", "]", "^"),
    *("$", "$set", "a.b", ".", "..", "../votes", "/", "//", "a/b", "a/", "/a", "default/votes", "\\", "\\\\", "v\\*"),
    *("{", "}", "{}", "{a}", "a{b}c", "{a}{b}", "}{", "{{a}}", "%7B", "%7Ba%7D", "a:b", ":", "::", "a;b", "a,b"),
    *("'", '"', "''", "`", "a'b", "'; DROP TABLE counters; --", "--", "/*", "<b>", "&amp;", "a=b", "a#b", "@", "~"),
    *("\U0001f600", "\U0001f600\U0001f600", "\U0001f468\u200d\U0001f469", "\u65e5\u672c\u8a9e", "\u0634\u0645\u0627"),
    *("n" * 254, "n" * 255, "N" * 255, "\u00e9" * 127, "\U0001f600" * 63, " " * 255, "%" * 255, "{" * 255),
)
KEYS: Final = tuple("default/" + name for name in NAMES)


class NameRules:
    @asynchronous
    async def test_every_name_is_a_counter_of_its_own(self, new_store: NewStore) -> None:
        """Names are 1 to 255 bytes, compared byte by byte: nothing is folded, trimmed, normalised or interpreted."""
        async with opened(new_store()) as store:
            await _fill(store)
            records = await store.read(KEYS, strong=True)
            assert [record.value for record in records] == list(range(1, len(KEYS) + 1))
            assert all(record.exists and record.revision == 1 for record in records)

    @asynchronous
    async def test_every_name_is_listed_as_it_was_given(self, new_store: NewStore) -> None:
        async with opened(new_store()) as store:
            requires(store.capabilities, "listing")
            await _fill(store)
            assert await listed(store, "default/") == {key: number for number, key in enumerate(KEYS, start=1)}

    @asynchronous
    async def test_a_prefix_is_taken_literally(self, new_store: NewStore) -> None:
        """Listing by prefix: no character of it is a pattern, and its case counts."""
        async with opened(new_store()) as store:
            requires(store.capabilities, "listing")
            await _fill(store)
            for prefix, names in (
                ("vot", {"votes", "votes ", "votes  "}),
                ("v%", {"v%tes"}),
                ("v_", {"v_tes"}),
                ("v?", {"v?tes"}),
                ("v*", {"v*tes"}),
                ("v\\", {"v\\*"}),
                ("[v]", {"[v]otes"}),
                ("*", {"*", "**"}),
                ("{", {"{", "{}", "{a}", "{a}{b}", "{{a}}", "{" * 255}),
                ("%7B", {"%7B", "%7Ba%7D"}),
                ("a.", {"a.b"}),
                ("cafe", {"cafe\u0301", "cafe"}),
                ("caf\u00e9", {"caf\u00e9"}),
                ("\U0001f600", {"\U0001f600", "\U0001f600\U0001f600", "\U0001f600" * 63}),
                ("'", {"'", "''", "'; DROP TABLE counters; --"}),
                ("default/", {"default/votes"}),
                ("n" * 255, {"n" * 255}),
                ("absent", set()),
            ):
                assert set(await listed(store, "default/" + prefix)) == {"default/" + name for name in names}, prefix

    @asynchronous
    async def test_accounts_do_not_see_one_another(self, new_store: NewStore) -> None:
        """Store key: `account/name`; an account that begins like another, or a name that holds a slash, is no other."""
        async with opened(new_store()) as store:
            requires(store.capabilities, "listing")
            keys = ["a/x", "a/b/x", "a-b/x", "ab/x", "b/x", "0/x"]
            await store.apply([add(number, key=key) for number, key in enumerate(keys)])
            assert [record.value for record in await store.read(keys, strong=True)] == [0, 1, 2, 3, 4, 5]
            assert await listed(store, "a/") == {"a/x": 0, "a/b/x": 1}
            assert await listed(store, "a-b/") == {"a-b/x": 2}
            assert await listed(store, "c/") == {}

    @pytest.mark.parametrize("limit", [1, 7, 100])
    @asynchronous
    async def test_pages_add_up(self, new_store: NewStore, limit: int) -> None:
        """Every counter that lives throughout is on one of the pages, and no page is over its limit."""
        async with opened(new_store()) as store:
            requires(store.capabilities, "listing")
            keys = {f"default/list/{number}": number for number in range(60)}
            await store.apply([add(number, key=key) for key, number in keys.items()])
            await store.apply([add(1, key=f"default/other/{number}") for number in range(60)])
            assert await listed(store, "default/list/", limit) == keys

    @asynchronous
    async def test_the_dead_are_not_listed(self, new_store: NewStore, world: World) -> None:
        """A dead counter is not listed: deleted, expired, or never alive."""
        async with opened(new_store(clock=world.clock)) as store:
            requires(store.capabilities, "listing")
            await apply(store, add(1, key="default/alive"))
            await apply(store, restart(0, key="default/zero"))
            await apply(store, add(1, key="default/deleted"))
            await apply(store, delete(key="default/deleted", seq=2, acked=1))
            await apply(store, add(0, key="default/unborn", applied=0))
            await apply(store, add(1, key="default/expiring", ttl_ms=40))

            async def expired() -> bool:
                return "default/expiring" not in await listed(store, "default/")

            await world.until(expired)
            assert await listed(store, "default/") == {"default/alive": 1, "default/zero": 0}

    @asynchronous
    async def test_a_listing_while_others_write(self, new_store: NewStore) -> None:
        """Every counter that lives throughout the listing is on one of its pages, whatever comes and goes meanwhile."""
        async with opened(new_store()) as store:
            requires(store.capabilities, "listing")
            stay = [f"default/{number:03}/stays" for number in range(80)]
            go = [f"default/{number:03}/goes" for number in range(80)]
            await store.apply([add(1, key=key) for key in stay])
            await store.apply([add(1, key=key) for key in go])
            found: set[str] = set()
            page_token, number = None, 0
            while True:
                page, page_token = await cast(Lists, store).list("default/", 5, page_token)
                found |= {key for key, _ in page}
                if page_token is None:
                    break
                if number < 80:
                    await apply(store, delete(key=go[number], seq=2, acked=1))
                    await apply(store, add(1, key=stay[-number], seq=number + 2))
                    await apply(store, add(1, key=f"default/{number:03}/comes"))
                    number += 1
            assert found >= set(stay)
            assert not {key for key in await listed(store, "default/") if key in go[:number]}

    @asynchronous
    async def test_a_page_has_the_whole_record(self, new_store: NewStore) -> None:
        async with opened(new_store()) as store:
            requires(store.capabilities, "listing")
            await apply(store, add(-(2**53) - 1, key="default/a", applied=3))
            [[(key, record)]] = [page for page in await pages(store, "default/") if page]
            assert key == "default/a"
            assert [record] == list(await store.read(["default/a"], strong=True))

    @asynchronous
    async def test_a_foreign_page_token_is_refused(self, new_store: NewStore) -> None:
        """A page token that is not one of the listing's own raises `InvalidRequest`, which names the field."""
        async with opened(new_store()) as store:
            requires(store.capabilities, "listing")
            await apply(store, add(1))
            with pytest.raises(InvalidRequest) as refused:
                await cast(Lists, store).list("default/", 10, "no page token at all")
            assert refused.value.field == "page_token"

    @asynchronous
    async def test_a_page_token_is_opaque(self, new_store: NewStore) -> None:
        """It fits into a URL as it is and shows no key: one that is made by hand of the last key is refused."""
        async with opened(new_store()) as store:
            requires(store.capabilities, "listing")
            await store.apply([add(1, key=f"default/{name}") for name in ("a", "b", "c")])
            _, page_token = await cast(Lists, store).list("default/", 1, None)
            assert page_token is not None
            assert re.fullmatch("[A-Za-z0-9_-]+", page_token)
            with pytest.raises(InvalidRequest) as refused:
                await cast(Lists, store).list("default/", 1, "default/a")
            assert refused.value.field == "page_token"


async def _fill(store: Store) -> None:
    """Give every name its number, counted from 1."""
    size = store.capabilities.batches_per_call
    requests = [add(number, key=key) for number, key in enumerate(KEYS, start=1)]
    for start in range(0, len(requests), size):
        answers = await store.apply(requests[start : start + size])
        assert [getattr(answer, "value", answer) for answer in answers] == [0] * len(answers)
