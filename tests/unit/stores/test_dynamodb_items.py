"""Texts and long values as items."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.errors import StoreError
from legato.stores.dynamodb import items
from legato.stores.dynamodb.clock import Numbers, is_long, item_id, number_of, slot_of_id
from legato.stores.dynamodb.items import kept_key, key_text, parts_of, text, untext

ANY = st.text(st.characters(exclude_categories=()), max_size=6) | st.text(
    "a\x00\x01\ud7fe\ud7ff\ud800\udbff\udc00\udfff\ue000\U0010ffff", max_size=4
)


@given(ANY, ANY)
def test_any_text_has_utf8_and_keeps_its_order(one: str, other: str) -> None:
    """DynamoDB sorts by the bytes of UTF-8, we by code points."""
    assert untext(text(one)) == one
    assert (text(one).encode() < text(other).encode()) == (one < other)
    assert (text(one) == text(other)) == (one == other)


def test_a_proper_text_stands_as_it_is() -> None:
    """An operator reads keys in the console."""
    assert text("telegram:7:é\0\U0001f600") == "telegram:7:é\0\U0001f600"


@given(ANY, ANY, ANY, ANY)
def test_two_values_never_share_a_key(space: str, name: str, space2: str, name2: str) -> None:
    same = kept_key(space, name) == kept_key(space2, name2)
    assert same == ((space, name) == (space2, name2))


def test_what_is_too_long_for_a_key_is_refused() -> None:
    assert key_text("é" * 450, "an id") == "é" * 450
    with pytest.raises(StoreError, match="an id of more than 900 bytes"):
        key_text("é" * 451, "an id")


@given(st.integers(0, 4), st.integers(-1, 1))
def test_long_values_go_on_in_further_items(parts: int, more: int) -> None:
    size = max(0, parts * items.PART + more)
    value = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    own, others = parts_of("pk", "sk", value, "tx")
    assert own["body"]["B"] + b"".join(part["part"]["B"] for part in others) == value
    assert max(len(part["part"]["B"]) for part in others or [{"part": {"B": b""}}]) <= items.PART
    assert (
        int(own.get("parts", {"N": "0"})["N"]) == len(others) == max(0, -(-size // items.PART) - 1)
    )
    keys = [part["sk"]["S"] for part in others]
    assert keys == sorted(keys)
    assert all("sk" < key < "sk~" for key in keys)


@given(st.integers(0, 2**51 - 1), st.integers(0, 1023), st.booleans())
def test_an_id_says_where_its_item_is(number: int, slot: int, long: bool) -> None:
    """And grows with its number, whatever else it says."""
    found = item_id(number, slot, long=long)
    assert (number_of(found), slot_of_id(found), is_long(found)) == (number, slot, long)
    assert 0 <= found < 2**63
    assert found < item_id(number + 1, 0, long=False)


def test_numbers_grow_though_the_clock_stands_still_or_goes_back() -> None:
    numbers = Numbers()
    first = [numbers.next() for _ in range(1000)]
    assert first == sorted(set(first))
    numbers.push(first[-1] + 10**9)
    assert numbers.next() > first[-1] + 10**9
    numbers.push(5)
    assert numbers.next() > first[-1] + 10**9
