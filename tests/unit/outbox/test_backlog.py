"""A broadcast to everybody waits in the store, and only some of it in memory."""

import asyncio
import functools
from collections import Counter

import pytest
from msgspec.structs import replace

from legato.abc import Limits
from legato.errors import StoreUnavailable
from legato.model.records import OutboxItem
from legato.outbox.dispatch import BULK
from legato.stores.memory import MemoryStore
from tests.unit.outbox.kit import World, item, place, simulate, virtual

SLOWLY = Limits(bulk=(10, 1.0, 10))


def broadcast(method: str, people: int) -> list[OutboxItem]:
    return [item(method, f"u{n}", bulk=True, key="") for n in range(people)]


def lanes_in_memory(world: World) -> int:
    return sum(name.endswith(BULK) for name in world.relay._lanes.lanes)


async def watched(world: World, until_left: int = 0) -> int:
    """The most lanes of broadcasts that stood in memory until all was sent."""
    most = 0
    loop = asyncio.get_running_loop()
    until = loop.time() + 1000
    left = functools.partial(  # not the hooks of a store that is tried
        MemoryStore.outbox, world.store, states=("queued", "sending"), limit=100_000
    )
    while len(await left()) > until_left:
        assert loop.time() < until, "something stays in the store"
        most = max(most, lanes_in_memory(world))
        await asyncio.sleep(0.05)
    return most


@virtual
async def test_a_broadcast_reaches_everybody_once_and_little_of_it_is_in_memory() -> None:
    async with World(SLOWLY, bulk_lanes=20) as world:
        await world.say(*broadcast("news", 500))
        assert await watched(world) == 20
        sent = Counter(chat for _, chat, _ in world.bot.tries)
        assert sent == {f"u{n}": 1 for n in range(500)}


@virtual
async def test_two_broadcasts_come_in_their_order() -> None:
    async with World(SLOWLY, bulk_lanes=20) as world:
        await world.say(*broadcast("first", 100))
        await asyncio.sleep(3)
        for n in range(100):  # one by one, while the first is read from the store
            await world.say(item("second", f"u{n}", bulk=True, key=""))
            await asyncio.sleep(0.1)
        await watched(world)
        for n in range(100):
            assert [m for _, chat, m in world.bot.tries if chat == f"u{n}"] == ["first", "second"]


@virtual
async def test_a_broadcast_of_before_a_restart_goes_on() -> None:
    async with World(SLOWLY, bulk_lanes=20) as world:
        await world.say(*broadcast("news", 200))
        await watched(world, until_left=120)
        await world.relay.close()
        world.start()
        await world.relay.recover()
        assert await watched(world) == 20
        sent = Counter(chat for _, chat, _ in world.bot.tries)
        assert sent.keys() == {f"u{n}" for n in range(200)}
        assert max(sent.values()) == 1


@virtual
async def test_answers_and_a_conversations_own_broadcast_do_not_wait_in_the_store() -> None:
    async with World(SLOWLY, bulk_lanes=20) as world:
        await world.say(*broadcast("news", 200))
        await world.say(item("answer", "u199"))
        await world.say(item("mine", "u150", bulk=True), item("after", "u150"))
        await world.relay.delivered(place("u199").lane, 2**62)
        assert "answer" in world.bot.methods()
        await watched(world)
        chat = [method for _, chat, method in world.bot.tries if chat == "u150"]
        assert chat.index("after") > chat.index("mine")
        assert len(world.bot.tries) == 203


@virtual
async def test_a_store_that_is_away_is_asked_again() -> None:
    async with World(SLOWLY, bulk_lanes=20) as world:
        away_until = asyncio.get_running_loop().time() + 20
        asked = 0

        async def read() -> None:
            nonlocal asked
            world.store.reading = read
            if asyncio.get_running_loop().time() < away_until:
                asked += 1
                raise StoreUnavailable("the network is away")

        world.store.reading = read
        await world.say(*broadcast("news", 60))
        await asyncio.sleep(19)
        assert len(world.bot.tries) == 20
        assert 10 < asked < 25  # not in a tight loop
        await asyncio.sleep(30)
        assert Counter(chat for _, chat, _ in world.bot.tries) == {f"u{n}": 1 for n in range(60)}


@pytest.mark.parametrize("people", [25, 60, 1500])  # the last page is read first, or not
def test_what_is_committed_with_a_smaller_number_during_a_read_is_found_too(people: int) -> None:
    async def scene() -> None:
        async with World(Limits(bulk=(100, 1.0, 10)), bulk_lanes=20) as world:
            early = await world.commit(*broadcast("early", 5))
            await world.say(*broadcast("news", people))

            async def late() -> None:
                world.relay.offer(early)  # their commit was slower than those behind them

            world.store.reading = late
            await watched(world)
            assert Counter(world.bot.methods()) == {"early": 5, "news": people}

    simulate(asyncio.wait_for(scene(), 600))


@virtual
async def test_another_bots_broadcast_does_not_wait_for_it() -> None:
    async with World(SLOWLY, bulk_lanes=20) as world:
        await world.say(*broadcast("news", 60))
        other = replace(broadcast("other", 1)[0], lane="test:2:u0")
        assert world.relay._backlog.leaves(replace(other, lane="test:1:u0"))
        assert not world.relay._backlog.leaves(other)


@virtual
async def test_what_others_send_is_not_read_by_a_refill_and_found_once_it_is_not_theirs() -> None:
    async with World(SLOWLY, bulk_lanes=20) as world:
        await world.say(*broadcast("news", 30))
        until_ms = world.clock.now_ms() + 60_000
        theirs = [
            replace(one, call=replace(one.call, until_ms=until_ms))
            for one in broadcast("theirs", 20)
        ]
        await world.commit(*theirs)
        await watched(world, until_left=20)
        await asyncio.sleep(30)
        assert set(world.bot.methods()) == {"news"}
        assert world.relay.left == 0
        await asyncio.sleep(60)
        assert await world.relay.recover() == 20
        await watched(world)
