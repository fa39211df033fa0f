"""A process stands still between invocations, and finds its connections dead when it goes on.

Between two calls of a handler its event loop does not run: it cannot notice what the other side did.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from legato import App, Chat
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.testing.fake_telegram import FakeTelegram

TOKEN, SECRET = "4200:canary-of-the-token", "canary-of-the-secret"
ENDED = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
"""
app = App("two")


@app.command("start")
async def start(chat: Chat) -> None:
    await chat.say("one")
    await chat.say("two")


def event(number: int) -> dict[str, object]:
    person = {"id": 1001, "is_bot": False, "first_name": "Ann"}
    message = {"message_id": number, "date": 1, "from": person, "text": "/start"}
    message["chat"] = {"id": 1001, "type": "private"}
    return {
        "requestContext": {"http": {"method": "POST"}},
        "rawPath": "/telegram",
        "headers": {"x-telegram-bot-api-secret-token": SECRET},
        "body": json.dumps({"update_id": number, "message": message}),
    }


@contextmanager
def warm(telegram: FakeTelegram, store: str) -> Iterator[Lambda]:
    """A process that has answered once."""
    settings = {"telegram_token": TOKEN, "telegram_secret": SECRET, "telegram_api": telegram.api}
    function = Function(app, settings | {"store": store})
    try:
        handler = Lambda(function)
        assert handler(event(1))["statusCode"] == 200
        yield handler
    finally:
        function.close()


def test_a_connection_that_telegram_has_closed_is_replaced(tmp_path: Path) -> None:
    with FakeTelegram(token=TOKEN).threaded() as telegram:
        telegram.user("Ann", started=True)
        with warm(telegram, f"sqlite:///{tmp_path / 'bot.db'}") as handler:
            for number in (2, 3):
                loop = telegram.world.loop
                assert loop is not None
                asyncio.run_coroutine_threadsafe(_cut(telegram), loop).result(10)
                answer = handler(event(number))
                assert (answer["statusCode"], json.loads(answer["body"])["text"]) == (200, "two")
        sent = [call.params["text"] for call in telegram.called("sendMessage")]
        assert sent == ["one"] * 3


async def _cut(telegram: FakeTelegram) -> None:
    connections = list(telegram._server._connections)
    assert connections
    for one in connections:
        assert one._transport is not None
        one._transport.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("pool", [1, 4])
def test_a_connection_that_postgres_has_closed_is_replaced(postgres_url: str, pool: int) -> None:
    async def cut() -> int:
        link = await asyncpg.connect(postgres_url)
        try:
            return int(await link.fetchval(ENDED))
        finally:
            await link.close()

    with FakeTelegram(token=TOKEN).threaded() as telegram:
        telegram.user("Ann", started=True)
        with warm(telegram, f"{postgres_url}?pool={pool}") as handler:
            for number in (2, 3):
                assert asyncio.run(cut()) >= 1
                answer = handler(event(number))
                assert (answer["statusCode"], json.loads(answer["body"])["text"]) == (200, "two")
