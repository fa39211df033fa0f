"""What OpenWhisk and Selectel call an action with, and what they want back."""

import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato.deploy.function.openwhisk import OpenWhisk
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.function_kit import BODY, SECRET, TOKEN, UPDATE, bot, on_telegram

HEADERS = {
    "content-type": "application/json",
    "x-telegram-bot-api-secret-token": SECRET,
    "host": "whisk.test",
}


@pytest.fixture
def telegram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTelegram]:
    with on_telegram(tmp_path, monkeypatch) as telegram:
        yield telegram


@pytest.fixture
def main(telegram: FakeTelegram) -> Iterator[OpenWhisk]:
    main = bot().openwhisk(telegram_api=telegram.api)
    assert isinstance(main, OpenWhisk)
    yield main
    main.function.close()


def raw(**more: Any) -> dict[str, Any]:
    """A web action with `--web raw`, as the documentation shows it: JSON is base64, names are lower case."""
    return {
        "__ow_method": "post",
        "__ow_query": "",
        "__ow_body": base64.b64encode(BODY).decode(),
        "__ow_headers": HEADERS,
        "__ow_path": "/telegram",
    } | {f"__ow_{name}": value for name, value in more.items()}


def fields(**more: Any) -> dict[str, Any]:
    """The same without `raw`: the fields of body and query stand beside ours."""
    about = {"__ow_method": "post", "__ow_headers": HEADERS, "__ow_path": "/telegram"}
    return about | UPDATE | more


@pytest.mark.parametrize(
    "args",
    [
        raw(),
        raw(path="/bots/telegram"),
        raw(path=""),  # the bot is on one platform
        raw(path="", query="to=telegram&x=%20"),
        raw(body=BODY.decode()),
        fields(),
        fields(__ow_path="", to="telegram"),
    ],
)
def test_a_web_action_is_answered_in_whatever_form_it_is_called(
    main: OpenWhisk, telegram: FakeTelegram, args: dict[str, Any]
) -> None:
    answer = main(args)
    assert answer["statusCode"] == 200
    assert answer["headers"] == {"content-type": "application/json"}
    assert json.loads(answer["body"])["text"] == "Hello"
    assert telegram.called("sendMessage") == []


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (raw(headers={}), 401),
        (raw(headers=HEADERS | {"x-telegram-bot-api-secret-token": "no"}), 401),
        (fields(__ow_headers={}), 401),
        (raw(method="get"), 405),
        (raw(query="to=vk"), 404),
        (raw(body=base64.b64encode(b"x" * 1_000_001).decode()), 413),
    ],
)
def test_what_is_no_update_is_refused(main: OpenWhisk, args: dict[str, Any], status: int) -> None:
    assert main(args)["statusCode"] == status


def test_a_body_that_is_text_is_taken_as_it_is(main: OpenWhisk) -> None:
    """`abcd` could be base64, too."""
    headers = HEADERS | {"content-type": "text/plain; charset=utf-8"}
    assert main(raw(headers=headers, body="abcd"))["statusCode"] == 200  # kept as dead


def test_text_of_a_user_comes_through_whatever_characters_it_has(main: OpenWhisk) -> None:
    update = json.loads(BODY)
    update["message"]["text"] = "/start \ud83d \x00 ы 🐈"
    assert main(fields(**update))["statusCode"] == 200


def test_parameters_in_capitals_are_settings_if_nobody_but_the_owner_gives_them(
    telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TELEGRAM_TOKEN", "TELEGRAM_SECRET", "TELEGRAM_API"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    bound = {"TELEGRAM_TOKEN": TOKEN, "TELEGRAM_SECRET": SECRET, "TELEGRAM_API": telegram.api}
    main = bot().openwhisk()
    assert isinstance(main, OpenWhisk)
    try:
        with pytest.raises(Exception, match="TELEGRAM_TOKEN"):
            main(fields(**bound))  # these could be of the address
        assert main(raw() | bound)["statusCode"] == 200
        assert main(raw() | bound | {"TELEGRAM_API": 7})["statusCode"] == 200
    finally:
        main.function.close()


@pytest.mark.parametrize("args", [{}, None, {"trigger_payload": {"a": 1}}, ["no object"]])
def test_a_trigger_is_a_tick(main: OpenWhisk, args: Any) -> None:
    assert main(args) == {"woken": 0, "left": 0}


def test_an_activation_has_as_long_as_the_service_says(
    main: OpenWhisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main._left_s() == 60
    monkeypatch.setenv("__OW_DEADLINE", str(int(time.time() * 1000) + 10_000))
    assert 1 < main._left_s() <= 10.1
    monkeypatch.setenv("__OW_DEADLINE", "1000")
    assert main._left_s() == 0


# -- Selectel -------------------------------------------------------------------------------------


def test_named_arguments_are_an_update_with_the_secret_of_its_address(
    main: OpenWhisk, telegram: FakeTelegram
) -> None:
    for _ in range(2):
        assert main(**UPDATE, secret=SECRET)["status_code"] == 200
    # Nothing rides in the answer.
    assert [call.params["text"] for call in telegram.called("sendMessage")] == ["Hello"]


@pytest.mark.parametrize("secret", [{}, {"secret": "no"}, {"secret": None}])
def test_without_the_secret_named_arguments_are_refused(
    main: OpenWhisk, telegram: FakeTelegram, secret: dict[str, Any]
) -> None:
    assert main(**UPDATE, **secret)["status_code"] == 401
    assert telegram.called("sendMessage") == []


def test_named_arguments_with_headers_are_a_web_action(main: OpenWhisk) -> None:
    answer = main(**raw())
    assert (answer["status_code"], json.loads(answer["body"])["text"]) == (200, "Hello")


def test_named_arguments_without_an_update_are_a_tick(main: OpenWhisk) -> None:
    assert main(interval="1") == {"woken": 0, "left": 0}
    assert main() == {"woken": 0, "left": 0}


@pytest.mark.parametrize("args", [{}, raw(), UPDATE])
def test_nobody_sets_anything_by_named_arguments(
    main: OpenWhisk, monkeypatch: pytest.MonkeyPatch, args: dict[str, Any]
) -> None:
    """They are fields of a body that anybody may send: the token would go wherever they say."""
    monkeypatch.delenv("LINE_API", raising=False)
    main(**args, LINE_API="https://elsewhere.test")
    assert "LINE_API" not in os.environ


def test_statuses_that_selectel_keeps_for_itself_are_not_used(telegram: FakeTelegram) -> None:
    nowhere = "sqlite:////proc/nowhere/legato.db"
    main = bot().openwhisk(telegram_api=telegram.api, store=nowhere)
    assert isinstance(main, OpenWhisk)
    try:
        assert main(raw())["statusCode"] == 503  # Telegram repeats it
        answer = main(**UPDATE, secret=SECRET)
        assert (answer["status_code"], answer["headers"]["retry-after"]) == (502, "1")
    finally:
        main.function.close()
