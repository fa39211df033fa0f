"""From Telegram's updates to events."""

from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.errors import Malformed
from legato.model.events import (
    Address,
    ButtonPressed,
    Contact,
    Event,
    File,
    Location,
    MemberJoined,
    MemberLeft,
    MessageEdited,
    MessageReceived,
    Photo,
    ReactionChanged,
    User,
)
from legato.model.records import Call
from legato.platforms.telegram import Telegram
from legato.testing.clock import START_MS, FakeClock

FIXTURES = Path(__file__).parents[2] / "fixtures" / "telegram"
ANN = User("5001", "Ann Lee", "ann_lee", "en")


def bot(username: str = "shop_bot", **options: tuple[str, ...]) -> Telegram:
    telegram = Telegram("4200:abcdef", clock=FakeClock(), **options)  # type: ignore[arg-type]
    telegram._reader.username = username
    return telegram


def events(name: str) -> tuple[Event, ...]:
    return bot().parse((FIXTURES / f"{name}.json").read_bytes()).events


def message(name: str) -> MessageReceived:
    (event,) = events(name)
    assert isinstance(event, MessageReceived)
    return event


def said(text: str, telegram: Telegram | None = None) -> MessageReceived:
    """The event of a private message."""
    update = {
        "update_id": 1,
        "message": {"message_id": 1, "date": 1, "chat": {"id": 7, "type": "private"}, "text": text},
    }
    (event,) = (telegram or bot()).parse(msgspec.json.encode(update)).events
    assert isinstance(event, MessageReceived)
    return event


def test_a_private_text_tells_who_said_what_where_and_when() -> None:
    event = message("text")

    assert event == MessageReceived(
        id="telegram:4200:731000101",
        place=Address("telegram", "4200", "5001", "5001"),
        user=ANN,
        at_ms=1_795_900_201_000,
        text="Hello, wörld 👋",
        message_id="201",
        private=True,
    )


@pytest.mark.parametrize(
    ("text", "command", "args"),
    [
        ("/start", "start", ""),
        ("/START", "start", ""),
        ("/start@shop_bot", "start", ""),
        ("/start@SHOP_BOT  ref_1 ", "start", "ref_1"),
        ("/start@other_bot x", "", ""),
        ("/buy two\napples", "buy", "two\napples"),
        ("/buy\ntwo", "buy", "two"),
        ("!dice 2d6", "dice", "2d6"),
        ("/привет мир", "привет", "мир"),
        ("/123", "123", ""),
        ("/usr/bin/env", "", ""),
        ("/", "", ""),
        ("/ start", "", ""),
        ("!", "", ""),
        ("!!!", "", ""),
        ("//start", "", ""),
        (" /start", "", ""),
        ("start /now", "", ""),
        ("/" + "x" * 65, "", ""),
        ("/start@", "", ""),
        ("/start@shop_bot@shop_bot", "", ""),
        ("\x00/start", "", ""),
    ],
)
def test_a_command_is_a_prefix_a_name_and_arguments(text: str, command: str, args: str) -> None:
    event = said(text)
    assert (event.command, event.args, event.text) == (command, args, text)


@pytest.mark.parametrize(
    ("text", "command"), [("/go@any_bot", "go"), ("/go@AnyBot", "go"), ("/go@somebody", "")]
)
def test_until_the_bots_name_is_known_any_bots_name_will_do(text: str, command: str) -> None:
    assert said(text, bot(username="")).command == command


def test_the_prefixes_are_a_choice() -> None:
    assert said("?go", bot(prefixes=("?", ""))).command == "go"
    assert said("/go", bot(prefixes=("?", ""))).command == ""


def test_a_caption_can_be_a_command() -> None:
    assert message("video").command == "watch"


@pytest.mark.parametrize(
    ("name", "attachment"),
    [
        ("photo", Photo("AgAClarge", 1280, 960, 98210)),
        ("document", File("BQACdoc", "report.pdf", "application/pdf", 48213)),
        ("voice", File("AwACvoice", "", "audio/ogg", 9000, "voice")),
        ("audio", File("CQACaudio", "y.mp3", "audio/mpeg", 3000000, "audio")),
        ("video", File("BAACvideo", "v.mp4", "video/mp4", 500000, "video")),
        ("animation", File("CgACanim", "g.mp4", "video/mp4", 70000, "animation")),
        ("video_note", File("DQACnote", "", "", 300000, "video_note")),
        ("sticker", File("CAACstick", "", "", 20000, "sticker")),
        ("location", Location(56.9496, 24.1052)),
        ("contact", Contact("+37120000000", "Ann Lee", "5001")),
    ],
)
def test_each_medium_becomes_one_attachment(name: str, attachment: object) -> None:
    assert message(name).attachments == (attachment,)


def test_content_that_has_no_model_is_a_message_without_text() -> None:
    assert message("poll_sent").text == ""
    assert message("poll_sent").attachments == ()


def test_the_messages_of_an_album_share_its_id() -> None:
    assert message("album").album == "13579246801"


def test_a_reply_names_the_message_it_answers_but_in_a_topic_its_opening_is_no_reply() -> None:
    assert message("reply").reply_to == "207"
    assert message("topic_message").reply_to == ""
    assert message("topic_message").place == Address("telegram", "4200", "-1001222", "5002", "55")


def test_a_thread_of_replies_outside_of_a_forum_is_no_topic() -> None:
    event = message("reply_in_a_group")
    assert (event.place.thread, event.reply_to) == ("", "207")


def test_who_speaks_for_a_group_or_a_channel_is_that_chat() -> None:
    admin, channel = message("anonymous_admin"), message("channel_speaks_in_group")

    assert admin.user == User("-1001111", "Friends", roles=("admin",))
    assert bot().group(admin.place)
    assert channel.user == User("-1001333", "News", "news")


def test_a_channel_post_has_no_author() -> None:
    post = message("channel_post")

    assert post.user is None
    assert post.place == Address("telegram", "4200", "-1001333")


def test_an_edit_is_an_event_of_its_own_with_its_own_time() -> None:
    for name in ("edited_message", "edited_channel_post"):
        event = message(name)
        assert isinstance(event, MessageEdited)
        assert event.at_ms > 1_795_900_800_000


def test_a_pressed_button_is_acknowledged_at_once_and_only_while_it_helps() -> None:
    parsed = bot().parse((FIXTURES / "button.json").read_bytes())

    assert parsed.events == (
        ButtonPressed(
            id="telegram:4200:731000127",
            place=Address("telegram", "4200", "5001", "5001"),
            user=ANN,
            at_ms=START_MS,
            data="~a1.0",
            message_id="229",
            private=True,
        ),
    )
    assert parsed.acks == (
        Call(
            "answerCallbackQuery",
            {"callback_query_id": "21479680012345"},
            idempotent=True,
            expires_ms=START_MS + 30_000,
        ),
    )


@pytest.mark.parametrize(
    ("name", "chat", "thread", "message_id"),
    [
        ("button_in_topic", "-1001222", "55", "230"),
        ("button_of_an_old_message", "5001", "", "17"),
        ("button_of_inline_mode", "5001", "", ""),
    ],
)
def test_a_button_is_pressed_where_its_message_stands(
    name: str, chat: str, thread: str, message_id: str
) -> None:
    (event,) = events(name)

    assert isinstance(event, ButtonPressed)
    assert (event.place.chat, event.place.thread, event.message_id) == (chat, thread, message_id)


def test_everybody_who_joins_is_an_event_with_an_id_of_its_own_but_not_the_bot() -> None:
    joined = events("members_joined")

    assert [(type(e), e.id, e.place.user) for e in joined] == [
        (MemberJoined, "telegram:4200:731000131", "5002"),
        (MemberJoined, "telegram:4200:731000131.1", "5003"),
    ]
    assert events("bot_joined") == ()


@pytest.mark.parametrize(
    ("name", "kind", "user", "near"),
    [
        ("member_left", MemberLeft, "5002", "5002"),
        ("chat_member_joined", MemberJoined, "5002", "5002"),
        ("chat_member_banned", MemberLeft, "5002", "5002"),
        ("bot_blocked", MemberLeft, "5001", "5001"),
        ("bot_unblocked", MemberJoined, "5001", "5001"),
        ("bot_added_to_group", MemberJoined, "4200", "5001"),
    ],
)
def test_coming_and_going_names_who_and_with_whom_to_talk(
    name: str, kind: type[Event], user: str, near: str
) -> None:
    (event,) = events(name)

    assert type(event) is kind
    assert event.user is not None
    assert (event.user.id, event.place.user) == (user, near)


def test_reactions_are_those_that_stand_now() -> None:
    (set_, cleared) = events("reaction") + events("reaction_of_a_channel")

    assert isinstance(set_, ReactionChanged)
    assert set_.emoji == ("👍", "5368324170671202286")
    assert isinstance(cleared, ReactionChanged)
    assert (cleared.emoji, cleared.place.user) == ((), "-1001333")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("inline_query", "inline_query"),
        ("of_a_later_api", "quantum_message"),
        ("migrated", "message:migrate_to_chat_id"),
        ("pinned", "message:pinned_message"),
        ("bot_joined", "message:new_chat_members"),
        ("bot_promoted", "my_chat_member"),
    ],
)
def test_what_nobody_needs_is_counted_by_its_kind(name: str, kind: str) -> None:
    parsed = bot().parse((FIXTURES / f"{name}.json").read_bytes())
    assert (parsed.events, parsed.acks, parsed.kind) == ((), (), kind)


@pytest.mark.parametrize("key", ["x" * 1000, "Strange key", "", "é"])
def test_a_kind_that_would_not_do_as_a_label_is_unknown(key: str) -> None:
    assert bot().parse(msgspec.json.encode({"update_id": 1, key: {}})).kind == "unknown"
    assert bot().parse(b'{"update_id":1}').kind == "unknown"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "message",
        "chat",
        "from",
        "id",
        "type",
        "text",
        "date",
        "photo",
        "document",
        "location",
        "contact",
        "user",
        "sender_chat",
        "data",
        "reply_to_message",
        "new_chat_members",
        "callback_query",
        "my_chat_member",
        "message_reaction",
    ]
)


@given(
    st.fixed_dictionaries({"update_id": st.integers()}).flatmap(
        lambda head: st.dictionaries(FIELDS, st.dictionaries(FIELDS, JSON) | JSON).map(
            lambda rest: rest | head
        )
    )
)
def test_any_json_is_read_or_malformed(update: object) -> None:
    try:
        body = msgspec.json.encode(update)
    except UnicodeEncodeError:
        return
    with suppress(Malformed):
        msgspec.json.encode(bot().parse(body))


@given(st.binary(max_size=60))
def test_any_bytes_are_malformed_but_for_updates_that_say_nothing(body: bytes) -> None:
    try:
        parsed = bot().parse(body)
    except Malformed:
        return
    assert "update_id" in msgspec.json.decode(body)  # it happens: {"update_id":0}
    assert not parsed.events
