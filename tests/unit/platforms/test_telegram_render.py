"""From outgoing things to calls of the Bot API."""

import pytest

from legato.errors import Misuse, Unsupported
from legato.model.events import Address
from legato.model.messages import (
    Button,
    Delete,
    Edit,
    Media,
    Message,
    Outgoing,
    Pin,
    Raw,
    React,
    Send,
    Typing,
)
from legato.model.records import Call
from legato.platforms.telegram import Telegram

ANN = Address("telegram", "4200", "5001", "5001")
TOPIC = Address("telegram", "4200", "-1001222", "5002", "55")


def render(out: Outgoing | Message, place: Address = ANN) -> list[Call]:
    out = Send(out) if isinstance(out, Message) else out
    return Telegram("4200:abcdef").render(out, place)


def one(out: Outgoing | Message, place: Address = ANN) -> Call:
    (call,) = render(out, place)
    return call


def test_a_text_is_one_call_whose_answer_is_the_message() -> None:
    assert one(Message("Hello")) == Call(
        "sendMessage", {"chat_id": 5001, "text": "Hello"}, result="message"
    )


def test_a_topic_is_answered_in_the_topic() -> None:
    for out in (Message("x"), Typing(), Message(media=Media(id="a")), Raw("send_dice", {})):
        params = one(out, TOPIC).params
        assert (params["chat_id"], params["message_thread_id"]) == (-1001222, 55)


def test_a_channel_is_named_by_its_handle() -> None:
    assert one(Message("x"), Address("telegram", "4200", "@news")).params["chat_id"] == "@news"


def test_markup_is_our_own_html() -> None:
    params = one(Message("**1 < 2** & <b>", format="markdown")).params

    assert params["text"] == "<b>1 &lt; 2</b> &amp; &lt;b&gt;"
    assert params["parse_mode"] == "HTML"
    assert one(Message("<u>x</u>", format="html")).params["text"] == "<u>x</u>"
    with pytest.raises(Misuse, match="format='rst'"):
        render(Message("x", format="rst"))


def test_silence_and_no_preview_are_options() -> None:
    params = one(Message("x", silent=True, preview=False)).params

    assert params["disable_notification"] is True
    assert params["link_preview_options"] == {"is_disabled": True}


def test_a_long_text_becomes_messages_and_the_last_has_the_buttons_and_the_handle() -> None:
    text = "\n\n".join("word " * 100 for _ in range(20))
    calls = render(Message(text, buttons=((Button("Ok"),),), reply_to="9"))

    assert len(calls) == 3
    assert "".join(str(call.params["text"]) for call in calls) == text
    assert [bool(call.result) for call in calls] == [False, False, True]
    assert ["reply_markup" in call.params for call in calls] == [False, False, True]
    assert ["reply_parameters" in call.params for call in calls] == [True, False, False]


def test_a_long_caption_goes_on_in_messages() -> None:
    text = "x" * 6000
    calls = render(Message(text, media=Media("photo", id="AgAC"), buttons=((Button("Ok"),),)))

    assert [call.method for call in calls] == ["sendPhoto", "sendMessage", "sendMessage"]
    assert [len(str(c.params.get("caption") or c.params["text"])) for c in calls] == [
        1024,
        4096,
        880,
    ]
    assert "reply_markup" in calls[-1].params


def test_what_has_no_caption_is_followed_by_its_text() -> None:
    calls = render(Message("Hi", media=Media("sticker", id="CAAC")))
    assert [(c.method, c.params.get("text"), c.result) for c in calls] == [
        ("sendSticker", None, ""),
        ("sendMessage", "Hi", "message"),
    ]


@pytest.mark.parametrize("kind", ["photo", "document", "voice", "audio", "video", "animation"])
def test_a_medium_comes_by_id_by_address_or_from_a_local_file(kind: str) -> None:
    caption = "**see**"
    by_id = one(Message(caption, "markdown", media=Media(kind, id="ID")))
    by_url = one(Message(media=Media(kind, url="https://x.y/z")))
    local = one(Message(media=Media(kind, path="/tmp/a/b.bin")))
    named = one(Message(media=Media(kind, path="b.bin", name="cat.jpg")))

    assert by_id.params == {
        "chat_id": 5001,
        kind: "ID",
        "caption": "<b>see</b>",
        "parse_mode": "HTML",
    }
    assert by_url.params == {"chat_id": 5001, kind: "https://x.y/z"}
    assert (local.params, local.files) == ({"chat_id": 5001}, ((kind, "/tmp/a/b.bin", "b.bin"),))
    assert named.files == ((kind, "b.bin", "cat.jpg"),)


@pytest.mark.parametrize(
    ("message", "cure"),
    [
        (Message(""), "needs a text"),
        (Message(" \n "), "needs a text"),
        (Message(media=Media("hologram", id="x")), "Telegram sends"),
        (Message(media=Media("photo")), "exactly one of"),
        (Message(media=Media("photo", id="x", url="https://y")), "exactly one of"),
        (Message("x", buttons=((Button("A", data="é" * 33),),)), "66 bytes, Telegram allows 64"),
        (Message("x", buttons=((Button("Send", request="contact"),),)), "keyboard='reply'"),
        (
            Message("x", buttons=((Button("Send", request="blood"),),), keyboard="reply"),
            "'contact'",
        ),
        (Message("x", buttons=((Button(" "),),)), "needs a text to show"),
    ],
)
def test_what_telegram_would_refuse_is_refused_here_with_the_cure(
    message: Message, cure: str
) -> None:
    with pytest.raises(Misuse, match=cure):
        render(message)


def test_inline_buttons_carry_data_or_open_a_page() -> None:
    rows = (
        (Button("Yes", data="y"), Button("No")),
        (Button("Page", url="https://x.y"), Button("é" * 32)),
    )
    assert one(Message("?", buttons=rows)).params["reply_markup"] == {
        "inline_keyboard": [
            [{"text": "Yes", "callback_data": "y"}, {"text": "No", "callback_data": "No"}],
            [
                {"text": "Page", "url": "https://x.y"},
                {"text": "é" * 32, "callback_data": "é" * 32},
            ],
        ]
    }


def test_a_reply_keyboard_can_ask_for_contact_and_location_and_be_removed() -> None:
    rows = (
        (Button("Home"),),
        (Button("Me", request="contact"), Button("Here", request="location")),
    )

    assert one(Message("?", buttons=rows, keyboard="reply")).params["reply_markup"] == {
        "keyboard": [
            [{"text": "Home"}],
            [
                {"text": "Me", "request_contact": True},
                {"text": "Here", "request_location": True},
            ],
        ],
        "resize_keyboard": True,
        "one_time_keyboard": True,
    }
    removed = one(Message("ok", keyboard="remove")).params["reply_markup"]
    assert removed == {"remove_keyboard": True}
    assert "reply_markup" not in one(Message("ok", keyboard="reply")).params


def test_a_reply_to_one_of_ours_waits_for_its_id() -> None:
    call = one(Message("x", reply_to="ref:0:1"))

    assert (call.target, call.fill) == ("ref:0:1", "reply_parameters.message_id")
    assert call.params["reply_parameters"] == {"allow_sending_without_reply": True}
    other = one(Message("x", reply_to="17"))
    assert other.target == ""
    assert other.params["reply_parameters"] == {
        "allow_sending_without_reply": True,
        "message_id": 17,
    }


@pytest.mark.parametrize(
    ("out", "method", "params"),
    [
        (Edit("17", Message("New")), "editMessageText", {"text": "New"}),
        (
            Edit("17", Message("New", buttons=((Button("A"),),), preview=False)),
            "editMessageText",
            {
                "text": "New",
                "reply_markup": {"inline_keyboard": [[{"text": "A", "callback_data": "A"}]]},
                "link_preview_options": {"is_disabled": True},
            },
        ),
        (Edit("17", Message()), "editMessageReplyMarkup", {}),
        (
            Edit("17", Message("**c**", "markdown", media=Media("photo", id="AgAC"))),
            "editMessageMedia",
            {
                "media": {
                    "type": "photo",
                    "media": "AgAC",
                    "caption": "<b>c</b>",
                    "parse_mode": "HTML",
                }
            },
        ),
        (Delete("17"), "deleteMessage", {}),
        (React("17", "👍"), "setMessageReaction", {"reaction": [{"type": "emoji", "emoji": "👍"}]}),
        (
            React("17", "5368324170671202286"),
            "setMessageReaction",
            {"reaction": [{"type": "custom_emoji", "custom_emoji_id": "5368324170671202286"}]},
        ),
        (React("17", ""), "setMessageReaction", {"reaction": []}),
        (Pin("17"), "pinChatMessage", {}),
        (Pin("17", pinned=False), "unpinChatMessage", {}),
    ],
)
def test_what_is_done_to_a_message_is_one_idempotent_call(
    out: Outgoing, method: str, params: dict[str, object]
) -> None:
    expected = {"chat_id": 5001, "message_id": 17} | params
    assert one(out) == Call(method, expected, idempotent=True)


def test_what_is_done_to_one_of_ours_waits_for_its_id() -> None:
    for out in (
        Edit("ref:1:0", Message("x")),
        Delete("ref:1:0"),
        React("ref:1:0", ""),
        Pin("ref:1:0"),
    ):
        call = one(out)
        assert (call.target, call.fill, "message_id" in call.params) == (
            "ref:1:0",
            "message_id",
            False,
        )


def test_a_local_file_in_an_edit_is_uploaded_with_it() -> None:
    call = one(Edit("ref:1:0", Message(media=Media("video", path="/tmp/a.mp4"))))

    assert call.params["media"] == {"type": "video", "media": "attach://file"}
    assert call.files == (("file", "/tmp/a.mp4", "a.mp4"),)
    assert (call.target, call.fill) == ("ref:1:0", "message_id")


@pytest.mark.parametrize(
    "out",
    [
        Edit("17", Message("x" * 4097)),
        Edit("17", Message("x" * 1025, media=Media("photo", id="a"))),
        Edit("17", Message(media=Media("voice", id="a"))),
    ],
)
def test_an_edit_that_cannot_be_says_so(out: Edit) -> None:
    with pytest.raises(Unsupported):
        render(out)


@pytest.mark.parametrize(
    ("method", "params", "rendered", "chat_id"),
    [
        ("send_invoice", {"title": "T"}, "sendInvoice", 5001),
        ("sendInvoice", {"chat_id": 9}, "sendInvoice", 9),
        ("ban_chat_member", {"user_id": 3}, "banChatMember", 5001),
        ("edit_message_text", {"inline_message_id": "x"}, "editMessageText", None),
        ("send_gift", {"user_id": 3}, "sendGift", None),
        ("get_me", {}, "getMe", None),
        ("set_chat_menu_button", {}, "setChatMenuButton", None),
        ("answer_callback_query", {"callback_query_id": "1"}, "answerCallbackQuery", None),
    ],
)
def test_any_method_can_be_called_and_gets_the_chat_where_it_takes_one(
    method: str, params: dict[str, object], rendered: str, chat_id: int | None
) -> None:
    call = one(Raw(method, params))

    assert call.method == rendered
    assert call.params.get("chat_id") == chat_id
    assert params.items() <= call.params.items()


@pytest.mark.parametrize(
    "method", ["", "../getMe", "send message", "sendMessage?x=1", "getMé", "x" * 65]
)
def test_what_cannot_be_a_method_never_gets_into_an_address(method: str) -> None:
    with pytest.raises(Misuse, match="cannot be a method"):
        render(Raw(method, {}))
