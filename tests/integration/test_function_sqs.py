"""A bot whose updates go into SQS first: intake -> FIFO queue -> worker, over DynamoDB."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from legato.app.runtime import Runtime
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.loader import load_app
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.sqs_kit import Sqs, Workers, workers
from tests.servers.ministack import WHO, Ministack

EXAMPLE = Path(__file__).parents[2] / "examples" / "adder.py"
TOKEN, SECRET = "4200:of-nobody", "of-nobody"
KILLS, PEOPLE, BATCH = 50, 20, 3
_numbers = itertools.count(1)
QUIET = """
from legato import App, Chat, Timeout

app = App("quiet")


@app.command("start")
async def start(chat: Chat) -> None:
    try:
        await chat.ask("Anybody?", timeout=1)
    except Timeout:
        await chat.say("You went quiet.")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Ministack]:
    with Ministack("dynamodb,sqs") as server:
        yield server


POISON = """
import os
import signal
from legato import App, Chat

app = App("poison")


@app.command("start")
async def start(chat: Chat) -> None:
    await chat.say("hello")


@app.command("boom")
async def boom(chat: Chat) -> None:
    await chat.say("never told")
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Context:
    """What Lambda tells of the invocation."""

    def __init__(self, left_s: float) -> None:
        self._left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        return round(self._left_s * 1000)


class World:
    """People who write to a bot, its queue and its processes."""

    def __init__(self, telegram: FakeTelegram, queue: Sqs, timers: Sqs, people: int) -> None:
        self.telegram = telegram
        self.queue = queue
        self.timers = timers
        self.people = [1001 + number for number in range(people)]
        for _ in self.people:
            telegram.user("Ann", started=True)
        self.intake = Function(load_app(str(EXAMPLE)), {})
        self.kills = 0
        self._updates = itertools.count(1)

    def request(self, person: int, text: str) -> dict[str, Any]:
        number = next(self._updates)
        sender = {"id": person, "is_bot": False, "first_name": "Ann"}
        chat = {"id": person, "type": "private"}
        message = {"message_id": number, "date": 1, "from": sender, "chat": chat, "text": text}
        return {
            "version": "2.0",
            "rawPath": "/telegram",
            "headers": {"x-telegram-bot-api-secret-token": SECRET},
            "requestContext": {"http": {"method": "POST"}},
            "body": json.dumps({"update_id": number, "message": message}),
        }

    def say_twice(self, person: int, text: str) -> None:
        """Each update comes twice."""
        request = self.request(person, text)
        for _ in range(2):
            assert Lambda(self.intake)(request)["statusCode"] == 200

    def work(self, made: Workers, kills: int) -> None:
        """Lets processes work on the queue until it is empty; of each four that get a batch, three are killed.

        Each letter comes once more when it is done: SQS knows repetitions for five minutes, platforms repeat for a day.
        """
        fuses = itertools.cycle(range(1, 7))
        seen: set[str] = set()
        for _ in range(1000):
            records = self.queue.receive(BATCH)
            if not records:
                break
            again = int(records[0]["attributes"]["ApproximateReceiveCount"])
            fuse = next(fuses) if self.kills < kills and again % 4 else 0
            answer = made.invoke(records, fuse)
            self.kills += answer is None
            failed = self.queue.settle(records, answer)
            for record in records:
                if record["messageId"] not in failed and record["body"] not in seen:
                    seen.add(record["body"])
                    self.queue.again(record)
        assert len(seen) == 3 * len(self.people)
        assert self.queue.left == 0

    def told(self, person: int) -> list[str]:
        return list(self.telegram.chat(person).texts)


@contextmanager
def world(
    server: Ministack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, people: int
) -> Iterator[World]:
    name = f"bot{next(_numbers)}"
    queue, timers = Sqs(server, f"{name}.fifo"), Sqs(server, f"{name}-timers")
    with FakeTelegram(token=TOKEN).threaded() as telegram:
        settings = {
            **WHO,
            "LEGATO_STORE": server.url(name),
            "LEGATO_QUEUE": queue.address,
            "LEGATO_TIMERS": timers.address,
            "TELEGRAM_TOKEN": TOKEN,
            "TELEGRAM_SECRET": SECRET,
            "TELEGRAM_API": telegram.api,
        }
        for variable, value in settings.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.chdir(tmp_path)
        found = World(telegram, queue, timers, people)
        try:
            yield found
        finally:
            found.intake.close()


def expected(person: int) -> list[str]:
    return ["First number?", "Second number?", f"Sum: {2 * person}"]


def talk(world: World) -> None:
    """All say everything."""
    for text in ("/start", None, None):
        for person in world.people:
            world.say_twice(person, text or str(person))


@pytest.mark.timeout(300)
def test_workers_that_are_killed_between_their_writes_lose_nothing_and_keep_the_order(
    server: Ministack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Whatever dies, nobody is silent for so long.
    adder = tmp_path / "adder.py"
    adder.write_text(EXAMPLE.read_text().replace("timeout=20", "timeout=86400"))
    with world(server, monkeypatch, tmp_path, PEOPLE) as bot, workers(adder) as made:
        talk(bot)
        assert bot.queue.left == 3 * PEOPLE  # SQS knows the second one of each
        bot.work(made, KILLS)
        assert bot.kills == KILLS
        for person in bot.people:
            # A message may come again if its process died before it knew that it was sent.
            assert [text for text, _ in groupby(bot.told(person))] == expected(person)
        twice = sum(len(bot.told(person)) for person in bot.people) - 3 * PEOPLE
        assert twice <= KILLS * BATCH


def test_without_the_dedupe_of_the_store_that_test_would_fail(
    server: Ministack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The control."""
    with world(server, monkeypatch, tmp_path, 2) as bot, workers(EXAMPLE, "forget") as made:
        talk(bot)
        bot.work(made, 0)
        for person in bot.people:
            assert [text for text, _ in groupby(bot.told(person))] != expected(person)


def test_a_queue_that_delays_wakes_a_conversation_in_another_process(
    server: Ministack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And whoever comes with the same wake once more finds nothing to do."""
    (tmp_path / "quiet.py").write_text(QUIET)
    with world(server, monkeypatch, tmp_path, 1) as bot:
        bot.say_twice(1001, "/start")
        letters = bot.queue.receive()
        app = load_app(str(tmp_path / "quiet.py"))
        for records in (letters, None, None):
            worker = Function(app, {})
            try:
                # SQS holds it back for as long as the person may be silent.
                found = records or bot.timers.receive(wait_s=20)
                assert len(found) == 1
                answer = Lambda(worker)({"Records": found})
            finally:
                worker.close()
            assert answer == {"batchItemFailures": []}
            if records is None:
                bot.timers.settle(found, None)  # it comes once more
        assert bot.told(1001) == ["Anybody?", "You went quiet."]


def test_a_letter_that_ends_its_process_each_time_is_put_aside_and_those_beside_and_behind_it_are_not(
    server: Ministack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bomb = tmp_path / "poison.py"
    bomb.write_text(POISON)
    with world(server, monkeypatch, tmp_path, 3) as bot, workers(bomb) as made:
        for person, text in ((1001, "/start"), (1002, "/boom"), (1003, "/start"), (1002, "/start")):
            bot.say_twice(person, text)
        deaths = 0
        for _ in range(10):
            records = bot.queue.receive()
            if not records:
                break
            answer = made.invoke(records)
            deaths += answer is None
            bot.queue.settle(records, answer)
        assert bot.queue.left == 0
        assert 4 <= deaths <= 6
        assert [bot.told(person)[:1] for person in bot.people] == [["hello"]] * 3
        assert "never told" not in bot.told(1002)


def test_letters_that_there_was_no_time_for_come_again_at_once_and_in_their_order(
    server: Ministack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The queue itself hides them for five minutes."""
    handle = Runtime.handle

    async def slow(runtime: Runtime, event: Any, **more: Any) -> Any:
        if getattr(event, "text", "") == "1001":
            await asyncio.sleep(3600)
        return await handle(runtime, event, **more)

    with world(server, monkeypatch, tmp_path, 2) as bot:
        for person, text in ((1001, "/start"), (1002, "/start"), (1001, "1001"), (1001, "1")):
            bot.say_twice(person, text)
        records = bot.queue.receive()
        bot.say_twice(1001, "/start")  # it comes while the others are worked on
        worker = Function(bot.intake._app, {})
        try:
            with monkeypatch.context() as patch:
                patch.setattr(Runtime, "handle", slow)
                answer = Lambda(worker)({"Records": records}, Context(3.0))
            late = [record["messageId"] for record in records if "1001" in record["body"]][1:]
            assert bot.queue.settle(records, answer, soon=False) == sorted(late)

            again = bot.queue.receive()
            assert [record["messageId"] for record in again][:2] == late
            answer = Lambda(worker)({"Records": again}, Context(30.0))
            assert bot.queue.settle(again, answer, soon=False) == []
        finally:
            worker.close()
        assert bot.queue.left == 0
        assert bot.told(1001) == ["First number?", "Second number?", "Sum: 1002", "First number?"]
        assert bot.told(1002) == ["First number?"]
