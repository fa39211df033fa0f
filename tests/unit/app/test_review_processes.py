"""Two processes on one store: what one has in memory may be old."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from legato import App, ButtonPressed, Chat, MessageReceived
from legato.app.runtime import Runtime
from tests.unit.app.kit import World, message, pressed, running

app = App("old")


@app.command("go")
async def go(chat: Chat) -> None:
    await chat.receive(kinds=ButtonPressed)
    text = (await chat.receive(kinds=MessageReceived)).text
    await chat.say(f"then {text}")


@asynccontextmanager
async def another(world: World) -> AsyncIterator[Runtime]:
    process = world.process()
    await process.start(loops=False)
    yield process
    await process.drained()
    await process.relay.flush(60)
    await process.abandon()


async def test_a_message_is_not_refused_by_a_conversation_that_moved_on_elsewhere() -> None:
    async with running(app) as world:
        await world.receive(message("/go"))
        async with another(world) as other:
            await other.receive(world.platform, msgspec.json.encode(pressed("x")))
        await world.says("hello")
        assert world.said == ["then hello"]


async def test_a_timer_finds_an_old_conversation_of_another_epoch_in_memory() -> None:
    async with running(app) as world:
        await world.receive(message("/go"))
        (row,) = await world.store.find()
        newer = msgspec.structs.replace(row, epoch=row.epoch + 1)
        world.runtime.turns.cache.refresh(row.key, newer)
        assert not world.runtime.turns.live(row.key)
