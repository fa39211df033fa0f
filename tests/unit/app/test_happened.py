"""Dialogs that are started by what happens outside of any chat."""

import pytest

from legato import App, Chat, Happened, MessageReceived, Unsupported
from legato.errors import Misuse
from legato.model.events import Address
from legato.model.records import FAILED
from tests.unit.app.kit import place, running

seen: list[object] = []
app = App("events")


@app.event("s3:ObjectCreated:*")
async def uploaded(chat: Chat) -> None:
    event = chat.event
    assert isinstance(event, Happened)
    name = await chat.run(noted, event.subject)
    await chat.run(app.broadcast, [place()], f"There is a new file: {name}", id=chat.id)


async def noted(subject: str) -> str:
    seen.append(subject)
    return subject.upper()


@app.event("schedule:*")
async def talks(chat: Chat) -> None:
    await chat.say("good morning")


@app.event("sqs:asks")
async def asks(chat: Chat) -> None:
    try:
        await chat.ask("How many?", int)
    except Unsupported as error:
        seen.append(str(error))


@app.message()
async def anything(chat: Chat) -> None:
    seen.append(type(chat.event))


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


def happened(kind: str, subject: str = "", id: str = "event::1") -> Happened:
    return Happened(id=id, place=Address("event", "", id), kind=kind, subject=subject)


async def test_a_file_starts_a_dialog_once_and_a_person_is_told():
    async with running(app) as world:
        event = happened("s3:ObjectCreated:Put", "box/cat.png")
        for _ in range(2):
            await world.runtime.handle(event)
            await world.rest()
        assert seen == ["box/cat.png"]
        assert world.said == ["There is a new file: BOX/CAT.PNG"]
        assert await world.store.load("event::event::1") is None


async def test_what_no_dialog_asked_for_is_ignored():
    async with running(app) as world:
        outcome = await world.runtime.handle(happened("s3:ObjectRemoved:Delete"))
        assert not outcome.taken
        await world.says("hello")
        assert seen == [MessageReceived]


async def test_a_dialog_that_has_nobody_to_talk_to_says_what_to_do_instead(caplog):
    async with running(app) as world:
        await world.runtime.handle(happened("sqs:asks"))
        assert "app.broadcast" in str(seen[0])

        await world.runtime.handle(happened("schedule:morning", id="event::2"))
        rows = await world.store.find(status=FAILED)
        assert [row.dialog for row in rows] == ["talks"]
        assert "nobody is there to talk to" in caplog.text
        assert world.said == []


def test_an_event_has_a_kind():
    with pytest.raises(Misuse, match="s3:ObjectCreated"):
        app.event("")
