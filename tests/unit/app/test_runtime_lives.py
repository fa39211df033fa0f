"""One conversation after another under the same key: what came for one is not for the next."""

import msgspec
import pytest

from legato import App, Chat
from legato.app.runtime import RuntimeSettings
from legato.engine import journal
from legato.model.records import FAILED, RUNNING, WAITING, Commit
from tests.unit.app.kit import World, running

app = App("x", apology="")
KEY = "test:bot:1:1:"
broken = True


@app.command("order")
async def order(chat: Chat) -> None:
    name = await chat.ask("Name?")
    await chat.say(f"{name}: {await chat.wait_for('paid', int, timeout=60)}")


@app.command("trip")
async def trip(chat: Chat) -> None:
    await chat.ask("Go?")
    if broken:
        raise RuntimeError("a bug")
    await chat.say(f"went {await chat.ask('Where?', key='where')}")


@app.command("nap")
async def nap(chat: Chat) -> None:
    try:
        await chat.say(await chat.ask("Sleepy?", timeout=30))
    except TimeoutError:
        await chat.say("quiet")


@pytest.fixture(params=[2000, 0], ids=["warm", "cold"])
def settings(request: pytest.FixtureRequest) -> RuntimeSettings:
    return RuntimeSettings(cache=request.param)


async def letters(world: World) -> int:
    return len(await world.store.mail())


async def test_a_signal_that_came_too_early_for_one_is_not_for_the_next(
    settings: RuntimeSettings,
) -> None:
    async with running(app, settings=settings) as world:
        await world.says("/order")
        assert await world.runtime.signal(KEY, "paid", 7)
        world.clock.advance(1)
        await world.says("/order")
        await world.says("Ann")
        assert world.said == ["Name?", "Name?"]
        assert await world.runtime.signal(KEY, "paid", 8)
        await world.rest()
        assert world.said == ["Name?", "Name?", "Ann: 8"]
        assert await letters(world) == 0


async def retry(world: World, key: str) -> None:
    """What `legato dialogs retry` writes."""
    loaded = await world.store.load(key)
    assert loaded is not None
    row, now = loaded.conversation, world.clock.now_ms()
    if key != KEY:
        expect = (row.epoch, row.head)
        await world.store.commit(Commit(at_ms=now, key=key, expect=expect, aside=KEY))
        await retry(world, KEY)
        return
    state = msgspec.structs.replace(journal.decode_state(row.state), error="")
    again = msgspec.structs.replace(
        row, status=RUNNING, head=row.head + 1, wake_ms=now, state=journal.encode(state)
    )
    await world.store.commit(Commit(at_ms=now, key=KEY, expect=(row.epoch, row.head), row=again))
    await world.runtime.tick()
    await world.rest()


async def test_what_a_failed_one_keeps_does_not_go_to_the_one_that_takes_its_place(
    settings: RuntimeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(app, settings=settings) as world:
        await world.says("/trip")
        await world.says("yes")
        await world.says("home")
        await world.says("/nap")
        world.clock.advance(29)
        await world.crash()
        await world.rest()
        assert world.said == ["Go?", "Sleepy?"]
        world.clock.advance(1)
        await world.runtime.tick()
        await world.rest()
        assert world.said == ["Go?", "Sleepy?", "quiet"]

        monkeypatch.setattr(f"{__name__}.broken", False)
        (row,) = await world.store.find(status=FAILED)
        await retry(world, row.key)
        assert world.said == ["Go?", "Sleepy?", "quiet", "Where?", "went home"]
        assert await world.store.find() == []
        assert await letters(world) == 0


async def test_a_failed_one_that_is_retried_in_place_gets_its_mail(
    settings: RuntimeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(app, settings=settings) as world:
        await world.says("/trip")
        await world.says("yes")
        await world.says("home")
        monkeypatch.setattr(f"{__name__}.broken", False)
        await retry(world, KEY)
        assert world.said == ["Go?", "Where?", "went home"]
        assert await world.store.find(status=WAITING) == []


async def test_an_abandoned_process_asks_the_store_nothing_more():
    world = World(App("x"))
    await world.runtime.start()
    loops = list(world.runtime._loops)
    await world.runtime.abandon()
    assert len(loops) == 3
    assert all(loop.cancelled() for loop in loops)
