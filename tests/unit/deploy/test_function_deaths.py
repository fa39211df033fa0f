"""A process that dies in the middle of a Turn: whoever goes on with it says first what that one had said."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from legato import App, Chat
from legato.deploy.function import yandex
from legato.model.records import RUNNING
from legato.outbox.caretaker import Caretaker
from tests.unit.deploy.function_kit import Context, Jumping, Service, on_telegram
from tests.unit.deploy.time_kit import AFTER_S, SHORT_MS, TICK, stored

WHOLE = [("sendMessage", "Working"), ("editMessageText", "Done one"), ("sendMessage", "Bye")]


def bot() -> App:
    """Says what it is at before each step, and changes that afterwards."""
    app = App("worker", apology="")

    async def work(name: str) -> str:
        return name

    @app.command("go")
    async def go(chat: Chat) -> None:
        status = await chat.say("Working")
        done = await chat.run(work, "one")
        await status.edit(f"Done {done}")
        await chat.say("Bye")

    @app.command("three")
    async def three(chat: Chat) -> None:
        await chat.run(work, "one")
        for number in "123":
            await chat.say(number)
        await chat.ask("4?")

    return app


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with on_telegram(tmp_path, monkeypatch) as telegram:
        service = Service(telegram, bot(), Jumping())
        yield service
        service.process.close()


def died(service: Service, text: str) -> dict[str, object]:
    """Somebody writes; the process dies after its first commit that says something, before anything is out."""
    fault = service.telegram.hangs(carried_out=False, method="sendMessage", times=-1)
    event = service.update(text)
    service.invoke(event, SHORT_MS)
    fault.end()
    service.crash()
    return event


def later(service: Service) -> None:
    """Nobody can be at it any more."""
    assert isinstance(service.clock, Jumping)
    service.clock.later_s += AFTER_S


def seen(service: Service, person: int = 1001) -> list[tuple[str, str]]:
    calls = [call for call in service.telegram.calls if call.carried_out]
    calls = [call for call in calls if str(call.params["chat_id"]) == str(person)]
    return [(call.method, str(call.params.get("text"))) for call in calls]


@pytest.mark.parametrize("by", ["tick", "update", "word"])
def test_an_interrupted_turn_goes_on_behind_what_it_had_said(service: Service, by: str) -> None:
    event = died(service, "/go")
    service.invoke(TICK)  # somebody may still be at it
    row = stored(service)
    assert row is not None
    assert row.status == RUNNING
    later(service)
    service.invoke({"tick": TICK, "update": event, "word": service.update("hm")}[by])
    assert seen(service) == WHOLE


@pytest.mark.parametrize("trusted", [False, True])
def test_a_repeated_update_delivers_what_its_turn_had_said_though_no_answer_of_it_is_kept(
    service: Service, trusted: bool
) -> None:
    """After a step no message rides in the answer."""
    event = died(service, "/three")
    later(service)
    if trusted:
        handler = yandex.Yandex(service.process, trigger=True)
        assert handler(json.loads(str(event["body"])), Context()) == {"taken": 1}
    else:
        assert service.invoke(event)["statusCode"] == 200
    assert [text for _, text in seen(service)] == ["1", "2", "3", "4?"]


def test_several_interrupted_turns_are_gone_on_with_at_once_each_behind_its_own_words(
    service: Service,
) -> None:
    service.telegram.user("Bob", started=True)
    fault = service.telegram.hangs(carried_out=False, method="sendMessage", times=-1)
    for person in (1001, 1002):
        event = service.update("/go")
        event["body"] = str(event["body"]).replace("1001", str(person))
        service.invoke(event, SHORT_MS)
        service.crash()
    fault.end()
    later(service)
    service.invoke(TICK)
    for person in (1001, 1002):
        assert [text for _, text in seen(service, person)] == ["Working", "Done one", "Bye"]


def test_while_another_process_sends_what_it_had_said_nobody_says_more(service: Service) -> None:
    event = died(service, "/go")
    later(service)

    async def cares() -> Caretaker:
        async with service.process.invoked(5, quiet=True) as runtime:
            other = Caretaker(runtime.store, runtime.clock)
            assert await other.take(runtime.clock.now_ms() + 5000)
            return other

    service.process.run(cares())
    assert service.invoke(event)["statusCode"] == 503
    service.invoke(TICK)
    assert seen(service) == []
    later(service)
    service.invoke(TICK)
    assert seen(service) == WHOLE
