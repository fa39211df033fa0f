"""Where a long text is cut."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.platforms._text import clean, cuts, split, units

FAMILY = "👨‍👩‍👧‍👦"
TEXTS = st.text(
    st.sampled_from(f"ab .!?\n\t👍{FAMILY}🇱🇻e\u0301\u1112\u1161한汉。字")
    | st.characters(codec="utf-8"),
    max_size=400,
)


@given(TEXTS, st.integers(4, 40), st.integers(4, 40))
def test_the_pieces_are_the_text_and_each_fits(text: str, first: int, rest: int) -> None:
    found = cuts(text, first, rest)

    end = 0
    for n, (start, stop) in enumerate(found):
        assert not text[end:start].strip(), "only white space is left out"
        assert 0 < units(text[start:stop]) <= max(first if n == 0 else rest, 2)
        assert text[start:stop].strip()
        end = stop
    assert not text[end:].strip()


@given(st.text(st.characters(), max_size=50))
def test_a_clean_text_can_be_encoded(text: str) -> None:
    cleaned = clean(text)

    cleaned.encode()
    assert cleaned == text or any(unicodedata.category(c) == "Cs" for c in text)


def test_two_halves_of_a_character_become_one_and_a_lone_half_is_replaced() -> None:
    assert clean("\ud83d\udc4d") == "👍"
    assert clean("a\ud83db") == "a\ufffdb"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (
            "One. Two.\n\nThree. Four.\n\nFive. Six.",
            ["One. Two.\n\n", "Three. Four.\n\n", "Five. Six."],
        ),
        ("first line\nsecond line", ["first line\n", "second line"]),
        ("It is so. And that is it.", ["It is so. ", "And that is it."]),
        ("He said “no!” Then he went", ["He said “no!” ", "Then he went"]),
        ("some words without an end", ["some words ", "without an end"]),
        ("exactly sixteen! more", ["exactly sixteen!", " more"]),
        ("一二三四五六七八九。十一二三四五六七", ["一二三四五六七八九。", "十一二三四五六七"]),
        ("x" * 20, ["x" * 16, "xxxx"]),
        ("a" + " " * 40 + "b", ["a" + " " * 15, " " * 9 + "b"]),
    ],
)
def test_a_text_is_cut_where_a_reader_would(text: str, pieces: list[str]) -> None:
    assert split(text, 16, 16) == pieces


@pytest.mark.parametrize(
    "sign",
    [FAMILY, "👍🏽", "🇱🇻", "e\u0301", "❤\ufe0f", "1\ufe0f\u20e3", "한".encode().decode(), "\u1112\u1161\u11ab",
     "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"],
)  # fmt: skip
def test_what_a_reader_sees_as_one_sign_stays_whole(sign: str) -> None:
    for limit in range(units(sign), units(sign) * 2 + 2):
        for piece in split(sign * 30, limit, limit):
            assert piece.replace(sign, "") == ""


def test_an_absurd_stack_of_accents_is_cut_all_the_same() -> None:
    text = "e" + "\u0301" * 10_000

    assert "".join(split(text, 100, 100)) == text
    assert all(len(piece) == 100 for piece in split(text, 100, 100)[:-1])
