"""A bot on Telegram as cloud functions that share nothing but a table."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest

from legato import App, Chat, Happened
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.loader import load_app
from legato.deploy.transport import Transport
from legato.engine.journal import decode_state
from legato.model.events import Address
from legato.model.shards import ALL_SLOTS
from legato.stores.dynamodb import DynamoDBStore
from legato.testing.fake_telegram import FakeTelegram

ADDER = Path(__file__).parents[2] / "examples" / "adder.py"
TOKEN, SECRET = "4200:of-nobody", "of-nobody"

Says = Callable[[int, str, int], str]


def event(text: str, number: int, person: int) -> dict[str, Any]:
    """A request to the function's URL: somebody writes to the bot."""
    update = {
        "update_id": number,
        "message": {
            "message_id": number,
            "date": 1,
            "from": {"id": person, "is_bot": False, "first_name": "Ann"},
            "chat": {"id": person, "type": "private"},
            "text": text,
        },
    }
    return {
        "version": "2.0",
        "rawPath": "/telegram",
        "rawQueryString": "",
        "headers": {"x-telegram-bot-api-secret-token": SECRET},
        "requestContext": {"http": {"method": "POST", "path": "/telegram"}},
        "body": json.dumps(update),
        "isBase64Encoded": False,
    }


@pytest.fixture
def says(dynamodb_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Says]:
    """Lets somebody write to a function that knows nothing yet; returns what rides in the answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TELEGRAM_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_SECRET", SECRET)
    monkeypatch.setenv("LEGATO_STORE", dynamodb_url)
    adder = load_app(str(ADDER))
    with FakeTelegram(token=TOKEN).threaded() as telegram:
        for _ in range(8):
            telegram.user("Ann", started=True)

        def says(number: int, text: str, person: int = 1001) -> str:
            function = Function(adder, {"telegram_api": telegram.api})
            try:
                answer = Lambda(function)(event(text, number, person))
            finally:
                function.close()
            assert answer["statusCode"] == 200, answer
            return str(json.loads(answer.get("body") or "{}").get("text", ""))

        yield says


def test_a_dialog_goes_on_from_function_to_function(says: Says, dynamodb_url: str) -> None:
    """And a repeated update gets the same answer again."""
    assert says(1, "/start", 1001) == "First number?"
    assert says(2, "x", 1001) == "That is not a number."
    assert says(3, "2", 1001) == "Second number?"
    assert says(3, "2", 1001) == "Second number?"
    assert says(4, "3", 1001) == "Sum: 5"
    assert says(4, "3", 1001) == "Sum: 5"

    async def left() -> None:
        store = DynamoDBStore(dynamodb_url, http=Transport)
        await store.open()
        assert await store.find() == []
        assert await store.mail() == []
        await store.close()

    asyncio.run(left())


def test_functions_that_run_at_once_do_not_mix_people_up(says: Says) -> None:
    people = range(1001, 1005)
    says(1, "/start", 1001)  # makes the table
    says(2, "/cancel", 1001)

    def talk(person: int) -> list[str]:
        first = person * 10
        words = ("/start", str(person), "1")
        return [says(first + at, word, person) for at, word in enumerate(words)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(talk, people))
    assert [talked[2] for talked in found] == [f"Sum: {person + 1}" for person in people]


def test_a_broadcast_is_queued_for_more_people_than_a_transaction_has_items(
    dynamodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them once, also if the call is made again."""
    monkeypatch.setenv("TELEGRAM_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_SECRET", SECRET)
    people = [Address("telegram", TOKEN.partition(":")[0], str(n), str(n)) for n in range(205)]
    app = App("news")

    async def queued() -> list[str]:
        function = Function(app, {"store": dynamodb_url, "telegram_api": "http://127.0.0.1:9"})
        async with function.invoked(10, quiet=True) as runtime:
            for count in (205, 0):
                assert await app.broadcast(people, "News!", id="n1") == count
            runtime.relay.drop(ALL_SLOTS)
            found = await runtime.store.outbox(states=("queued", "sending"))
        await function.stopped()
        return sorted(item.place.chat for item in found)

    assert asyncio.run(queued()) == sorted(place.chat for place in people)


def test_a_dialog_that_says_more_than_a_transaction_takes_fails_as_with_any_bug(
    dynamodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform would repeat the update for ever, and a queue would hold up all behind it."""
    for name, value in {"TOKEN": TOKEN, "SECRET": SECRET}.items():
        monkeypatch.setenv(f"TELEGRAM_{name}", value)
    app = App("talker", apology="Sorry")

    @app.command("talk")
    async def talk(chat: Chat) -> None:
        for number in range(101):
            await chat.say(str(number))

    with FakeTelegram(token=TOKEN).threaded() as telegram:
        person = telegram.user("Ann", started=True).id
        function = Function(app, {"store": dynamodb_url, "telegram_api": telegram.api})
        try:
            assert Lambda(function)(event("/talk", 1, person))["statusCode"] == 200
            failed = function.run(failures(function))
        finally:
            function.close()
        assert telegram.chat(person).texts == ["Sorry"]
    assert len(failed) == 1
    assert "more than DynamoDB takes at once" in failed[0]


@pytest.mark.parametrize("letter", ["a", "%", "#", "\x01", "é"])
def test_a_file_of_s3_may_have_as_long_a_name_as_there_can_be(
    dynamodb_url: str, letter: str
) -> None:
    """And what happened to two of them is told apart, but not what is told twice."""
    app = App("files")
    found: list[str] = []

    @app.event("s3:*")
    async def came(chat: Chat) -> None:
        assert isinstance(chat.event, Happened)
        await chat.run(found.append, chat.event.subject)

    def record(name: str) -> dict[str, Any]:
        about = {"bucket": {"name": "b" * 63}, "object": {"key": quote_plus(name)}}
        return {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": about}

    long = letter * (1023 // len(letter.encode()))
    names = [long, long, f"{long[:-1]}b"]
    settings = {"store": dynamodb_url, "telegram_token": TOKEN, "telegram_secret": SECRET}
    function = Function(app, settings)
    try:
        Lambda(function)({"Records": [record(name) for name in names]})
    finally:
        function.close()
    assert found == [f"{'b' * 63}/{name}" for name in names[1:]]


async def failures(function: Function) -> list[str]:
    assert function._runtime is not None
    found = await function._runtime.store.find(status="failed")
    return [decode_state(row.state).error for row in found]
