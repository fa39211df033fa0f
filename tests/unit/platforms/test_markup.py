"""Markdown and HTML, read and cut."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.platforms._markup import Run, html, markdown, pieces, to_html
from legato.platforms._text import clean, units
from legato.testing.fake_telegram import entities

SIGNS = st.text(st.sampled_from('ab *_`[]()\\<>&"\n.https://👍{}!'), max_size=80)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**bold** and *it*", "<b>bold</b> and <i>it</i>"),
        ("***both***", "<b><i>both</i></b>"),
        ("**b *i* b**", "<b>b <i>i</i> b</b>"),
        ("这是**粗体**文字", "这是<b>粗体</b>文字"),
        ("(*x*)", "(<i>x</i>)"),
        ("`a*b* <x>`", "<code>a*b* &lt;x&gt;</code>"),
        ("```\nx = 1\n```", "<pre>x = 1</pre>"),
        ("```python\nx = 1\n```", '<pre><code class="language-python">x = 1</code></pre>'),
        (
            "[a **b**](https://x.y/(z)?a=1&b=2)",
            '<a href="https://x.y/(z)?a=1&amp;b=2">a <b>b</b></a>',
        ),
        ("[me](tg://user?id=7)", '<a href="tg://user?id=7">me</a>'),
    ],
)
def test_a_pair_of_signs_is_markup(text: str, shown: str) -> None:
    assert to_html(markdown(text)) == shown


@pytest.mark.parametrize(
    "text",
    ["2 * 3 * 4", "2*3*4", "2**3**4", "*a", "a**", "** a **", "****", "`", "``", "` `", "```", "[a]", "[a](b)",
     "[x](javascript:alert)", "[](https://x)", "a_b_c", "snake_case", "a\\", "#tag", "- item", "*a\\*"],
)  # fmt: skip
def test_a_sign_without_its_pair_is_itself(text: str) -> None:
    assert to_html(markdown(text)) == text.replace("\\*", "*")


def test_a_backslash_makes_a_sign_literal() -> None:
    assert to_html(markdown(r"\*x\* \`y\` \[z](https://q) \\ \n")) == r"*x* `y` [z](https://q) \ \n"


@given(SIGNS)
def test_telegram_reads_from_our_html_just_the_text_whatever_a_user_wrote(text: str) -> None:
    runs = markdown(text)

    visible, _ = entities.parse(to_html(runs), "HTML")
    assert visible == "".join(part for part, _ in runs).strip()


@given(SIGNS, st.integers(4, 30), st.integers(4, 30))
def test_every_piece_is_whole_markup_and_together_they_are_the_text(
    text: str, first: int, rest: int
) -> None:
    runs = markdown(text)

    found = [entities.parse(piece, "HTML")[0] for piece in pieces(runs, first, rest)]
    assert all(units(part) <= max(first, rest) for part in found)
    joined = "".join(part for part, _ in runs)
    assert "".join("".join(found).split()) == "".join(joined.split())


@given(
    st.lists(st.sampled_from(["<b>", "</b>", "<i>", "</i>", "&lt;", "&#128077;", "x ", "<", "&"]))
)
def test_html_is_read_as_telegram_reads_it_where_it_does(parts: list[str]) -> None:
    text = "".join(parts)
    try:
        visible, found = entities.parse(text, "HTML")
    except entities.Unparsable:
        return
    runs = html(text)
    assert "".join(part for part, _ in runs).strip() == visible
    again, ours = entities.parse(to_html(runs), "HTML")
    assert again == visible
    assert kinds(ours) == kinds(found)


def kinds(found: list[dict[str, Any]]) -> set[tuple[int, str]]:
    """Which signs are of which kind: two bold ones beside each other may be one entity or two."""
    return {
        (sign, entity["type"])
        for entity in found
        for sign in range(entity["offset"], entity["offset"] + entity["length"])
    }


def test_a_tag_that_is_open_at_a_cut_is_closed_and_opened_again() -> None:
    runs = html('<b>one <a href="https://x">two three</a></b> four')

    assert pieces(runs, 8, 8) == [
        '<b>one <a href="https://x">two </a></b>',
        '<b><a href="https://x">three</a></b> ',
        "four",
    ]


@pytest.mark.parametrize(
    "entity", ["&#0;", "&#xD800;", "&#9999999;", "&bogus;", "&amp;lt;", "&#x26;"]
)
def test_an_odd_entity_never_breaks_the_html(entity: str) -> None:
    shown = to_html(html(entity))

    clean(shown).encode()
    assert re.fullmatch(r"(&(amp|lt|gt|quot);|[^<>&])*", shown)


@pytest.mark.parametrize(
    "unit", ["**a ", "*a*", "[a](https://x", "`", "```", "*a **b ", "[a", "*a**b", "\\"]
)
def test_a_text_of_nothing_but_signs_is_read_in_one_pass(unit: str) -> None:
    text = unit * 20_000  # quadratic work would take minutes

    runs: list[Run] = markdown(text)
    assert sum(len(part) for part, _ in runs) <= len(text)
