"""Standing in for Telegram: its webhook's secret, and the call in an answer to it."""

import pytest

from legato.abc import HttpRequest
from legato.errors import Forged
from legato.model.events import Address
from legato.model.records import Call
from legato.platforms.telegram import Telegram
from legato.testing.clock import FakeClock

PLACE = Address("telegram", "123", "5", "5")


def bot(secret: str = "s3cret") -> Telegram:
    return Telegram("123:abc", secret=secret, clock=FakeClock())


def test_a_forwarded_update_is_authentic_to_who_has_the_same_secret() -> None:
    request = HttpRequest("POST", "/telegram", bot().forwarding(), b"{}")
    bot().verify(request)
    with pytest.raises(Forged):
        bot("another").verify(request)


def test_without_a_secret_there_is_nothing_to_forward_with() -> None:
    assert bot("").forwarding() == {}


def test_the_call_in_an_answer_is_the_one_that_was_put_there() -> None:
    call = Call("sendMessage", {"chat_id": 5, "text": "hi"})
    body = bot().webhook_reply(call, PLACE)
    assert body is not None
    assert bot().replied(body) == (call, Address("telegram", "123", "5"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"[]",
        b"{}",
        b'{"ok": true}',
        b'{"method": 5}',
        b'{"method": "../getMe"}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_any_other_answer_holds_no_call(body: bytes) -> None:
    assert bot().replied(body) is None
