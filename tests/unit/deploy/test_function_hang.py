"""A store that does not answer: the invocation ends in time all the same, and the next one begins anew."""

import asyncio
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from legato import App, Chat
from legato.app.runtime import Runtime
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.function.google import google
from legato.deploy.function.yandex import Yandex
from legato.errors import StoreUnavailable, Unavailable
from legato.stores.sqlite import SQLiteStore
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.function_kit import SECRET, TOKEN, Context, Service, request
from tests.unit.deploy.queue_kit import CREDENTIALS, FakeSqs, fake_sqs, record
from tests.unit.deploy.socket_kit import ANN, a_site, event
from tests.unit.deploy.socket_victim import greeter

CALLS = ("open", "get", "load", "commit", "due", "find", "outbox", "mail")
TICK = {"legato": "tick"}
SHORT_MS = 700
"""An invocation that has a fifth of a second for its work."""


class Stuck:
    """Calls of a store that never come back.

    Attributes:
        calls: Which calls hang.
        waiting: How many hang now.
        free: Lets them go on.
        open: Stores that are open.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: set[str] = set()
        self.waiting = 0
        self.free = asyncio.Event()
        self.open: set[SQLiteStore] = set()
        for name in (*CALLS, "close"):
            monkeypatch.setattr(SQLiteStore, name, self._replaced(name))

    def _replaced(self, name: str) -> Any:
        real = getattr(SQLiteStore, name)

        async def call(store: SQLiteStore, *given: Any, **more: Any) -> Any:
            if name == "open":
                self.open.add(store)
            if name in self.calls:
                await self._hang()
            found = await real(store, *given, **more)
            if name == "close":
                self.open.discard(store)
            return found

        return call

    async def _hang(self) -> None:
        self.waiting += 1
        try:
            await self.free.wait()
        finally:
            self.waiting -= 1


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Stuck:
    return Stuck(monkeypatch)


@pytest.fixture
def sqs() -> Iterator[FakeSqs]:
    with fake_sqs() as sqs:
        yield sqs


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck: Stuck) -> Iterator[Service]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TELEGRAM_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_SECRET", SECRET)
    monkeypatch.delenv("LEGATO_STORE", raising=False)
    app = App("bot", apology="")

    @app.command("start")
    async def start(chat: Chat) -> None:
        await chat.say(f"Hello {await chat.ask('Name?')}")

    @app.event("*")
    async def note(chat: Chat) -> None:
        """Nothing is done."""

    with FakeTelegram(token=TOKEN).threaded() as telegram:
        telegram.user("Ann", started=True)
        service = Service(telegram, app)
        yield service
        stuck.calls = set()
        service.process.close()
        assert stuck.open == set()
        gc.collect()


def tasks(process: Function) -> set[asyncio.Task[Any]]:
    assert process._loop is not None
    return asyncio.all_tasks(process._loop)


def text(answer: dict[str, Any]) -> str:
    assert answer["statusCode"] == 200
    return str(json.loads(answer["body"])["text"])


@pytest.mark.parametrize("call", [call for call in CALLS if call != "load"])
def test_a_cold_start_that_hangs_is_answered_and_the_next_one_begins_anew(
    service: Service, stuck: Stuck, call: str
) -> None:
    update = service.update("/start")
    stuck.calls = {call}
    answer = service.invoke(update, SHORT_MS)
    if call != "due":  # what only timers need holds up no answer
        assert (answer["statusCode"], answer["headers"]["retry-after"]) == (503, "1")
    assert (stuck.waiting, tasks(service.process)) == (0, set())
    assert len(stuck.open) == (call == "due")

    stuck.calls = set()
    assert text(service.invoke(update)) == "Name?"
    assert len(stuck.open) == 1


@pytest.mark.parametrize("call", ["get", "load", "commit", "outbox"])
def test_a_warm_process_whose_store_hangs_answers_and_goes_on_later(
    service: Service, stuck: Stuck, call: str
) -> None:
    service.says("/start")
    update = service.update("Bob")
    stuck.calls = {call}
    answer = service.invoke(update, SHORT_MS)
    if call == "commit":  # nothing else is needed
        assert answer["statusCode"] == 503
    assert (stuck.waiting, tasks(service.process)) == (0, set())

    stuck.calls = set()
    assert text(service.invoke(update)) == "Hello Bob"
    assert len(stuck.open) == 1


@pytest.mark.parametrize("call", ["open", "find", "outbox", "mail"])
def test_a_tick_that_hangs_says_that_it_must_come_again(
    service: Service, stuck: Stuck, call: str
) -> None:
    stuck.calls = {call}
    with pytest.raises(Unavailable, match="within the invocation"):
        service.invoke(TICK, SHORT_MS)
    assert (stuck.waiting, tasks(service.process), stuck.open) == (0, set(), set())
    stuck.calls = set()
    assert service.invoke(TICK) == {"woken": 0, "left": 0}


@pytest.mark.parametrize("call", ["open", "find", "load", "commit", "outbox"])
def test_letters_come_again_when_the_store_hangs(
    service: Service, stuck: Stuck, sqs: FakeSqs, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for name, value in {**CREDENTIALS, **sqs.settings}.items():
        monkeypatch.setenv(name, value)
    service.restart()
    assert service.invoke(service.update("/start"))["statusCode"] == 200
    letters = [*sqs.records(count=2), record("unreadable")]
    service.restart()
    names = [{"itemIdentifier": letter["messageId"]} for letter in letters]

    stuck.calls = {call}
    answer = service.invoke({"Records": letters}, SHORT_MS)
    if call == "load":
        names = names[:1]  # the other one needs nothing that hangs
    assert answer == {"batchItemFailures": names}
    assert (stuck.waiting, tasks(service.process)) == (0, set())

    stuck.calls = set()
    assert service.invoke({"Records": letters}) == {"batchItemFailures": []}
    assert service.telegram.chat(1001).texts == ["Name?"]


def test_what_was_done_before_the_store_hung_is_not_done_again(
    service: Service, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [record("1", "orders", number=1), record("2", "orders", number=2)]
    service.invoke(TICK)
    handle = Runtime.handle

    async def second_hangs(runtime: Runtime, event: Any) -> Any:
        if event.id.endswith("id2"):
            stuck.calls = {"commit"}
        return await handle(runtime, event)

    monkeypatch.setattr(Runtime, "handle", second_hangs)
    answer = service.invoke({"Records": messages}, SHORT_MS)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "id2"}]}


def test_a_store_that_cannot_even_be_closed_holds_up_no_answer_and_is_closed_later(
    service: Service, stuck: Stuck
) -> None:
    update = service.update("/start")
    stuck.calls = {"find", "close"}
    assert service.invoke(update, SHORT_MS)["statusCode"] == 503
    assert stuck.waiting == 1

    stuck.calls = set()
    assert text(service.invoke(update)) == "Name?"
    assert len(stuck.open) == 2
    stuck.free.set()
    service.invoke(TICK)
    assert len(stuck.open) == 1


def test_a_store_that_cannot_be_opened_now_asks_for_the_update_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(store: SQLiteStore) -> None:
        raise StoreUnavailable("the database is away")

    monkeypatch.setenv("LEGATO_STORE", "sqlite:///bot.db")
    with monkeypatch.context() as patch:
        patch.setattr(SQLiteStore, "open", refuse)
        assert service.invoke(service.update("/start"))["statusCode"] == 503
    assert service.says("/start") == "Name?"


# -- other ways in ---------------------------------------------------------------------------------


def test_yandexs_requests_are_answered_too(service: Service, stuck: Stuck) -> None:
    update = service.update("/start")
    asked = {"httpMethod": "POST", "url": "/telegram"} | {k: update[k] for k in ("headers", "body")}
    handler = Yandex(service.process)
    stuck.calls = {"find"}
    answer = handler(asked, Context(SHORT_MS))
    assert (answer["statusCode"], answer["headers"]["retry-after"]) == (503, "1")
    stuck.calls = set()
    assert text(handler(asked, Context())) == "Name?"


def test_googles_ticks_are_answered_too(service: Service, stuck: Stuck) -> None:
    handler: Any = google(service.app, timeout_s=SHORT_MS / 1000)
    tick = SimpleNamespace(
        path="/tick", method="POST", headers={}, query_string=b"", get_data=lambda: b""
    )
    stuck.calls = {"find"}
    assert handler(tick)[1] == 503
    stuck.calls = set()
    assert handler(tick) == {"woken": 0, "left": 0}
    handler.function.close()


@pytest.mark.parametrize(
    "asked", [request("GET", "/"), event("link=", "MESSAGE", json.dumps({"session": ANN}))]
)
def test_pages_of_the_web_chat_are_answered_too(
    tmp_path: Path, stuck: Stuck, asked: dict[str, Any]
) -> None:
    with a_site(greeter(), tmp_path) as site:
        stuck.calls = {"find"}
        assert Lambda(site.process)(asked, Context(SHORT_MS))["statusCode"] == 503
        stuck.calls = set()
        assert site.invoke(asked)["statusCode"] == 200


@pytest.mark.parametrize(
    "asked", [request("GET", "/"), event("link=", "MESSAGE", json.dumps({"session": ANN}))]
)
def test_so_they_are_while_the_store_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    async def refuse(store: SQLiteStore) -> None:
        raise StoreUnavailable("the database is away")

    with a_site(greeter(), tmp_path) as site:
        with monkeypatch.context() as patch:
            patch.setattr(SQLiteStore, "open", refuse)
            patch.setenv("LEGATO_STORE", "sqlite:///legato.db")
            assert site.invoke(asked)["statusCode"] == 503
        assert site.invoke(asked)["statusCode"] == 200
