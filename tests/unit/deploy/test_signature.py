"""A forwarded update is accepted from who knows the key, soon, for its platform, and from nobody else."""

import pytest

from legato.abc import HttpRequest
from legato.deploy.signature import HEADER, WINDOW_MS, check_request, may_reply, signature
from legato.errors import ConfigError, Forged
from legato.platforms.telegram import Telegram
from legato.testing.clock import FakeClock

KEY = "a passphrase of enough characters"
BODY = b"@id=1 :ann!ann@x PRIVMSG #ann :hi"


def bot(secret: str = "s3cret") -> Telegram:
    return Telegram("123:abc", secret=secret, clock=FakeClock())


def request(headers: dict[str, str], body: bytes = BODY) -> HttpRequest:
    return HttpRequest("POST", "/telegram", headers, body)


def signed(key: str = KEY, *, platform: str = "telegram", late_ms: int = 0) -> HttpRequest:
    now_ms = FakeClock().now_ms() - late_ms
    return request({HEADER: signature(platform, BODY, key, now_ms)})


def refused(req: HttpRequest, key: str = KEY) -> str:
    """Why it is."""
    with pytest.raises(Forged) as caught:
        check_request(bot(), req, key, FakeClock())
    return str(caught.value)


def test_what_was_signed_with_our_key_is_accepted() -> None:
    check_request(bot(), signed(), KEY, FakeClock())


@pytest.mark.parametrize("late_ms", [WINDOW_MS, -WINDOW_MS])
def test_it_is_accepted_for_five_minutes(late_ms: int) -> None:
    check_request(bot(), signed(late_ms=late_ms), KEY, FakeClock())
    further = WINDOW_MS + 1 if late_ms > 0 else -WINDOW_MS - 1
    assert "5 minutes" in refused(signed(late_ms=further))


def test_each_of_several_keys_is_accepted_so_that_one_can_be_replaced() -> None:
    other = "another passphrase of enough characters"
    check_request(bot(), signed(KEY), f"{other}, {KEY}", FakeClock())
    check_request(bot(), signed(f"{other},{KEY}"), other, FakeClock())
    assert "wrong" in refused(signed(f"{other},{KEY}"), KEY)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "t=,v1=",
        "v1=00",
        "nonsense",
        "t=1e9,v1=00",
        "t=\u0661,v1=00",
        "t=1,v1=\u00e9",
        "t=1,v1=\udc80",
        f"t={'9' * 5000},v1=00",
        "t=-5,v1=00",
        ",,,===",
    ],
)
def test_any_other_value_is_refused(value: str) -> None:
    assert refused(request({HEADER: value}))


def test_the_body_the_time_and_the_platform_are_signed() -> None:
    good = signed().headers[HEADER]
    assert "wrong" in refused(request({HEADER: good}, BODY + b"!"))
    assert "wrong" in refused(request({HEADER: good.replace("t=1", "t=2", 1)}))
    assert "wrong" in refused(signed(platform="twitch"))


def test_without_a_key_only_the_platforms_own_requests_are_accepted() -> None:
    assert "Secret-Token" in refused(signed(), key="")
    own = {"x-telegram-bot-api-secret-token": "s3cret"}
    check_request(bot(), request(own), "", FakeClock())
    check_request(bot(), request(own), KEY, FakeClock())


def test_a_wrong_signature_is_not_mended_by_the_platforms_secret() -> None:
    both = signed("some other key of enough characters").headers
    assert refused(request(both | {"x-telegram-bot-api-secret-token": "s3cret"}))


def test_a_key_that_anybody_could_guess_signs_nothing_and_accepts_nothing() -> None:
    with pytest.raises(ConfigError, match="LEGATO_KEY"):
        signature("telegram", BODY, "short", 0)
    assert refused(signed(), key="short")


def test_who_cannot_use_a_reply_says_so() -> None:
    assert may_reply({})
    assert not may_reply({"x-legato-reply": "none"})
