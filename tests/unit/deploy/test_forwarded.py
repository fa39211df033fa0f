"""What a listener forwards is taken by every endpoint: signed, and answered without a call."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from legato import App, Chat
from legato.app.runtime import Runtime
from legato.deploy.clock import SystemClock
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.http import Endpoint
from legato.deploy.signature import signature
from legato.platforms.telegram import Telegram
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.fake_telegram import FakeTelegram
from legato.testing.script import NoNetwork
from tests.unit.deploy.asgi_kit import request
from tests.unit.deploy.function_kit import Context
from tests.unit.deploy.function_kit import request as event_of
from tests.unit.deploy.test_http import update

KEY = "a passphrase of enough characters"
TOKEN, SECRET = "4200:canary-of-the-token", "canary-of-the-secret"


def talker() -> App:
    app = App("talker")

    @app.command("start")
    async def start(chat: Chat) -> None:
        await chat.say("one")

    return app


async def posted(key: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, int]:
    """(status, body, messages that wait) of a request to an endpoint with this LEGATO_KEY."""
    clock = FakeClock()
    runtime = Runtime(
        talker(),
        store=MemoryStore(),
        platforms=[Telegram(TOKEN, secret=SECRET, clock=clock)],
        clock=clock,
        http=NoNetwork(),
    )
    await runtime.start(loops=False)
    try:
        answer = await request(
            Endpoint(runtime, key=key), "POST", "/telegram", body, headers=headers
        )
        return answer.status, answer.body, len(runtime.relay._lanes.lanes)
    finally:
        await runtime.abandon()


def signed(body: bytes) -> dict[str, str]:
    return {"X-Legato-Signature": signature("telegram", body, KEY, FakeClock().now_ms())}


async def test_a_signed_update_is_taken_where_the_key_is_known() -> None:
    assert (await posted(KEY, update(), signed(update())))[0] == 200
    assert (await posted("", update(), signed(update())))[0] == 401
    assert (await posted(KEY, update(2), signed(update())))[0] == 401


async def test_no_call_rides_in_the_answer_to_who_cannot_use_it() -> None:
    status, body, waiting = await posted(KEY, update(), signed(update()))
    assert (status, bool(body), waiting) == (200, True, 0)

    headers = signed(update()) | {"X-Legato-Reply": "none"}
    assert await posted(KEY, update(), headers) == (200, b"", 1)


@pytest.fixture
def function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Function, FakeTelegram]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TELEGRAM_TOKEN", TOKEN)
    monkeypatch.setenv("LEGATO_KEY", KEY)
    with FakeTelegram(token=TOKEN).threaded() as telegram:
        telegram.user("Ann", started=True)
        function = Function(talker(), {"telegram_api": telegram.api})
        yield function, telegram
        function.close()


def test_a_function_takes_it_and_sends_everything_by_itself(
    function: tuple[Function, FakeTelegram],
) -> None:
    process, telegram = function
    body = update().replace(b'"id": 5', b'"id": 1001')
    headers = {
        "X-Legato-Signature": signature("telegram", body, KEY, SystemClock().now_ms()),
        "X-Legato-Reply": "none",
    }
    event = event_of("POST", "/telegram", body.decode(), headers)

    assert Lambda(process)(event, Context()) == {"statusCode": 200}
    assert [call.params["text"] for call in telegram.calls] == ["one"]

    forged = event | {"body": update(2).decode()}
    assert Lambda(process)(forged, Context())["statusCode"] == 401
