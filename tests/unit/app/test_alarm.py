"""Timers do not wait for each other."""

import asyncio

from legato import App, Chat
from legato.app.runtime import RuntimeSettings
from tests.unit.app.kit import message, place, running

app = App("x")
gates: list[asyncio.Event] = []


@app.command("slow")
async def slow(chat: Chat) -> None:
    await chat.sleep(10)
    await chat.run(gates[-1].wait)
    await chat.say("slow")


@app.command("quick")
async def quick(chat: Chat) -> None:
    await chat.sleep(20)
    await chat.say("quick")


async def test_a_timer_whose_dialog_runs_a_slow_step_holds_up_no_other_one():
    gates.append(asyncio.Event())
    async with running(app, settings=RuntimeSettings(ack_after_s=0.01)) as world:
        await world.runtime.handle(message("/slow", place("1", "1")))
        await world.runtime.handle(message("/quick", place("2", "2")))
        world.clock.advance(10)
        assert await world.runtime.tick() == 1
        world.clock.advance(10)
        assert await world.runtime.tick() == 1  # the slow one is not woken a second time
        assert world.said == ["quick"]
        gates[-1].set()
        await world.rest()
        assert world.said == ["quick", "slow"]
