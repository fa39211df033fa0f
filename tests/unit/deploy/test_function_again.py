"""Messages of our own queues that failed come again soon, and in their order: nobody waits for the queue's own time."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato import App, Chat
from legato.app.runtime import Runtime
from legato.errors import StoreUnavailable
from legato.stores.sqlite import SQLiteStore
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.function_kit import SECRET, TOKEN, Service, request
from tests.unit.deploy.queue_kit import CREDENTIALS, TIMERS, FakeSqs, Message, fake_sqs, record

DENIED = (400, {"__type": "com.amazon.coral.service#AccessDeniedException", "message": "no"})
SHORT_MS = 700
ANN, BEN = 1001, 1002


@pytest.fixture
def sqs() -> Iterator[FakeSqs]:
    with fake_sqs() as sqs:
        yield sqs


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqs: FakeSqs) -> Iterator[Service]:
    monkeypatch.chdir(tmp_path)
    settings = {**CREDENTIALS, "TELEGRAM_TOKEN": TOKEN, "TELEGRAM_SECRET": SECRET, **sqs.settings}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LEGATO_STORE", raising=False)
    app = App("bot", apology="")

    @app.command("start")
    async def start(chat: Chat) -> None:
        await chat.say("Hello")

    @app.event("*")
    async def note(chat: Chat) -> None:
        """Nothing is done."""

    with FakeTelegram(token=TOKEN).threaded() as telegram:
        for _ in range(2):
            telegram.user("Ann", started=True)
        service = Service(telegram, app)
        service.invoke({"legato": "tick"})
        yield service
        service.process.close()


class Trouble:
    """What `Runtime.handle` does with updates of these people: raise something, or hang."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: dict[int, Exception | None] = {}
        handle = Runtime.handle

        async def troubled(runtime: Runtime, event: Any, **more: Any) -> Any:
            person = int(event.place.user or 0)
            if person in self.of:
                error = self.of[person]
                if error is not None:
                    raise error
                await asyncio.sleep(3600)
            return await handle(runtime, event, **more)

        monkeypatch.setattr(Runtime, "handle", troubled)


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Trouble:
    return Trouble(monkeypatch)


def letters(service: Service, sqs: FakeSqs, *people: int, count: int = 1) -> list[Message]:
    """Letters of these people, as Lambda hands them out for the so-manieth time."""
    for number, person in enumerate(people):
        sender = {"id": person, "is_bot": False, "first_name": "Ann"}
        message = {"message_id": number, "date": 1, "from": sender, "text": "/start"}
        message["chat"] = {"id": person, "type": "private"}
        body = json.dumps({"update_id": 100 * count + number, "message": message})
        assert service.invoke(request("POST", "/telegram", body))["statusCode"] == 200
    return sqs.records(count=count)


def work(service: Service, records: list[Message], left_ms: int = 8000) -> list[str]:
    answer = service.invoke({"Records": records}, left_ms)
    return [one["itemIdentifier"] for one in answer["batchItemFailures"]]


def handles(records: list[Message]) -> list[str]:
    return [one["receiptHandle"] for one in records]


def names(records: list[Message]) -> list[str]:
    return [one["messageId"] for one in records]


def test_what_there_was_no_time_for_comes_again_at_once_with_all_behind_it_in_its_group(
    service: Service, sqs: FakeSqs, trouble: Trouble
) -> None:
    records = letters(service, sqs, ANN, BEN, ANN, ANN)
    anns = [records[0], *records[2:]]
    trouble.of = {ANN: None}
    assert work(service, records, 2000) == names(anns)
    assert sqs.shown == dict.fromkeys(handles(anns), 0)
    assert list(sqs.shown) == handles(anns)


@pytest.mark.parametrize(
    ("count", "pause_s"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, None), (90, None)]
)
def test_what_failed_comes_again_after_a_pause_that_grows_up_to_the_queues_own(
    service: Service, sqs: FakeSqs, trouble: Trouble, count: int, pause_s: int | None
) -> None:
    """A queue gives up what was handed out too often: a hundred tries must take long."""
    records = letters(service, sqs, ANN, ANN, BEN, count=count)
    trouble.of = {ANN: StoreUnavailable("away"), BEN: ValueError("a bug")}
    assert work(service, records) == names(records)
    assert sqs.shown == ({} if pause_s is None else dict.fromkeys(handles(records), pause_s))


def test_a_function_that_never_has_time_does_not_use_up_the_tries_of_a_queue(
    service: Service, sqs: FakeSqs, trouble: Trouble
) -> None:
    trouble.of = {ANN: None}
    for count in (9, 10, 11, 20):
        work(service, letters(service, sqs, ANN, count=count), SHORT_MS)
    assert list(sqs.shown.values()) == [0, 1, 2]


def test_a_store_that_hangs_lets_all_come_again_at_once(
    service: Service, sqs: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = letters(service, sqs, ANN, BEN)
    service.restart()

    async def hang(*given: object, **more: object) -> None:
        await asyncio.sleep(3600)

    with monkeypatch.context() as patch:
        patch.setattr(SQLiteStore, "open", hang)
        assert work(service, records, 900) == names(records)
    assert sqs.shown == dict.fromkeys(handles(records), 0)
    assert work(service, records) == []


def test_a_wake_that_failed_comes_again_soon_too(
    service: Service, sqs: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*given: object, **more: object) -> None:
        raise StoreUnavailable("away")

    wake = record('{"legato":"wake","key":"telegram:4200:1:1:","at":1}', TIMERS)
    monkeypatch.setattr(SQLiteStore, "load", away)
    assert work(service, [wake]) == names([wake])
    assert sqs.shown == {wake["receiptHandle"]: 1}


def test_messages_of_other_queues_are_left_to_their_owner(
    service: Service, sqs: FakeSqs, trouble: Trouble
) -> None:
    trouble.of = {0: StoreUnavailable("away")}
    assert work(service, [record("7", "orders", number=7)]) == ["id7"]
    assert sqs.shown == {}


def test_a_batch_of_any_size_is_shown(service: Service, sqs: FakeSqs, trouble: Trouble) -> None:
    records = letters(service, sqs, *[ANN] * 23)
    trouble.of = {ANN: None}
    work(service, records, 2000)
    assert list(sqs.shown) == handles(records)


def test_without_the_right_to_it_they_come_again_in_the_queues_own_time_and_the_log_names_the_right(
    service: Service, sqs: FakeSqs, trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    records = letters(service, sqs, ANN)
    trouble.of = {ANN: StoreUnavailable("away")}
    sqs.refuse = [DENIED]
    assert work(service, records) == names(records)
    assert sqs.shown == {}
    assert "the role needs sqs:ChangeMessageVisibility" in caplog.text


def test_a_queue_that_does_not_answer_holds_up_nothing(
    service: Service, sqs: FakeSqs, trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    records = letters(service, sqs, ANN)
    trouble.of = {ANN: None}
    sqs.refuse = [(500, {"__type": "com.amazonaws.sqs#InternalFailure", "message": "away"})] * 99
    assert work(service, records, SHORT_MS) == names(records)
    assert "come again when the queue's own time is over" in caplog.text
