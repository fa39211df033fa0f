"""Answers that ride in the response to a webhook: whatever happens, what follows is sent."""

import asyncio
from dataclasses import dataclass, field

import pytest

from legato import App, Chat
from legato.errors import StoreUnavailable, Unavailable
from legato.stores.memory import MemoryStore
from tests.unit.app.kit import message, place, running

app = App("answers")


@app.command("go", scope="user")
async def go(chat: Chat) -> None:
    name = await chat.ask("Name?")
    await chat.say(f"Hi {name}")
    await chat.wait_for("paid", int)
    await chat.say("paid")


@dataclass
class NoMail(MemoryStore):
    """Cannot read its mailboxes for a while."""

    broken: bool = field(default=False)

    def __post_init__(self) -> None:
        super().__init__()

    async def mail(self, **options):
        if self.broken:
            raise StoreUnavailable("no mail today")
        return await super().mail(**options)


async def test_an_answer_given_in_another_chat_lets_the_dialogs_own_chat_go_on() -> None:
    async with running(app) as world:
        await world.receive(message("/go", place("room", "1")))
        await world.rest()
        reply = await world.receive(message("Ann", place("1", "1")), may_reply=True)
        assert reply is not None
        assert b"Hi Ann" in reply
        await world.runtime.signal("test:bot::1:", "paid", 1)
        await world.rest()
        assert world.said == ["Name?", "paid"]


async def test_a_failure_after_the_commit_does_not_hold_up_the_chat() -> None:
    store = NoMail()
    async with running(app, store) as world:
        await world.receive(message("/go"))
        await world.rest()
        answer = message("Ann")
        store.broken = True
        with pytest.raises(Unavailable):
            await world.receive(answer, may_reply=True)
        store.broken = False
        reply = await world.receive(answer, may_reply=True)
        assert reply is not None
        assert b"Hi Ann" in reply
        await world.runtime.signal("test:bot::1:", "paid", 1)
        await world.rest()
        assert world.said == ["Name?", "paid"]


async def test_a_request_that_is_given_up_does_not_hold_up_the_chat() -> None:
    class Slow(MemoryStore):
        """Takes its time."""

        door: asyncio.Event | None = None

        async def commit(self, commit):
            if self.door is not None and commit.key:
                await self.door.wait()
            return await super().commit(commit)

    store = Slow()
    async with running(app, store) as world:
        await world.receive(message("/go"))
        await world.rest()
        store.door = asyncio.Event()
        request = asyncio.create_task(world.receive(message("Ann"), may_reply=True))
        for _ in range(20):
            await asyncio.sleep(0)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        store.door.set()
        await world.runtime.drained()
        await world.runtime.signal("test:bot::1:", "paid", 1)
        await world.rest()
        assert world.said[-1] == "paid"


async def test_a_second_answer_waits_for_the_first_that_still_rides() -> None:
    async with running(app) as world:
        await world.receive(message("/go"))
        await world.rest()
        first = await world.runtime.receive(world.platform, _body(message("Ann")), may_reply=True)
        assert first.reply is not None
        assert not world.runtime.relay.idle(place().lane)
        assert first.release is not None
        first.release()
        assert world.runtime.relay.idle(place().lane)


def _body(event) -> bytes:
    import msgspec

    return msgspec.json.encode(event)
