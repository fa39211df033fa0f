"""Two processes work on one conversation: whoever is overtaken in the middle stops, and nobody sees it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from legato import App, Chat, StepInterrupted
from legato.app.runtime import Runtime
from legato.errors import Unavailable
from legato.model.records import WAITING
from legato.stores.memory import MemoryStore
from legato.testing.sql import Tables
from tests.unit.app.kit import World, message

app = App("x")
KEY = "test:bot:1:1:"


class Hall:
    """Where steps wait, in the order in which they came."""

    def __init__(self) -> None:
        self.inside: list[asyncio.Future[str]] = []
        self.names: list[str] = []

    async def enter(self, name: str) -> str:
        self.names.append(name)
        door: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.inside.append(door)
        return await door

    async def until(self, count: int) -> None:
        """Returns once so many have come."""
        async with asyncio.timeout(60):
            while len(self.inside) < count:  # noqa: ASYNC110
                await asyncio.sleep(0)


hall = Hall()


async def charge(name: str) -> str:
    return await hall.enter(name)


@app.command("go")
async def go(chat: Chat) -> None:
    await chat.say("Charging.")
    first = await chat.run(charge, "first")
    await chat.say(f"first {first}")
    await chat.ask("Next?")


@app.command("two")
async def two(chat: Chat) -> None:
    first = await chat.run(charge, "first")
    second = await chat.run(charge, "second")
    await chat.say(f"{first} {second}")
    await chat.ask("Next?")


@app.command("once")
async def once(chat: Chat) -> None:
    try:
        await chat.say(await chat.run(charge, "once", at_most_once=True))
    except StepInterrupted:
        await chat.say("interrupted")
    await chat.ask("Next?")


@app.command("ends")
async def ends(chat: Chat) -> None:
    await chat.say(await chat.run(charge, "last"))


@app.command("sells")
async def sells(chat: Chat) -> None:
    await chat.say(str(await chat.tx(sell)))
    await chat.ask("Next?")


async def sell(sql: Any) -> int:
    await hall.enter("sell")
    await sql.execute("INSERT INTO sold VALUES (1)")
    return await sql.fetchval("SELECT count(*) FROM sold")


@asynccontextmanager
async def overtaken(
    text: str, caplog: pytest.LogCaptureFixture, store: MemoryStore | None = None
) -> AsyncIterator[tuple[World, Runtime, asyncio.Task[Any]]]:
    """A stands in its step; B has started and stands in the same one."""
    hall.__init__()  # type: ignore[misc]
    caplog.set_level(logging.ERROR)
    world = World(app, store)
    await world.runtime.start(loops=False)
    going = asyncio.create_task(world.receive(message(text)))
    await hall.until(1)
    other = world.process()
    await other.start(loops=False)
    waking = asyncio.create_task(other.resume())
    await hall.until(2)
    try:
        yield world, other, waking
        await going
        await world.rest()
        assert not caplog.records
        assert app.apology not in world.said
    finally:
        for door in hall.inside:
            if not door.done():
                door.set_result("late")
        await asyncio.gather(going, waking, return_exceptions=True)
        await other.abandon()
        await world.runtime.stop()


async def rest(other: Runtime, waking: asyncio.Task[Any]) -> None:
    """B's Turn is over, and what it said is delivered."""
    await waking
    await other.drained()
    await other.relay.flush(60)


@pytest.mark.parametrize("end", ["result", "error"])
@pytest.mark.parametrize("text", ["/go", "/ends", "/once"])
async def test_whoever_comes_late_with_its_result_or_error_is_not_heard(text, end, caplog):
    said = {"/go": ["Charging.", "first B", "Next?"], "/ends": ["B"], "/once": []}[text]
    if text == "/once":
        async with overtaken_at_most_once(caplog) as (world, late):
            _close(late, end)
            await world.rest()
            assert world.said == ["interrupted", "Next?"]
        return
    async with overtaken(text, caplog) as (world, other, waking):
        hall.inside[1].set_result("B")
        await rest(other, waking)
        _close(hall.inside[0], end)
        await world.rest()
        assert world.said == said
        rows = await world.store.find()
        assert [row.status for row in rows] == ([WAITING] if text == "/go" else [])
        assert hall.names == [hall.names[0]] * 2


@asynccontextmanager
async def overtaken_at_most_once(
    caplog: pytest.LogCaptureFixture,
) -> AsyncIterator[tuple[World, asyncio.Future[str]]]:
    """B has told the dialog that the step of A may or may not have run."""
    hall.__init__()  # type: ignore[misc]
    caplog.set_level(logging.ERROR)
    world = World(app)
    await world.runtime.start(loops=False)
    going = asyncio.create_task(world.receive(message("/once")))
    await hall.until(1)
    other = world.process()
    await other.start(loops=False)
    await rest(other, asyncio.create_task(other.resume()))
    try:
        yield world, hall.inside[0]
        await going
        assert not caplog.records
        assert hall.names == ["once"]
    finally:
        await asyncio.gather(going, return_exceptions=True)
        await other.abandon()
        await world.runtime.stop()


def _close(door: asyncio.Future[str], end: str) -> None:
    if end == "result":
        door.set_result("A")
    else:
        door.set_exception(RuntimeError("A is cut off"))


async def test_the_slower_of_two_undoes_its_transaction(caplog):
    sold = [Tables(), Tables()]  # of one database, as each sees it: a lock of rows would part them
    sold[0].script("CREATE TABLE sold (x)")
    sold[1].script("CREATE TABLE sold (x)")
    use = iter(sold)
    store = MemoryStore(lambda: next(use, sold[1]).transaction())
    hall.__init__()  # type: ignore[misc]
    caplog.set_level(logging.ERROR)
    world = World(app, store)
    await world.runtime.start(loops=False)
    event = message("/sells")
    going = asyncio.create_task(world.receive(event))
    await hall.until(1)
    other = world.process()
    await other.start(loops=False)
    again = asyncio.create_task(other.handle(event))
    await hall.until(2)
    hall.inside[1].set_result("")
    await again
    hall.inside[0].set_result("")
    await going
    await world.rest()
    await other.relay.flush(60)
    assert [tables.fetch("SELECT count(*) FROM sold") for tables in sold] == [[(0,)], [(1,)]]
    assert world.said == ["1", "Next?"]
    assert not caplog.records
    await other.abandon()
    await world.runtime.stop()
    for tables in sold:
        tables.close()


async def test_who_knows_that_another_owns_it_now_runs_no_further_step(caplog):
    with pytest.raises(Unavailable, match="another process works on"):  # noqa: PT012  # at the end
        async with overtaken("/two", caplog) as (world, other, waking):
            world.runtime.turns.ours = lambda key: key != KEY
            hall.inside[1].set_result("B1")
            await hall.until(3)
            hall.inside[0].set_result("A1")
            await world.runtime.drained()
            assert hall.names == ["first", "first", "second"]
            hall.inside[2].set_result("B2")
            await rest(other, waking)
            assert world.said == ["B1 B2", "Next?"]
    assert not caplog.records


async def test_who_knows_of_no_owner_sees_to_the_end_itself(caplog):
    async with overtaken("/two", caplog) as (world, other, waking):
        hall.inside[1].set_result("B1")
        await hall.until(3)
        hall.inside[0].set_result("A1")
        await hall.until(4)  # the other one may have died meanwhile
        hall.inside[3].set_result("A2")
        await world.runtime.drained()
        hall.inside[2].set_result("B2")
        await rest(other, waking)
        await world.rest()
        assert world.said == ["B1 A2", "Next?"]
