"""What Yandex Cloud Functions invokes a handler with, and what it wants back."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato.deploy.function.yandex import Yandex
from legato.errors import ConfigError, StoreUnavailable
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.function_kit import BODY, SECRET, UPDATE, Context, bot, on_telegram, seen

TITLED = "X-Telegram-Bot-Api-Secret-Token"


@pytest.fixture
def telegram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTelegram]:
    with on_telegram(tmp_path, monkeypatch) as telegram:
        yield telegram


@pytest.fixture
def handler(telegram: FakeTelegram) -> Iterator[Yandex]:
    handler = bot().yandex(telegram_api=telegram.api)
    assert isinstance(handler, Yandex)
    yield handler
    handler.function.close()


def asked(**more: Any) -> dict[str, Any]:
    """As the service's documentation shows it: names in Title-Case, everything twice."""
    return {
        "httpMethod": "POST",
        "url": "",
        "path": "",
        "params": {},
        "headers": {TITLED: SECRET, "Content-Type": "application/json", "Host": "functions"},
        "multiValueHeaders": {TITLED: [SECRET], "Content-Type": ["application/json"]},
        "queryStringParameters": {},
        "multiValueQueryStringParameters": {},
        "pathParams": {},
        "requestContext": {"identity": {"sourceIp": "1.1.1.1"}, "httpMethod": "POST"},
        "body": BODY.decode(),
        "isBase64Encoded": False,
    } | more


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"url": "/telegram?x=y", "path": "/telegram"},
        {"url": "/bots/telegram", "path": "/bots/{name}"},
        {"queryStringParameters": {"to": "telegram"}, "url": "/?to=telegram"},
        {"body": base64.b64encode(BODY).decode(), "isBase64Encoded": True},
        {"multiValueHeaders": {}},
        {"headers": {TITLED.lower(): SECRET}, "multiValueHeaders": {}},
    ],
)
def test_a_request_is_answered_in_whatever_form_it_comes(
    handler: Yandex, more: dict[str, Any]
) -> None:
    answer = handler(asked(**more), Context())
    assert answer["statusCode"] == 200
    assert answer["multiValueHeaders"] == {"content-type": ["application/json"]}
    assert json.loads(answer["body"])["text"] == "Hello"


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"headers": {}, "multiValueHeaders": {}}, 401),
        ({"multiValueHeaders": {TITLED: ["no"]}}, 401),
        ({"httpMethod": "GET"}, 405),
        ({"queryStringParameters": {"to": "vk"}}, 404),
        ({"body": "x" * 1_000_001}, 413),
    ],
)
def test_what_is_no_update_is_refused(handler: Yandex, more: dict[str, Any], status: int) -> None:
    assert handler(asked(**more), Context())["statusCode"] == status


def test_a_bare_update_is_refused_so_that_it_comes_again_once_that_is_mended(
    handler: Yandex, telegram: FakeTelegram
) -> None:
    with pytest.raises(ConfigError, match="integration=raw"):
        handler(UPDATE, Context())
    assert telegram.calls == []


def test_a_bare_update_is_taken_from_a_trigger_if_that_was_said(telegram: FakeTelegram) -> None:
    handler = bot().yandex(telegram_api=telegram.api, telegram_trigger="on")
    assert isinstance(handler, Yandex)
    try:
        assert [handler(UPDATE, Context()) for _ in range(2)] == [{"taken": 1}] * 2
        assert [call.params["text"] for call in telegram.called("sendMessage")] == ["Hello"]
    finally:
        handler.function.close()


def test_text_of_a_user_stops_no_trigger_whatever_characters_it_has(
    telegram: FakeTelegram,
) -> None:
    """What is no Unicode is kept as dead."""
    handler = bot().yandex(telegram_api=telegram.api, telegram_trigger="on")
    assert isinstance(handler, Yandex)
    try:
        for number, text in enumerate(("/start \ud83d", "/start \x00 ы 🐈")):
            update = {"update_id": number, "message": UPDATE["message"] | {"text": text}}
            assert handler(update, Context()) == {"taken": 1}
        assert [call.params["text"] for call in telegram.called("sendMessage")] == ["Hello"]
    finally:
        handler.function.close()


def test_an_update_of_a_trigger_that_is_not_finished_fails_the_invocation(
    telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = bot().yandex(telegram_api=telegram.api, telegram_trigger="on")
    assert isinstance(handler, Yandex)
    try:
        handler({}, Context())
        runtime = handler.function._runtime
        assert runtime is not None

        async def refuse(commit: object) -> None:
            raise StoreUnavailable("the disk is away")

        with monkeypatch.context() as patch:
            patch.setattr(type(runtime.store), "commit", lambda self, commit: refuse(commit))
            with pytest.raises(Exception, match="the disk is away"):
                handler(UPDATE, Context())
        assert handler(UPDATE, Context()) == {"taken": 1}
    finally:
        handler.function.close()


def test_a_misspelt_switch_is_told() -> None:
    with pytest.raises(ConfigError, match="write 'on' or 'off'"):
        bot().yandex(telegram_trigger="yes")


def of(what: str, details: dict[str, Any], **about: str) -> dict[str, Any]:
    metadata = {
        "event_id": "e1",
        "event_type": f"yandex.cloud.events.{what}",
        "created_at": "2026-11-28T09:00:00Z",
    }
    return {"messages": [{"event_metadata": metadata | about, "details": details}]}


TRIGGERS = {
    "timer": (
        of("serverless.triggers.TimerMessage", {"trigger_id": "a1b2", "payload": "nightly"}),
        ("schedule:nightly", "nightly"),
    ),
    "nameless timer": (
        of("serverless.triggers.TimerMessage", {"trigger_id": "a1b2", "payload": ""}, event_id=""),
        ("schedule:a1b2", "a1b2"),
    ),
    "queue": (
        of(
            "messagequeue.QueueMessage",
            {"queue_id": "yrn:yc:ymq:ru-central1:b1:orders", "message": {"message_id": "m1"}},
        ),
        ("queue:orders", "orders"),
    ),
    "storage": (
        of("storage.ObjectCreate", {"bucket_id": "box", "object_id": "cat.png"}),
        ("storage:ObjectCreate", "box/cat.png"),
    ),
}


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_trigger_starts_a_dialog_once_however_often_it_comes(handler: Yandex, name: str) -> None:
    event, expected = TRIGGERS[name]
    for _ in range(2):
        assert handler(event, Context()) == {"happened": 1}
    assert [(one.kind, one.subject) for one in seen] == [expected]


@pytest.mark.parametrize("event", [None, "", {}, {"messages": None}, {"messages": ["x"]}])
def test_anything_else_is_a_touch(handler: Yandex, event: object) -> None:
    assert handler(event, None) == {"happened": 0}
