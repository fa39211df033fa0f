"""How the fake Telegram reads texts, keyboards and forms."""

import pytest

from legato.testing.fake_telegram import entities
from legato.testing.fake_telegram.forms import Upload, multipart, parameters
from legato.testing.fake_telegram.texts import markup, reaction, read_text
from legato.testing.fake_telegram.world import ApiError, Json


def spans(text: str, mode: str) -> tuple[str, list[tuple[object, ...]]]:
    visible, found = entities.parse(text, mode)
    return visible, [tuple(entity.values()) for entity in found]


@pytest.mark.parametrize(
    ("mode", "text", "visible", "expected"),
    [
        ("", "<b>&amp;", "<b>&amp;", []),
        ("HTML", "a <b>b <i>c</i></b>", "a b c", [("bold", 2, 3), ("italic", 4, 1)]),
        ("html", "<strong>👍</strong>x", "👍x", [("bold", 0, 2)]),
        ("HTML", '<a href="https://x?a=1&amp;b">t</a>', "t", [("text_link", 0, "https://x?a=1&b", 1)]),
        ("HTML", '<span class="tg-spoiler">x</span>', "x", [("spoiler", 0, 1)]),
        ("HTML", '<tg-emoji emoji-id="5">👍</tg-emoji>', "👍", [("custom_emoji", 0, "5", 2)]),
        ("HTML", '<pre><code class="language-py">x</code></pre>', "x", [("pre", 0, 1, "py")]),
        ("HTML", "1 &lt; 2 &#x26; 3 &bogus; & 4", "1 < 2 & 3 &bogus; & 4", []),
        ("HTML", "  <b> x </b>  ", "x", [("bold", 0, 1)]),
        ("HTML", "<b> </b>x", "x", []),
        ("MarkdownV2", "*b* _i_ __u__ ~s~ ||h||", "b i u s h",
         [("bold", 0, 1), ("italic", 2, 1), ("underline", 4, 1), ("strikethrough", 6, 1), ("spoiler", 8, 1)]),
        ("MarkdownV2", "*b _i_*", "b i", [("italic", 2, 1), ("bold", 0, 3)]),
        ("MarkdownV2", r"1\.5 \* \_", "1.5 * _", []),
        ("MarkdownV2", "`a_b*` ```\nc```", "a_b* \nc", [("code", 0, 4), ("pre", 5, 2)]),
        ("MarkdownV2", "[t](https://x)", "t", [("text_link", 0, 1, "https://x")]),
        ("MarkdownV2", "> quoted", "> quoted", []),
        ("Markdown", "*b* _i_ `c` a.b!", "b i c a.b!", [("bold", 0, 1), ("italic", 2, 1), ("code", 4, 1)]),
    ],
)  # fmt: skip
def test_each_markup_is_read(
    mode: str, text: str, visible: str, expected: list[tuple[object, ...]]
) -> None:
    assert spans(text, mode) == (visible, expected)


@pytest.mark.parametrize(
    ("mode", "text", "said"),
    [
        ("HTML", "<b", "Unclosed start tag at byte offset 0"),
        ("HTML", "é<b>", 'Can\'t find end tag corresponding to start tag "b"'),
        ("HTML", "é</b>", "Unexpected end tag at byte offset 2"),
        ("HTML", "<b></i>", 'expected "</b>", found "</i>"'),
        ("HTML", "<script>", 'Unsupported start tag "script" at byte offset 0'),
        ("HTML", "<span>x</span>", 'must have class "tg-spoiler"'),
        ("MarkdownV2", "*a _b*_", "Can't find end of Italic entity at byte offset 3"),
        ("MarkdownV2", "a_b", "Can't find end of Italic entity at byte offset 1"),
        ("MarkdownV2", "[a]", "Can't find end of a URL"),
        ("MarkdownV2", "a-b", "Character '-' is reserved"),
        ("Markdown", "a_b", "Can't find end of Italic entity"),
        ("BBCode", "x", "unsupported parse_mode"),
    ],
)
def test_broken_markup_is_refused_in_telegrams_words(mode: str, text: str, said: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_text({"text": text, "parse_mode": mode}, "text", "entities", 4096)
    assert said in caught.value.description
    assert caught.value.description.startswith("Bad Request: can't parse entities: ")


def test_entities_can_be_given_instead_and_follow_when_the_text_is_trimmed() -> None:
    bold: Json = {"type": "bold", "offset": 2, "length": 9}

    assert read_text({"text": "  ab ", "entities": [bold]}, "text", "entities", 4096) == (
        "ab",
        [{"type": "bold", "offset": 0, "length": 2}],
    )
    assert read_text({"text": "a\x00b\tc\r\n"}, "text", "entities", 9)[0] == "a b\tc"
    with pytest.raises(ApiError, match="must be a String"):
        read_text({"text": 5}, "text", "entities", 9)


@pytest.mark.parametrize(
    "value",
    [
        "x",
        [],
        {"bogus": True},
        {"inline_keyboard": "x"},
        {"inline_keyboard": [["x"]]},
        {"inline_keyboard": [[{"callback_data": "x"}]]},
        {"inline_keyboard": [[{"text": " ", "callback_data": "x"}]]},
        {"inline_keyboard": [[{"text": "x"}]]},
        {"inline_keyboard": [[{"text": "x", "callback_data": ""}]]},
        {"inline_keyboard": [[{"text": "x", "url": "nowhere"}]]},
        {"inline_keyboard": [[{"text": "x", "callback_data": "x"}] * 101]},
        {"keyboard": [[5]]},
        {"keyboard": [[{"request_contact": True}]]},
    ],
)
def test_a_keyboard_that_telegram_would_not_show_is_refused(value: object) -> None:
    with pytest.raises(ApiError):
        markup(value)


def test_a_keyboard_of_plain_texts_is_one_of_buttons() -> None:
    assert markup({"keyboard": [["A"]]}) == {"keyboard": [[{"text": "A"}]]}
    assert markup({"force_reply": True}) == {"force_reply": True}
    assert markup({"inline_keyboard": [[]]}) == markup(None) == {}


def test_reactions_are_those_that_telegram_has() -> None:
    assert reaction([{"type": "emoji", "emoji": "❤"}]) == ["❤"]
    assert reaction([{"type": "custom_emoji", "custom_emoji_id": "5"}]) == ["5"]
    assert reaction(None) == reaction([]) == []
    for value in ("👍", [{"type": "emoji", "emoji": "🦷"}], ["👍"]):
        with pytest.raises(ApiError):
            reaction(value)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"[]"),
        ("application/json", b"{"),
        ("multipart/form-data", b"x"),
        ("application/x-www-form-urlencoded", b"reply_markup=%7B"),
        ("application/x-www-form-urlencoded", b"\xff"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # whatever a parser says
        parameters("", kind, body)


def test_a_form_has_the_types_of_json() -> None:
    body = b"chat_id=-5&disable_notification=true&reply_markup=%7B%22a%22%3A1%7D&text=7"
    assert parameters("limit=3", "application/x-www-form-urlencoded", body) == (
        {
            "limit": 3,
            "chat_id": -5,
            "disable_notification": True,
            "reply_markup": {"a": 1},
            "text": "7",
        },
        {},
    )


def test_the_parts_of_a_multipart_body_keep_their_bytes() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xc3\xa9\r\n'
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="x;y.bin"\r\n'
        b"Content-Type: image/png\r\n\r\n\r\n--\r\n\x00\r\n--b--\r\n"
    )
    fields, files = multipart("multipart/form-data; boundary=b", body)
    assert fields == [("a", "é")]
    assert files == {"f": Upload("x;y.bin", b"\r\n--\r\n\x00")}
