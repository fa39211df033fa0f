"""A process that starts takes up what an earlier one left, and is open for everybody meanwhile."""

import asyncio

from legato.app.runtime import RuntimeSettings
from tests.unit.app.kit import message, place, running
from tests.unit.app.test_runtime_mail import Desk, Moody

SOON = RuntimeSettings(ack_after_s=0.01)


async def test_an_interrupted_slow_step_holds_up_neither_the_start_nor_others() -> None:
    desk = Desk()
    async with running(desk.app, settings=SOON) as world:
        await world.receive(message("/go", place("1", "1")))
        await world.receive(message("a", place("1", "1")))
        await world.runtime.abandon()
        world.runtime = world.process()
        await world.runtime.start()  # its step runs again, and waits for the door
        assert desk.begun == ["it", "it"]
        await world.receive(message("/quick", place("2", "2")))
        assert world.said == ["working", "Well?"]
        await world.receive(message("b", place("1", "1")))  # behind the mail of the first process
        desk.door.set()
        await world.rest()
        assert world.said == ["working", "Well?", "did it", "First?", "Second?", "a b"]
        assert await world.store.mail() == []


async def test_mail_of_an_earlier_process_survives_a_store_that_is_out_of_reach() -> None:
    desk, store = Desk(), Moody()
    async with running(desk.app, store, SOON) as world:
        await world.receive(message("/go"))
        await world.receive(message("a"))
        await world.runtime.abandon()
        world.runtime = world.process()
        desk.door.set()
        store.refuses = 3
        await world.runtime.start()
        while await store.mail():
            await asyncio.sleep(0)
            world.clock.advance(1)
        await world.rest()
        assert world.said == ["working", "did it", "First?", "Second?"]
