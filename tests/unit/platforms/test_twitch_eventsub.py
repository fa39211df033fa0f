"""Who signed a webhook, and which subscriptions there should be."""

import hashlib
import hmac
from typing import Any

import pytest

from legato.errors import Forged
from legato.platforms.twitch import eventsub
from legato.platforms.twitch.events import milliseconds
from legato.platforms.twitch.eventsub import Plan, Subscription, Transport

SECRET = "a secret of the tests"
BODY = b'{"subscription":{}}'
AT = "2026-11-28T12:00:00.123456789Z"
NOW_MS = milliseconds(AT)
CALLBACK = "https://bot.example.org/twitch"
BOT = "4200"


def headers(secret: str = SECRET, at: str = AT, body: bytes = BODY) -> dict[str, str]:
    signed = hmac.new(secret.encode(), b"id-1" + at.encode() + body, hashlib.sha256).hexdigest()
    return {
        eventsub.ID: "id-1",
        eventsub.TIMESTAMP: at,
        eventsub.SIGNATURE: f"sha256={signed}",
    }


def test_a_genuine_request_is_accepted_for_ten_minutes() -> None:
    for ago_ms in (0, 599_000, -599_000):
        eventsub.check_signature(headers(), BODY, SECRET, NOW_MS + ago_ms)
    for ago_ms in (601_000, -601_000):
        with pytest.raises(Forged, match="10 minutes"):
            eventsub.check_signature(headers(), BODY, SECRET, NOW_MS + ago_ms)


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({eventsub.SIGNATURE: ""}, BODY),
        ({eventsub.SIGNATURE: "sha256="}, BODY),
        ({eventsub.SIGNATURE: "sha1=" + "0" * 40}, BODY),
        ({eventsub.ID: "id-2"}, BODY),
        ({eventsub.TIMESTAMP: "2026-11-28T12:00:00.123456788Z"}, BODY),
        ({eventsub.TIMESTAMP: ""}, BODY),
        ({}, BODY + b" "),
        ({}, b""),
        (headers("another secret of tests"), BODY),
    ],
)
def test_any_change_is_a_forgery(change: dict[str, str], body: bytes) -> None:
    with pytest.raises(Forged):
        eventsub.check_signature(headers() | change, body, SECRET, NOW_MS)


def test_a_timestamp_that_is_none_is_refused_even_if_it_is_signed() -> None:
    with pytest.raises(Forged):
        eventsub.check_signature(headers(at="yesterday"), BODY, SECRET, NOW_MS)
    blank = headers() | {eventsub.ID: ""}
    signed = hmac.new(SECRET.encode(), AT.encode() + BODY, hashlib.sha256).hexdigest()
    with pytest.raises(Forged):
        eventsub.check_signature(
            blank | {eventsub.SIGNATURE: f"sha256={signed}"}, BODY, SECRET, NOW_MS
        )


def one(number: str, channel: str = "1", **changes: Any) -> Subscription:
    given: dict[str, Any] = {
        "id": number,
        "status": "enabled",
        "type": "channel.chat.message",
        "condition": {"broadcaster_user_id": channel, "user_id": BOT},
        "transport": Transport("webhook", CALLBACK),
    }
    return Subscription(**(given | changes))


def planned(*found: Subscription, channels: tuple[str, ...] = ("1",), **more: bool) -> Plan:
    return eventsub.plan(found, channels, BOT, CALLBACK, **more)


def test_what_is_missing_is_created() -> None:
    assert planned(channels=("1", "2")) == Plan((), ("1", "2"), ())


def test_what_is_as_it_should_be_stays() -> None:
    for status in ("enabled", "webhook_callback_verification_pending"):
        keep = one("a", status=status)
        assert planned(keep) == Plan((), (), (keep,))


def test_what_is_doubled_dead_or_not_wanted_goes() -> None:
    keep = one("a")
    dead = one("d", "2", status="notification_failures_exceeded")
    elsewhere_dead = one(
        "e", transport=Transport("webhook", "https://old.example"), status="user_removed"
    )
    found = (keep, one("b"), one("c", "9"), dead, elsewhere_dead)
    assert planned(*found, channels=("1", "2")) == Plan(("b", "c", "d", "e"), ("2",), (keep,))


def test_what_is_not_ours_is_left_alone() -> None:
    found = (
        one("a", transport=Transport("webhook", "https://staging.example")),
        one("b", condition={"broadcaster_user_id": "1", "user_id": "another bot"}),
        one("c", type="channel.follow"),
        one("d", transport=Transport("websocket"), status="websocket_disconnected"),
        one("e", condition={}),
    )
    assert planned(*found) == Plan((), ("1",), ())


def test_with_another_secret_all_is_made_anew() -> None:
    assert planned(one("a"), renew=True) == Plan(("a",), ("1",), ())


def test_pages_are_read_with_their_cursor() -> None:
    body = b'{"data":[{"id":"a","status":"enabled","type":"t"}],"pagination":{"cursor":"next"}}'
    assert eventsub.page(body) == ([Subscription("a", "enabled", "t")], "next")
    assert eventsub.page(b'{"data":[],"pagination":{}}') == ([], "")
    assert eventsub.page(b'{"data":[]}') == ([], "")
    with pytest.raises(ValueError, match="JSON"):
        eventsub.page(b"<html>")


def test_frames_say_what_they_are() -> None:
    frame = eventsub.frame('{"metadata":{"message_type":"session_keepalive"},"payload":{}}')
    assert frame is not None
    assert frame.kind == eventsub.KEEPALIVE
    assert frame.viewer == ":"
    for text in ("", "{}", "[]", "null", '{"metadata":{}}', "[" * 5000):
        assert eventsub.frame(text) is None
