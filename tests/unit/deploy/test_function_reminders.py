"""Who writes waits for nobody else: not for a crowd whose timers are all due, nor for a chat that must be left alone."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato import App, Chat
from legato.deploy.function.core import SOME
from legato.engine import changes
from legato.model.events import MessageReceived
from legato.model.records import Commit
from legato.testing.clock import FakeClock
from tests.unit.deploy.function_kit import Jumping, Service, on_telegram
from tests.unit.deploy.time_kit import TICK

MORE = 5


def bot() -> App:
    app = App("reminder")

    @app.command("remind")
    async def remind(chat: Chat) -> None:
        await chat.sleep(3600)
        await chat.say("It is time")

    @app.command("hi")
    async def hi(chat: Chat) -> None:
        await chat.say("Hello")

    @app.command("two")
    async def two(chat: Chat) -> None:
        await chat.say("One")
        await chat.say("Two")

    @app.command("slow")
    async def slow(chat: Chat) -> None:
        await chat.run(asyncio.sleep, 3600)

    return app


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with on_telegram(tmp_path, monkeypatch) as telegram:
        for _ in range(SOME + MORE):
            telegram.user("Bob", started=True)
        service = Service(telegram, bot(), FakeClock())
        yield service
        service.process.close()


def by(service: Service, text: str, person: int) -> dict[str, Any]:
    event = service.update(text)
    return event | {"body": event["body"].replace("1001", str(person))}


def reminded(service: Service) -> int:
    return len(service.telegram.called("sendMessage"))


def test_who_writes_waits_for_a_few_of_them_and_the_tick_wakes_the_others(service: Service) -> None:
    for person in range(SOME + MORE):
        service.invoke(by(service, "/remind", 1002 + person))
    clock = service.clock
    assert isinstance(clock, FakeClock)
    clock.advance(3600)
    answer = service.invoke(by(service, "/hi", 1001))
    assert (json.loads(answer["body"])["text"], reminded(service)) == ("Hello", SOME)
    assert service.invoke(TICK)["woken"] == MORE
    assert reminded(service) == SOME + MORE


@pytest.mark.parametrize("cold", [False, True])
def test_a_chat_that_must_be_left_alone_is_left_alone_by_all_invocations_until_its_time(
    service: Service, cold: bool
) -> None:
    """Each of them tried it anew, and waited two seconds for it."""
    service.clock = clock = Jumping()
    service.restart()
    asked = service.telegram.fails(429, method="sendMessage", chat=1002, times=-1, retry_after=300)
    event = by(service, "/two", 1002)
    answer = service.invoke(event)
    assert answer["statusCode"] == 503  # at once: its time would not be enough
    if cold:
        service.restart()
    runtime = None
    for _ in range(3):
        assert service.says("/hi") == "Hello"
        assert service.invoke(TICK)["woken"] == 0
        runtime = service.process._runtime
    assert reminded(service) == 1
    assert runtime is not None
    (row,) = service.process.run(runtime.store.outbox(states=("queued",)))
    assert (row.attempts, row.not_before_ms > clock.now_ms() + 200_000) == (1, True)
    asked.end()
    clock.later_s += 301
    service.restart()
    service.invoke(TICK)
    assert json.loads(service.invoke(event)["body"])["text"] == "Two"
    assert [call.params["text"] for call in service.telegram.called("sendMessage")] == ["One"] * 2


def test_mail_of_a_conversation_that_another_process_is_at_holds_up_nobodys_timers(
    service: Service,
) -> None:
    service.clock = clock = Jumping()
    service.restart()
    service.invoke(by(service, "/remind", 1002))
    clock.later_s += 3600
    service.invoke(by(service, "/slow", 1003), 700)
    service.crash()  # as seen by another process: the first one is at it
    clock.later_s -= 1800
    service.invoke(TICK)
    clock.later_s += 1800
    word = by(service, "well?", 1003)["body"]

    async def put() -> None:
        async with service.process.invoked(1, quiet=True) as runtime:
            platform = service.process.platform("telegram")
            assert platform is not None
            (event,) = platform.parse(word.encode()).events
            assert isinstance(event, MessageReceived)
            mail = changes.mail(runtime.router.lane(event), event)
            await runtime.store.commit(Commit(at_ms=clock.now_ms(), deposit=(mail,)))

    service.process.run(put())
    assert service.invoke(TICK, 1500)["woken"] == 1
    assert reminded(service) == 1
