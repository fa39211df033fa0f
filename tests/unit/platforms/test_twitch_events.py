"""From IRC lines and EventSub notifications to events."""

from typing import Any

import msgspec
import pytest

from legato.errors import Malformed
from legato.model.events import Address, MessageReceived, User
from legato.platforms.twitch.events import Notice, Reader, milliseconds
from legato.testing.clock import START_MS, FakeClock

BOT = "4200"
TAGS = {
    "badges": "moderator/1,founder/0,bits/100",
    "display-name": "Ann",
    "id": "b34ccfc7-4977-403a-8a94-33c6bac34fb8",
    "room-id": "777",
    "user-id": "5001",
    "tmi-sent-ts": "1507246572675",
}
PLACE = Address("twitch", BOT, "777", "5001")


def reader(*prefixes: str) -> Reader:
    return Reader(BOT, prefixes or ("/", "!"), FakeClock())


def irc_line(text: str = "!Start now ", **tags: str) -> bytes:
    given = TAGS | {name.replace("_", "-"): value for name, value in tags.items()}
    said = ";".join(f"{name}={value}" for name, value in given.items() if value)
    return f"@{said} :ann!ann@ann.tmi.twitch.tv PRIVMSG #room :{text}".encode()


def chat_message(text: str = "!Start now ", **changes: Any) -> dict[str, Any]:
    event = {
        "broadcaster_user_id": "777",
        "broadcaster_user_login": "room",
        "broadcaster_user_name": "Room",
        "chatter_user_id": "5001",
        "chatter_user_login": "ann",
        "chatter_user_name": "Ann",
        "message_id": TAGS["id"],
        "message": {"text": text, "fragments": [{"type": "text", "text": text}]},
        "badges": [{"set_id": "moderator", "id": "1", "info": ""}, {"set_id": "founder"}],
        "reply": None,
        "source_broadcaster_user_id": None,
    }
    return event | changes


def webhook(event: dict[str, Any] | None, **about: Any) -> bytes:
    subscription = {
        "id": "f1c2",
        "type": "channel.chat.message",
        "version": "1",
        "status": "enabled",
        "condition": {"broadcaster_user_id": "777", "user_id": BOT},
    }
    return msgspec.json.encode({"subscription": subscription | about, "event": event})


def websocket(event: dict[str, Any], kind: str = "notification") -> bytes:
    payload = msgspec.json.decode(webhook(event))
    about = {
        "message_id": "m1",
        "message_type": kind,
        "message_timestamp": "2017-10-05T23:36:12.675999999Z",
    }
    return msgspec.json.encode({"metadata": about, "payload": payload})


def event_of(body: bytes) -> MessageReceived:
    parsed, _ = reader().read(body)
    (event,) = parsed.events
    assert isinstance(event, MessageReceived)
    return event


def test_a_line_of_irc_is_a_message() -> None:
    assert event_of(irc_line()) == MessageReceived(
        id=f"twitch:{BOT}:{TAGS['id']}",
        place=PLACE,
        user=User("5001", "Ann", "ann", roles=("moderator", "subscriber")),
        at_ms=1507246572675,
        text="!Start now",
        message_id=TAGS["id"],
        command="start",
        args="now",
    )


def test_a_message_gives_the_same_event_whichever_way_it_came() -> None:
    assert event_of(irc_line()) == event_of(websocket(chat_message()))
    at_ms = TAGS["tmi-sent-ts"]
    by_webhook = event_of(webhook(chat_message()))
    assert by_webhook.at_ms == START_MS  # Twitch tells it in a header only
    assert msgspec.structs.replace(by_webhook, at_ms=int(at_ms)) == event_of(irc_line())


def test_a_reply_is_read_without_the_name_that_twitch_puts_before_it() -> None:
    by_irc = event_of(irc_line("@Bob 42", reply_parent_msg_id="p1"))
    assert (by_irc.text, by_irc.reply_to) == ("42", "p1")

    reply = {"parent_message_id": "p1", "parent_user_login": "bob"}
    assert event_of(websocket(chat_message("@Bob 42", reply=reply))) == by_irc


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("\x01ACTION waves\x01", "waves"),
        ("the same \U000e0000", "the same"),
        ("\U000e0000", ""),
        ("a : b :c", "a : b :c"),
    ],
)
def test_what_clients_put_around_a_text_is_taken_away(text: str, read: str) -> None:
    assert event_of(irc_line(text)).text == read


@pytest.mark.parametrize(
    ("text", "command", "args"),
    [
        ("!add 1  2", "add", "1  2"),
        ("/ADD", "add", ""),
        ("!", "", ""),
        ("! add", "", ""),
        ("add", "", ""),
        ("?add", "", ""),
    ],
)
def test_commands_begin_with_a_prefix(text: str, command: str, args: str) -> None:
    event = event_of(irc_line(text))
    assert (event.command, event.args) == (command, args)


def test_a_longer_prefix_may_be_chosen() -> None:
    parsed, _ = reader("bot ", "!!").read(irc_line("bot go on"))
    (event,) = parsed.events
    assert isinstance(event, MessageReceived)
    assert (event.command, event.args) == ("go", "on")


def test_names_fall_back_to_the_login() -> None:
    assert event_of(irc_line(display_name="")).user == User(
        "5001", "ann", "ann", roles=("moderator", "subscriber")
    )
    nobody = chat_message(chatter_user_name="", chatter_user_login="")
    assert event_of(webhook(nobody)).user == User("5001", "?", roles=("moderator", "subscriber"))


@pytest.mark.parametrize(
    "body",
    [
        irc_line(user_id=BOT),
        irc_line(source_room_id="999"),
        irc_line(id=""),
        irc_line(room_id=""),
        irc_line(user_id=""),
        b":ann!ann@x PRIVMSG #room :no tags",
        b":ann!ann@x PRIVMSG #room",
        b":tmi.twitch.tv NOTICE #room :hello",
        b"PING :tmi.twitch.tv",
        webhook(chat_message(chatter_user_id=BOT)),
        webhook(chat_message(source_broadcaster_user_id="999")),
        webhook({"user_id": "1", "followed_at": "x"}, type="channel.follow", version="2"),
        webhook(None),
        b"{}",
    ],
)
def test_what_is_no_message_of_somebody_else_here_gives_no_event(body: bytes) -> None:
    parsed, _ = reader().read(body)
    assert parsed.events == ()
    assert parsed.kind


def test_a_shared_chat_counts_in_the_channel_it_was_written_in() -> None:
    assert event_of(irc_line(source_room_id="777")).text == "!Start now"
    assert event_of(webhook(chat_message(source_broadcaster_user_id="777"))).text == "!Start now"


def test_the_bots_own_messages_tell_its_roles() -> None:
    own = Notice("777", ("moderator", "subscriber"))
    for body in (irc_line(user_id=BOT), webhook(chat_message(chatter_user_id=BOT))):
        assert reader().read(body)[1] == own


def test_a_challenge_is_answered_as_plain_text() -> None:
    body = b'{"challenge":"pogchamp-kappa-360noscope","subscription":{"id":"f1","status":"x"}}'
    parsed, notice = reader().read(body)
    assert parsed.reply == b"pogchamp-kappa-360noscope"
    assert parsed.reply_type == "text/plain"
    assert parsed.kind == "challenge"
    assert notice is None


@pytest.mark.parametrize("body", [webhook(None, status="user_removed")])
def test_a_revocation_says_why(body: bytes) -> None:
    parsed, notice = reader().read(body)
    assert parsed.kind == "revocation"
    assert notice == Notice("777", revoked="user_removed")


def test_a_revocation_over_a_websocket_says_why() -> None:
    subscription = msgspec.json.decode(webhook(None, status="authorization_revoked"))
    body = {"metadata": {"message_type": "revocation"}, "payload": subscription}
    parsed, notice = reader().read(msgspec.json.encode(body))
    assert parsed.kind == "revocation"
    assert notice == Notice("777", revoked="authorization_revoked")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"@a=b", b'{"challenge":1}', webhook({"message_id": 1})],
)
def test_what_is_neither_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        reader().read(body)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2017-10-05T23:36:12.675999999Z", 1507246572675),
        ("2017-10-05T23:36:12Z", 1507246572000),
        ("2017-10-05T23:36:12.5Z", 1507246572500),
        ("2017-10-05 23:36:12Z", 0),
        ("2017-10-05T23:36:12.x5Z", 0),
        ("", 0),
    ],
)
def test_timestamps_have_any_number_of_digits(text: str, ms: int) -> None:
    assert milliseconds(text) == ms
