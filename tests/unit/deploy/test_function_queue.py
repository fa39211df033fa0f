"""Updates of a function go into SQS first: taken in by one invocation, worked on by another."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from legato import App, Chat, Happened
from legato.abc import Parsed, Store
from legato.app.poison import SPACE, Count
from legato.deploy.function import core, queueing
from legato.deploy.function.outside import BUG_TRIES
from legato.errors import ConfigError, StoreUnavailable
from legato.model.records import FAILED, Commit
from legato.platforms.telegram import Telegram
from legato.queues.sqs.letters import hashed
from legato.testing.clock import FakeClock
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.function_kit import SECRET, TOKEN, Jumping, Service, request
from tests.unit.deploy.queue_kit import (
    CREDENTIALS,
    QUEUE,
    TIMERS,
    FakeSqs,
    Message,
    fake_sqs,
    record,
)

AWAY = (500, {"__type": "com.amazonaws.sqs#InternalFailure", "message": "away"})
DENIED = (400, {"__type": "com.amazon.coral.service#AccessDeniedException", "message": "no"})


class Bot:
    """A bot whose patterns may have a bug."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.app = App("bot", apology="Sorry")
        self.app.command("start")(self.start)
        self.app.event("sqs:orders")(self.order)

    async def start(self, chat: Chat) -> None:
        name = await chat.ask("Name?")
        await chat.say(f"Hello {name}")

    async def order(self, chat: Chat) -> None:
        assert isinstance(chat.event, Happened)
        await chat.run(self.seen.append, str(chat.event.data))


@pytest.fixture
def bot() -> Bot:
    return Bot()


@pytest.fixture
def sqs() -> Iterator[FakeSqs]:
    with fake_sqs() as sqs:
        yield sqs


@pytest.fixture
def service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bot: Bot, sqs: FakeSqs
) -> Iterator[Service]:
    monkeypatch.chdir(tmp_path)
    settings = {**CREDENTIALS, "TELEGRAM_TOKEN": TOKEN, "TELEGRAM_SECRET": SECRET, **sqs.settings}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LEGATO_STORE", raising=False)
    with FakeTelegram(token=TOKEN).threaded() as telegram:
        for _ in range(3):
            telegram.user("Ann", started=True)
        service = Service(telegram, bot.app)
        yield service
        service.process.close()


def update(number: int, person: int, text: str) -> dict[str, Any]:
    sender = {"id": person, "is_bot": False, "first_name": "Ann"}
    chat = {"id": person, "type": "private"}
    message = {"message_id": number, "date": 1, "from": sender, "chat": chat, "text": text}
    return request("POST", "/telegram", json.dumps({"update_id": number, "message": message}))


def texts(service: Service, person: int = 1001) -> list[str]:
    return list(service.telegram.chat(person).texts)


def work(service: Service, records: list[Message], left_ms: int = 8000) -> list[str]:
    """Lets the function work on messages; returns the ids of those that failed."""
    answer = service.invoke({"Records": records}, left_ms)
    return [one["itemIdentifier"] for one in answer["batchItemFailures"]]


def kept(service: Service, name: str) -> bytes | None:
    runtime = service.process._runtime
    assert runtime is not None
    return service.process.run(runtime.store.get("dead-update", name))


# -- in --------------------------------------------------------------------------------------------


def test_an_update_is_put_into_the_queue_by_its_conversation_and_answered_once_it_is_there(
    service: Service, sqs: FakeSqs
) -> None:
    for number, person in ((1, 1001), (2, 1002), (3, 1001), (3, 1001)):
        assert service.invoke(update(number, person, "/start"))["statusCode"] == 200
    sent = sqs.sent[QUEUE]
    groups = [entry["MessageGroupId"] for entry in sent]
    assert groups[0] == groups[2] == groups[3] != groups[1]
    ids = [entry["MessageDeduplicationId"] for entry in sent]
    assert ids[2] == ids[3]
    assert len(set(ids)) == 3
    assert texts(service) == texts(service, 1002) == []


def test_taking_in_looks_for_nothing_that_others_left(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resumed(*given: object) -> None:
        raise AssertionError("a thin function takes nothing up")

    monkeypatch.setattr(core, "resume", resumed)
    assert service.invoke(update(1, 1001, "/start"))["statusCode"] == 200


@pytest.mark.parametrize("refused", [[AWAY] * 9, [DENIED], [[0]] * 9])
def test_an_update_that_the_queue_does_not_take_is_to_come_again(
    service: Service, sqs: FakeSqs, refused: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    sqs.refuse = list(refused)
    answer = service.invoke(update(1, 1001, "/start"))
    assert (answer["statusCode"], answer["headers"]["retry-after"]) == (503, "1")
    assert QUEUE in caplog.text
    assert ("sqs:SendMessage" in caplog.text) is (refused == [DENIED])

    sqs.refuse = []
    assert service.invoke(update(1, 1001, "/start"))["statusCode"] == 200


def test_a_moment_of_trouble_is_waited_out(service: Service, sqs: FakeSqs) -> None:
    sqs.refuse = [AWAY, [0]]
    assert service.invoke(update(1, 1001, "/start"))["statusCode"] == 200
    assert len(sqs.sent[QUEUE]) == 1


def test_a_queue_that_does_not_answer_in_time_is_not_waited_for(
    service: Service, sqs: FakeSqs
) -> None:
    sqs.refuse = [AWAY] * 99
    assert service.invoke(update(1, 1001, "/start"), 550)["statusCode"] == 503


def test_nothing_that_is_forged_is_put_there(service: Service, sqs: FakeSqs) -> None:
    forged = update(1, 1001, "/start") | {"headers": {"X-Telegram-Bot-Api-Secret-Token": "x"}}
    assert service.invoke(forged)["statusCode"] == 401
    assert sqs.asked == 0


def test_a_pressed_button_is_acknowledged_at_once(service: Service, sqs: FakeSqs) -> None:
    sender = {"id": 1001, "is_bot": False, "first_name": "Ann"}
    message = {"message_id": 5, "date": 1, "chat": {"id": 1001, "type": "private"}, "text": "?"}
    press = {"id": "77", "from": sender, "message": message, "chat_instance": "1", "data": "x"}
    body = json.dumps({"update_id": 1, "callback_query": press})
    assert service.invoke(request("POST", "/telegram", body))["statusCode"] == 200
    assert len(service.telegram.called("answerCallbackQuery")) == 1
    assert len(sqs.sent[QUEUE]) == 1


def test_an_update_that_cannot_be_read_is_kept_by_the_worker(
    service: Service, sqs: FakeSqs
) -> None:
    assert service.invoke(request("POST", "/telegram", "{"))["statusCode"] == 200
    records = sqs.records()
    assert work(service, records) == []
    assert kept(service, json.loads(records[0]["body"])["id"]) == b"{"


# -- out -------------------------------------------------------------------------------------------


def test_a_letter_is_worked_on_once_however_often_it_comes(service: Service, sqs: FakeSqs) -> None:
    service.invoke(update(1, 1001, "/start"))
    service.invoke(update(2, 1001, "Ann"))
    records = sqs.records()
    for _ in range(2):
        assert work(service, records) == []
        service.restart()
    assert texts(service) == ["Name?", "Hello Ann"]


def test_what_follows_a_failed_letter_in_its_group_waits_for_it_and_others_do_not(
    service: Service, sqs: FakeSqs
) -> None:
    for number, person in enumerate((1001, 1002, 1001, 1002), 1):
        service.invoke(update(number, person, "/start" if number < 3 else "Ann"))
    records = sqs.records()
    body = records[0]["body"]
    strange = records[0] | {"messageId": "strange", "body": body.replace('"4200"', '"99"')}
    assert strange["body"] != body
    batch = [strange, *records]
    assert work(service, batch) == ["strange", records[0]["messageId"], records[2]["messageId"]]
    assert (texts(service), texts(service, 1002)) == ([], ["Name?", "Hello Ann"])

    assert work(service, [records[0], records[2]]) == []
    assert texts(service) == ["Name?", "Hello Ann"]


def test_what_there_is_no_time_for_stays_in_the_queue(service: Service, sqs: FakeSqs) -> None:
    service.invoke(update(1, 1001, "/start"))
    records = sqs.records()
    assert work(service, records, 500) == [records[0]["messageId"]]
    assert texts(service) == []
    assert work(service, records) == []
    assert texts(service) == ["Name?"]


def test_the_answers_of_a_process_that_died_are_sent_before_all_that_comes(
    service: Service, sqs: FakeSqs
) -> None:
    service.clock = clock = Jumping()
    service.restart()
    for number, text in enumerate(("/start", "Ann", "/start"), 1):
        service.invoke(update(number, 1001, text))
    records = sqs.records()
    fault = service.telegram.fails(500, method="sendMessage", times=-1)
    work(service, records[:2], 2000)
    fault.end()
    service.crash()
    assert texts(service) == []

    again = [
        one | {"attributes": one["attributes"] | {"ApproximateReceiveCount": "2"}}
        for one in records
    ]
    assert work(service, again) == [one["messageId"] for one in again]  # it may be alive
    assert texts(service) == []
    clock.later_s += 5
    assert work(service, again) == []
    assert texts(service) == ["Name?", "Hello Ann", "Name?"]


def test_what_ends_the_process_again_and_again_is_put_aside(service: Service, sqs: FakeSqs) -> None:
    service.invoke(update(1, 1001, "/start"))
    records = sqs.records(count=queueing.SUSPECT_AFTER + 2)
    letter = json.loads(records[0]["body"])["id"]
    runtime = service.process._runtime
    assert runtime is not None
    guilty = json.dumps([3, 2]).encode()  # deaths, and blame
    assert Count(3, 2).guilty
    put = (SPACE, f"attempt|{letter}", guilty)
    service.process.run(runtime.store.commit(Commit(at_ms=1, puts=(put,))))

    assert work(service, records) == []
    assert texts(service) == []
    rows = service.process.run(runtime.store.find())
    assert [row.status for row in rows] == [FAILED]


def test_a_letter_that_fails_by_a_bug_of_ours_is_put_aside_in_the_end(
    service: Service, sqs: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.invoke(update(1, 1001, "/start"))
    records = sqs.records()
    runtime = service.process._runtime
    assert runtime is not None

    async def broken(*given: object, **more: object) -> None:
        raise ValueError("a bug of ours")

    monkeypatch.setattr(runtime.dispatcher, "_once", broken)
    for _ in range(BUG_TRIES - 1):
        assert work(service, records) == [records[0]["messageId"]]
    assert work(service, records) == []
    rows = service.process.run(runtime.store.find())
    assert [row.status for row in rows] == [FAILED]


def test_what_the_store_cannot_take_now_stays_in_the_queue(
    service: Service, sqs: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.invoke(update(1, 1001, "/start"))
    letters = sqs.records()
    unreadable = record("hello")
    wake = record('{"legato":"wake","key":"telegram:4200:1:1:","at":1}', TIMERS)
    service.invoke({"legato": "tick"})
    runtime = service.process._runtime
    assert runtime is not None
    service.process.run(runtime.store.close())
    batch = [*letters, unreadable, wake]
    assert work(service, batch) == [one["messageId"] for one in batch]

    service.crash()
    assert work(service, batch) == []
    assert texts(service) == ["Name?"]


def test_a_platform_that_waits_for_an_answer_gets_it_with_the_update_in_the_queue(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = Telegram.parse

    def answering(self: Telegram, body: bytes) -> Parsed:
        return structs.replace(parse(self, body), reply=b"challenge", reply_type="text/plain")

    async def forgetful(self: Telegram, store: Store) -> None:
        raise StoreUnavailable("away")  # what was learned is kept later

    monkeypatch.setattr(Telegram, "parse", answering)
    monkeypatch.setattr(Telegram, "remember", forgetful)
    answer = service.invoke(update(1, 1001, "/start"))
    assert (answer["statusCode"], answer["body"]) == (200, "challenge")


def test_what_is_no_letter_is_kept_for_people(service: Service) -> None:
    for number, body in enumerate(
        ("hello", "[]", '{"legato": "letter"}', '{"legato":"wake","key":"k"}')
    ):
        one = record(body, number=number + 1)
        assert work(service, [one]) == []
        assert kept(service, f"sqs:{one['messageId']}") == body.encode()
    strange = record('{"legato":"letter","id":"x","event":{"type":"unheard of"}}')
    assert work(service, [strange]) == []
    assert kept(service, "x") is not None


def test_messages_are_told_apart_by_the_queue_that_they_come_from(
    service: Service, sqs: FakeSqs, bot: Bot, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may write into some other queue must not speak for anybody."""
    service.invoke(update(1, 1001, "/start"))
    forged = sqs.records()[0] | {"eventSourceARN": "arn:aws:sqs:eu-west-1:1:orders"}
    order = record('{"order": 7}', "orders")
    assert work(service, [forged, order]) == [forged["messageId"]]
    assert "is it to be LEGATO_QUEUE?" in caplog.text
    assert (texts(service), bot.seen) == ([], ["{'order': 7}"])


def test_a_worker_that_does_not_know_of_the_queue_refuses_its_letters(
    service: Service, sqs: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.invoke(update(1, 1001, "/start"))
    records = sqs.records()
    monkeypatch.delenv("LEGATO_QUEUE")
    monkeypatch.delenv("LEGATO_TIMERS")
    service.restart()
    assert work(service, records) == [records[0]["messageId"]]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LEGATO_QUEUE", "sqs://bot?region=eu-1", "its name ends with .fifo"),
        ("LEGATO_TIMERS", "sqs://bot.fifo?region=eu-1", "a standard queue"),
        ("LEGATO_QUEUE", "amqp://a:canary@h", "is no queue for a cloud function"),
        ("LEGATO_TIMERS", "sqs://bot?region=eu-1&speed=1", "'speed' is no parameter"),
    ],
)
def test_settings_that_cannot_be_are_told(
    service: Service, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    service.restart()
    with pytest.raises(ConfigError, match=said) as raised:
        service.invoke(update(1, 1001, "/start"))
    assert variable in str(raised.value)
    assert "canary" not in str(raised.value)


def test_group_ids_are_what_sqs_takes() -> None:
    assert len(hashed("telegram:4200:\ud800:1")) == 64


def test_the_clock_of_tests_is_the_clock_of_letters(
    bot: Bot, service: Service, sqs: FakeSqs
) -> None:
    service.clock = FakeClock()
    service.restart()
    service.invoke(update(1, 1001, "/start"))
    assert json.loads(sqs.sent[QUEUE][0]["MessageBody"])["at"] == service.clock.now_ms()


def test_what_nobody_needs_is_answered_and_not_put_there(service: Service, sqs: FakeSqs) -> None:
    poll = json.dumps({"update_id": 1, "poll_answer": {"poll_id": "1", "option_ids": [0]}})
    assert service.invoke(request("POST", "/telegram", poll))["statusCode"] == 200
    assert sqs.asked == 0
