"""Timers of a crowd that are all due at the same moment, and who writes just then."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato import App, Chat
from legato.deploy.function.core import SOME
from legato.testing.clock import FakeClock
from tests.unit.deploy.function_kit import Service, on_telegram
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
