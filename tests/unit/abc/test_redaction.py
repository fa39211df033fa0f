"""Secrets in texts: one rule, which all who show or keep a text share."""

import re
from pathlib import Path

import pytest

import legato
from legato.abc import HttpResponse, NotSent
from legato.abc.redaction import ERROR_CHARS, SHORTEST, redacted
from legato.model.events import Address
from legato.model.records import Call
from legato.outbox.bots import Bot
from legato.platforms.telegram import Telegram
from legato.platforms.twitch import auth
from legato.testing.clock import FakeClock
from legato.testing.conformance.platform import ScriptedHttp

TOKEN = "4200:canary-of-the-token"
PLACE = Address("telegram", "4200", "7")


def test_every_secret_is_hidden_the_longest_first() -> None:
    secrets = (TOKEN.partition(":")[2], TOKEN)
    assert redacted(f"a {TOKEN} b canary-of-the-token", secrets) == "a *** b ***"


def test_what_is_too_short_to_be_a_secret_stays() -> None:
    assert redacted("a sole test", ("s", "", "a", "sol")) == "a sole test"
    assert redacted("a sole test", ("sole",)) == "a *** test"
    assert SHORTEST == 4


def test_a_long_text_is_cut_if_that_is_wanted() -> None:
    assert redacted("x" * 9999, ()) == "x" * 9999
    assert redacted("x" * 9999, (), ERROR_CHARS) == "x" * 499 + "…"
    assert redacted("x" * 500, (), 500) == "x" * 500


async def test_a_bot_whose_secret_is_one_letter_has_errors_that_can_be_read() -> None:
    telegram = Telegram(TOKEN, secret="e", clock=FakeClock())
    http = ScriptedHttp(NotSent(f"the server of {TOKEN} refused"))
    verdict = await telegram.send(Call("sendMessage", {"chat_id": 7, "text": "x"}), PLACE, http)
    assert verdict.error == "not sent: the server of *** refused"


async def test_a_bug_of_an_adapter_is_told_by_the_same_rule(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*given: object) -> None:
        raise ValueError(f"the text of {TOKEN}")

    telegram = Telegram(TOKEN, secret="e", clock=FakeClock())
    monkeypatch.setattr(Telegram, "send", broken)
    bot = Bot(telegram)
    verdict = await bot.send(Call("sendMessage", {}), PLACE, ScriptedHttp(HttpResponse(200)))
    assert verdict.error == "a bug in the telegram adapter: ValueError: the text of ***"
    assert "ValueError: the text of ***" in caplog.text


def test_a_refused_token_of_twitch_is_told_by_the_same_rule() -> None:
    answer = HttpResponse(400, {}, b'{"message": "Invalid refresh token"}')
    assert "Invalid refresh token" in str(auth._refused(answer, ("e", "")))


def test_nobody_has_a_rule_of_their_own() -> None:
    source = Path(legato.__file__).parent
    own = [
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if re.search(r"replace\([^)]*\"\*\*\*\"", path.read_text("utf-8"))
    ]
    assert own == ["abc/redaction.py"]
