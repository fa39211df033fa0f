"""A group becomes a supergroup, with another id: what waits there goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from legato import App, Chat
from legato.abc import Store
from legato.app.settings import load_settings
from legato.deploy.clock import SystemClock
from legato.deploy.parts import make_platforms
from legato.deploy.process import Process
from legato.errors import StoreUnavailable
from legato.model.events import Address, MessageReceived
from legato.model.records import Call, Commit, Committed
from legato.platforms.telegram import Telegram
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.fake_telegram import FakeTelegram

OLD, NEW = "-777", "-1001444"


def adder() -> App:
    app = App("adder")

    @app.command("add")
    async def add(chat: Chat) -> None:
        first = await chat.ask("First?", int)
        await chat.say(f"Sum: {first + await chat.ask('Second?', int)}")

    return app


@asynccontextmanager
async def living(telegram: FakeTelegram, store: Store) -> AsyncIterator[Process]:
    env = {"TELEGRAM_TOKEN": telegram.token, "TELEGRAM_API": telegram.api}
    settings = load_settings(environ=env)
    platforms = make_platforms(settings, ("/",), SystemClock())
    failures: list[BaseException] = []
    process = Process(
        adder(),
        settings,
        store=store,
        platforms=platforms,
        clock=SystemClock(),
        failed=failures.append,
    )
    await process.open()
    process.listen(platforms[0])
    try:
        yield process
    finally:
        await process.close(2.0)
    assert failures == []


@pytest.mark.parametrize("restart", [False, True])
async def test_a_dialog_goes_on_in_the_supergroup(restart: bool) -> None:
    store = MemoryStore()
    async with FakeTelegram(second=0.01) as telegram:
        group = telegram.group("Friends", kind="group")
        ann = telegram.user("Ann")
        async with living(telegram, store) as process:
            ann.sends("/add", to=group)
            await ann.gets("First?", to=group)
            moved = group.becomes_supergroup()
            ann.sends("2", to=moved)
            await ann.gets("Second?", to=moved)
            if not restart:
                ann.sends("40", to=moved)
                await ann.gets("Sum: 42", to=moved)
                assert [call.code for call in telegram.called("sendMessage")] == [200] * 3
            assert process.runtime.stats["malformed"] == 0
        if restart:
            async with living(telegram, store):
                ann.sends("40", to=moved)
                await ann.gets("Sum: 42", to=moved)
                assert [call.code for call in telegram.called("sendMessage")] == [200] * 3


# -- what is known of moves ------------------------------------------------------------------------


def bot() -> Telegram:
    return Telegram("123:abc", secret="s", clock=FakeClock())


def message(chat: str, **more: object) -> bytes:
    about = {"message_id": 1, "date": 1, "chat": {"id": int(chat), "type": "supergroup"}}
    ann = {"from": {"id": 7, "is_bot": False, "first_name": "Ann"}}
    return json.dumps({"update_id": 5, "message": about | ann | more}).encode()


def chat_of(telegram: Telegram, chat: str) -> str:
    (event,) = telegram.parse(message(chat, text="hi")).events
    assert isinstance(event, MessageReceived)
    return event.place.chat


@pytest.mark.parametrize(
    "told",
    [message(OLD, migrate_to_chat_id=int(NEW)), message(NEW, migrate_from_chat_id=int(OLD))],
)
def test_either_message_tells_of_it(told: bytes) -> None:
    telegram = bot()
    assert chat_of(telegram, NEW) == NEW
    parsed = telegram.parse(told)
    assert parsed.events == ()
    assert parsed.kind.startswith("message:migrate_")
    assert (chat_of(telegram, NEW), chat_of(telegram, OLD), chat_of(telegram, "5")) == (
        OLD,
        OLD,
        "5",
    )


def test_a_call_that_rides_in_an_answer_goes_to_the_new_id() -> None:
    telegram = bot()
    telegram.parse(message(NEW, migrate_from_chat_id=int(OLD)))
    call = Call("sendMessage", {"chat_id": int(OLD), "text": "hi"})
    body = telegram.webhook_reply(call, Address("telegram", "123", OLD))
    assert body is not None
    assert json.loads(body)["chat_id"] == int(NEW)  # Telegram says nothing of one that fails


async def test_other_processes_learn_of_it_from_the_store() -> None:
    store = MemoryStore()
    one, other, third = bot(), bot(), bot()
    one.parse(message(NEW, migrate_from_chat_id=int(OLD)))
    other.parse(message("-1009", migrate_from_chat_id=-9))
    await one.remember(store)
    await other.remember(store)
    for telegram in (one, third):
        await telegram.load(store)
        assert (chat_of(telegram, NEW), chat_of(telegram, "-1009")) == (OLD, "-9")


class Shaky(MemoryStore):
    __slots__ = ("commits", "down")

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self.down = False

    async def commit(self, commit: Commit) -> Committed:
        if self.down:
            raise StoreUnavailable("away")
        self.commits += 1
        return await super().commit(commit)


async def test_it_is_kept_once_and_tried_again_if_the_store_is_away() -> None:
    store, telegram = Shaky(), bot()
    await telegram.remember(store)
    telegram.parse(message(NEW, migrate_from_chat_id=int(OLD)))
    store.down = True
    with pytest.raises(StoreUnavailable):
        await telegram.remember(store)
    store.down = False
    for _ in range(3):
        await telegram.remember(store)
        telegram.parse(message(OLD, migrate_to_chat_id=int(NEW)))
    assert store.commits == 1
