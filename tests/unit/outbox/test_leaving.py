"""Shards that leave cost no more time than there is to be looked at: one slow chat is not sought among all others."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from legato import App
from legato.app.actors import Actor, Actors
from legato.app.runtime import Runtime
from legato.app.share import Part
from legato.model.shards import slot_of
from legato.outbox import ours
from legato.stores.memory import MemoryStore
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork
from tests.unit.outbox.kit import LoopClock, item, place, virtual
from tests.unit.outbox.test_ours import MINE, Shared

LANES = 300
SLOW_S = 30.0
SLOTS = frozenset([slot_of(MINE)])
ALSO_MINE = next(chat for chat in map(str, count()) if slot_of(place(chat)) in SLOTS)


async def crowd(world: Shared) -> None:
    """Everybody else's chats have something to be sent for minutes, and "mine" for half of one."""
    world.bot.takes_s = SLOW_S
    others = [f"other {number}" for number in range(LANES)]
    world.share.gain({slot_of(place(chat)) for chat in others} - SLOTS)
    items = [item(f"m{n}", chat) for n in range(2) for chat in others]
    await world.say(item("a", "mine"), *(i for i in items if slot_of(i.place) not in SLOTS))


@virtual
async def test_a_relay_seeks_the_lanes_of_slots_that_leave_once():
    async with Shared(concurrency=2 * LANES) as world:
        await crowd(world)
        await asyncio.sleep(1)
        asked: Counter[str] = Counter()
        slot_of_lane = ours.lane_slot

        def counted(lane: Any) -> int:
            asked[lane.name] += 1
            return slot_of_lane(lane)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ours, "lane_slot", counted)
            assert await world.relay.emptied(SLOTS, 60)
        assert world.bot.methods()[0] == "a"
        del asked[MINE.lane]
        assert max(asked.values()) == 2  # at the beginning and at the end


@virtual
async def test_what_comes_late_into_a_slot_that_leaves_is_waited_for():
    async with Shared() as world:
        world.bot.takes_s = 5.0
        await world.say(item("a", "mine"))
        emptied = asyncio.create_task(world.relay.emptied(SLOTS, 60))
        await asyncio.sleep(1)
        await world.say(item("b", ALSO_MINE))
        assert await emptied
        assert world.bot.methods() == ["a", "b"]
        assert await world.fates() == {}


@virtual
async def test_a_relay_that_is_closed_meanwhile_leaves_nothing_to_wait_for():
    async with Shared() as world:
        world.bot.takes_s = 50.0
        await world.say(item("a", "mine"))
        emptied = asyncio.create_task(world.relay.emptied(SLOTS, 60))
        await asyncio.sleep(1)
        await world.relay.close()
        assert await emptied


@virtual
async def test_what_takes_longer_than_there_is_time_is_told():
    async with Shared() as world:
        world.bot.takes_s = 50.0
        await world.say(item("a", "mine"))
        assert not await world.relay.emptied(SLOTS, 10)


class Looked(dict[str, Actor]):
    """Counts how often all actors are looked at."""

    looks = 0

    def values(self) -> Any:
        self.looks += 1
        return super().values()

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("nobody looks at the names")


@virtual
async def test_actors_of_slots_that_leave_are_sought_once():
    clock = LoopClock()
    runtime = Runtime(
        App("none"),
        store=MemoryStore(),
        platforms=[ScriptedPlatform()],
        clock=clock,
        http=NoNetwork(),
        share=Part(clock),
    )

    async def ended(generation: int, shard: int) -> None:
        raise AssertionError("no queue ends here")

    actors = Actors(runtime, ended)
    actors._actors = all_ = Looked({name: Actor(name, len(name)) for name in ("a", "b", "cc")})
    draining = asyncio.create_task(actors.drained([1], 60))
    for name in ("a", "b"):
        await asyncio.sleep(5)
        assert not draining.done()
        del all_[name]
    assert await draining
    assert all_.looks == 2
    assert not await actors.drained([2], 1)
