"""From outgoing things to lines of a chat room."""

import pytest

from legato.errors import Unsupported
from legato.model.events import Address
from legato.model.messages import (
    Button,
    Delete,
    Edit,
    Media,
    Message,
    Pin,
    Raw,
    React,
    Send,
    Typing,
)
from legato.model.records import Call
from legato.platforms._text import units
from legato.platforms.twitch.render import GUARD, LONGEST, render

PLACE = Address("twitch", "4200", "777", "5001")


def said(message: Message) -> list[str]:
    calls = render(Send(message), PLACE)
    assert {call.method for call in calls} == {"say"}
    assert {call.params["channel"] for call in calls} == {"777"}
    return [str(call.params["text"]) for call in calls]


def test_a_text_is_one_line_to_the_channel() -> None:
    assert render(Send(Message("First number?")), PLACE) == [
        Call("say", {"channel": "777", "text": "First number?"}, result="message")
    ]


def test_a_viewer_is_addressed() -> None:
    assert said(Message("Your turn", mention="@ann")) == ["@ann Your turn"]


def test_a_reply_needs_no_address() -> None:
    (call,) = render(Send(Message("Yes", mention="@ann", reply_to="p1")), PLACE)
    assert call.params == {"channel": "777", "text": "Yes", "reply_to": "p1"}


def test_a_reply_to_a_message_of_ours_is_filled_in_later() -> None:
    (call,) = render(Send(Message("Yes", reply_to="ref:0:1")), PLACE)
    assert (call.target, call.fill) == ("ref:0:1", "reply_to")


def test_lines_become_spaces_and_buttons_numbers() -> None:
    rows = ((Button("Small", data="s"), Button("Large")), (Button("Menu", url="https://x.org"),))
    assert said(Message("Which\n\nsize?", buttons=rows)) == [
        "Which size? 1) Small 2) Large Menu: https://x.org"
    ]
    share = ((Button("Share", request="contact"), Button("No")),)
    assert said(Message("Phone?", buttons=share)) == ["Phone? 1) No"]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message("**b** *i* `c`", "markdown"), "b i c"),
        (Message("[t](https://x.org/?a=1&b=2)", "markdown"), "t (https://x.org/?a=1&b=2)"),
        (Message("[https://x.org](https://x.org)", "markdown"), "https://x.org"),
        (Message('<b>b</b> <a href="https://x.org">t</a> &lt;', "html"), "b t (https://x.org) <"),
        (Message("**b** <b>", ""), "**b** <b>"),
        (Message("A cat", media=Media("photo", url="https://x.org/c.jpg")),
         "A cat https://x.org/c.jpg"),
        (Message(media=Media("photo", url="https://x.org/c.jpg")), "https://x.org/c.jpg"),
        (Message("Report", media=Media("document", path="r.pdf")), "Report"),
    ],
)  # fmt: skip
def test_everything_becomes_text(message: Message, text: str) -> None:
    assert said(message) == [text]


@pytest.mark.parametrize(
    "message",
    [Message(media=Media("photo", path="cat.jpg")), Message("\x00\x01 \n"), Message(" ")],
)
def test_what_has_no_text_is_not_supported(message: Message) -> None:
    with pytest.raises(Unsupported, match="text"):
        render(Send(message), PLACE)
    with pytest.raises(Unsupported, match="text"):
        render(Edit("ref:0:1", message), PLACE)


@pytest.mark.parametrize("text", ["/ban ann", ".ban ann", " /ban ann", "\x00/ban", "\n/me x"])
def test_no_text_is_a_command_of_the_chat(text: str) -> None:
    (shown,) = said(Message(text))
    assert shown.startswith(GUARD)
    assert said(Message(text, mention="@ann"))[0].startswith("@ann ")


@pytest.mark.parametrize("sign", ["\r\n", "\0", "\x01", "\x7f", "\x85", "\u2028", "\t", "\x1b"])
def test_no_control_character_goes_out(sign: str) -> None:
    assert said(Message(f"{sign}ACTION a{sign}b{sign}")) == ["ACTION a b"]


def test_signs_that_join_others_stay() -> None:
    family = "👨\u200d👩\u200d👧 नि \U000e0067"
    assert said(Message(family)) == [family]


def test_a_long_text_is_cut_between_words_and_each_part_addressed() -> None:
    words = " ".join(f"word{n}" for n in range(400))
    parts = said(Message(words, mention="@ann"))
    assert all(units(part) <= LONGEST for part in parts)
    assert all(part.startswith("@ann ") for part in parts)
    assert " ".join(part.removeprefix("@ann ") for part in parts) == words


def test_every_part_of_a_reply_is_one_and_the_handle_is_the_last() -> None:
    calls = render(Send(Message("x " * 600, reply_to="ref:0:1")), PLACE)
    assert len(calls) == 3
    assert {(call.target, call.fill, call.result) for call in calls} == {
        ("ref:0:1", "reply_to", "message")
    }


def test_a_mention_as_long_as_a_message_still_leaves_room() -> None:
    assert all(units(part) <= LONGEST for part in said(Message("x" * 2000, mention="@" + "a" * 50)))


def test_an_edit_is_said_again() -> None:
    assert render(Edit("ref:0:1", Message("Better", mention="@ann")), PLACE) == [
        Call("say", {"channel": "777", "text": "@ann * Better"}, result="message")
    ]


def test_a_deletion_names_the_message() -> None:
    assert render(Delete("m1"), PLACE) == [
        Call("delete", {"channel": "777", "message_id": "m1"}, idempotent=True)
    ]
    (call,) = render(Delete("ref:0:1"), PLACE)
    assert (call.target, call.fill, call.idempotent) == ("ref:0:1", "message_id", True)


def test_a_typing_sign_is_nothing_and_reactions_and_pins_are_not_supported() -> None:
    assert render(Typing(), PLACE) == []
    for out in (React("m1", "👍"), Pin("m1")):
        with pytest.raises(Unsupported):
            render(out, PLACE)


def test_any_other_method_is_one_of_helix() -> None:
    assert render(Raw("get_chatters", {"first": 10}), PLACE) == [
        Call("get_chatters", {"first": 10})
    ]
    (call,) = render(Raw("send_chat_message", {"message": "hi"}), PLACE)
    assert call.result == "message"
