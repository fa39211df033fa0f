"""Timers, and what an operator's tool leaves in the store of a running bot."""

import msgspec
import pytest

from legato import App, Cancelled, Chat
from legato.app.runtime import RuntimeSettings
from legato.engine import journal
from legato.model.events import Interrupt, Signal
from legato.model.ids import place_of
from legato.model.records import Commit, Mail
from tests.unit.app.kit import World, running

app = App("x")
KEY = "test:bot:1:1:"


@app.command("go")
async def go(chat: Chat) -> None:
    try:
        name = await chat.ask("Name?")
        await chat.say(f"{name}: {await chat.wait_for('paid', int)}")
    except Cancelled as error:
        await chat.say(f"bye ({error.reason})")


@app.command("nap")
async def nap(chat: Chat) -> None:
    await chat.sleep(60)
    await chat.say("awake")


@pytest.fixture(params=[2000, 0], ids=["warm", "cold"])
def settings(request: pytest.FixtureRequest) -> RuntimeSettings:
    return RuntimeSettings(cache=request.param)


async def deposit(world: World, event: Signal | Interrupt) -> None:
    """What `legato dialogs signal` (or cancel) writes beside a running bot."""
    loaded = await world.store.load(KEY)
    assert loaded is not None
    row, now = loaded.conversation, world.clock.now_ms()
    alarm = msgspec.structs.replace(row, head=row.head + 1, wake_ms=now)
    mail = Mail(event.id, KEY, journal.encode(event))
    await world.store.commit(Commit(at_ms=now, deposit=(mail,)))
    await world.store.commit(Commit(at_ms=now, key=KEY, expect=(row.epoch, row.head), row=alarm))


def paid() -> Signal:
    return Signal(id="signal:1", place=place_of(KEY), key=KEY, name="paid", value=7)


async def test_a_signal_from_another_process_is_found(settings: RuntimeSettings) -> None:
    async with running(app, settings=settings) as world:
        await world.says("/go")
        await world.says("Ann")
        await deposit(world, paid())
        assert await world.runtime.tick() == 1
        await world.rest()
        assert world.said == ["Name?", "Ann: 7"]


async def test_one_that_comes_early_waits_and_wakes_nobody_again(settings: RuntimeSettings) -> None:
    async with running(app, settings=settings) as world:
        await world.says("/go")
        await deposit(world, paid())
        assert await world.runtime.tick() == 1
        world.clock.advance(1)
        assert await world.runtime.tick() == 0
        await world.says("Ann")
        assert world.said == ["Name?", "Ann: 7"]


async def test_a_message_that_comes_before_the_tick_finds_it_too(settings: RuntimeSettings) -> None:
    async with running(app, settings=settings) as world:
        await world.says("/go")
        await deposit(world, paid())
        world.clock.advance(1)
        await world.says("Ann")
        assert world.said == ["Name?", "Ann: 7"]


async def test_a_cancellation_from_another_process_is_found(settings: RuntimeSettings) -> None:
    async with running(app, settings=settings) as world:
        await world.says("/go")
        await deposit(
            world, Interrupt(id="cancel:1", place=place_of(KEY), key=KEY, reason="operator")
        )
        await world.runtime.tick()
        await world.rest()
        assert world.said == ["Name?", "bye (operator)"]
        assert await world.store.mail() == []


async def test_a_timer_fires_once_however_often_it_is_looked_for(settings: RuntimeSettings) -> None:
    async with running(app, settings=settings) as world:
        await world.says("/nap")
        world.clock.advance(59.9)
        assert await world.runtime.tick() == 0
        world.clock.advance(0.1)
        assert await world.runtime.tick() == 1
        assert await world.runtime.tick() == 0
        await world.rest()
        assert world.said == ["awake"]
        assert await world.store.find() == []


async def test_many_that_are_due_at_once_all_wake(settings: RuntimeSettings) -> None:
    async with running(app, settings=settings) as world:
        for number in range(1100):
            await world.says("/nap", place_of(f"test:bot:{number}:{number}:"))
        world.clock.advance(60)
        assert await world.runtime.tick() == 1100
        await world.rest()
        assert world.said == ["awake"] * 1100
