"""Listeners that die, hang and lose the broker: every update comes out of the queue, in order."""

from __future__ import annotations

import asyncio

import pytest

from legato.abc import Platform
from legato.deploy.carrying import ToQueue
from legato.deploy.listener import ENDED, HELD, STANDBY
from legato.errors import ConfigError
from legato.testing.simulation import simulation
from tests.unit.deploy.listening_kit import Instance, Net, World, router

SEEDS = range(25)


async def crowd(world: World, *, users: int = 8, messages: int = 25, every_s: float = 0.4) -> None:
    """People write, each message with its number."""
    for number in range(messages):
        for user in range(1, users + 1):
            if world.sim.random.random() < 0.8:
                world.telegram.says(user, f"{user}:{number}")
        await asyncio.sleep(every_s * 2 * world.sim.random.random())


async def faults(world: World, instances: list[Instance]) -> list[Instance]:
    """Something happens every few seconds; returns those that live at the end."""
    living = list(instances)
    for number in range(5):
        await asyncio.sleep(1 + 2 * world.sim.random.random())
        one = world.sim.random.choice(living)
        match world.sim.random.choice(["dies", "stops", "broker", "confirms", "leases", "stuck"]):
            case "dies" | "stops" as how:
                await (one.dies() if how == "dies" else one.stops())
                living.remove(one)
                new = Instance(world, f"new-{number}")
                await new.starts()
                living.append(new)
            case "broker":
                world.broker.stop()
                await asyncio.sleep(4 * world.sim.random.random())
                world.broker.start()
            case "confirms":
                world.broker.meddle = lambda letters: (letters, world.sim.random.random() < 0.5)
            case "leases":
                for each in living:
                    each.way.down = True
                await asyncio.sleep(4 * world.sim.random.random())
                for each in living:
                    each.way.down = False
            case _:
                one.way.stuck = True
                await asyncio.sleep(4 * world.sim.random.random())
                one.way.stuck = False
    world.broker.meddle = None
    return living


async def scenario(world: World, *, elected: bool = True) -> None:
    """A crowd, three processes and faults; afterwards everything has come out of the queue."""
    await world.opens()
    instances = [Instance(world, name, elected=elected) for name in "abc"]
    for one in instances:
        await one.starts()
    talking = asyncio.create_task(crowd(world))
    living = await faults(world, instances)
    await talking
    await world.all_taken()
    for one in living:
        await one.stops()
    assert [error for one in instances for error in one.errors] == []


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_dies_every_message_comes_in_order_and_two_never_poll(seed: int) -> None:
    async def main() -> None:
        world = World(sim)
        await scenario(world)
        assert world.got() == world.telegram.sent
        assert world.telegram.conflicts == 0

    with simulation(seed) as sim:
        sim.run(main())


def test_without_the_election_two_poll_and_telegram_says_so() -> None:
    """The negative control: the fake sees it."""

    async def main() -> None:
        world = World(sim)
        await world.opens()
        instances = [Instance(world, name, elected=False) for name in "ab"]
        for one in instances:
            await one.starts()
        await crowd(world, messages=5)
        await asyncio.sleep(60)
        assert world.telegram.conflicts > 0
        for one in instances:
            await one.stops()

    with simulation(1) as sim:
        sim.run(main())


class Hasty(ToQueue):
    """Says that an update is safe before it is."""

    async def carry(self, platform: Platform, body: bytes) -> None:
        self._hasty = asyncio.create_task(super().carry(platform, body))


@pytest.mark.parametrize("hasty", [False, True])
def test_an_update_counts_as_taken_after_the_confirm_only(hasty: bool) -> None:
    """With its negative control: who counts it before loses it with the process."""

    async def main() -> None:
        world = World(sim)
        await world.opens()
        kind = Hasty if hasty else ToQueue
        net = Net(world.telegram, sim)
        old = Instance(world, "a", carrier=lambda queue: kind(queue, router(), net, sim.clock))
        await old.starts()
        await asyncio.sleep(5)
        world.broker.block()
        world.telegram.says(1, "precious")
        await asyncio.sleep(3)
        await old.dies()
        world.broker._stuck.clear()  # it dies with the broker's memory of it
        world.broker.unblock()
        new = Instance(world, "b")
        await new.starts()
        await asyncio.sleep(10)
        assert world.got() == ({} if hasty else {1: ["precious"]})
        await new.stops()

    with simulation(1) as sim:
        sim.run(main())


def test_a_crash_between_the_confirm_and_the_moved_offset_gives_a_duplicate() -> None:
    async def main() -> None:
        world = World(sim)
        await world.opens()
        old, new = Instance(world, "a"), Instance(world, "b")
        await old.starts()
        await asyncio.sleep(5)
        world.telegram.says(1, "twice")
        await world.until_letters(1)
        await old.dies()
        await new.starts()
        await asyncio.sleep(10)
        assert len(world.letters) == 2
        assert len({letter.id for letter in world.letters}) == 1
        assert world.letters[0].body == world.letters[1].body
        await new.stops()

    with simulation(1) as sim:
        sim.run(main())


def test_it_tells_what_it_holds_and_how_much_it_took() -> None:
    async def main() -> None:
        world = World(sim)
        await world.opens()
        first, second = Instance(world, "a"), Instance(world, "b")
        await first.starts()
        await asyncio.sleep(1)
        await second.starts()
        world.telegram.says(1, "hi")
        await asyncio.sleep(3)
        assert (first.listener.states, second.listener.states) == (
            {"telegram": HELD},
            {"telegram": STANDBY},
        )
        assert (first.listener.updates, second.listener.updates) == (1, 0)
        world.broker.stop()
        world.telegram.says(1, "again")
        await asyncio.sleep(3)
        assert first.listener.refused > 0
        for one in (first, second):
            await one.stops()

    with simulation(1) as sim:
        sim.run(main())


@pytest.mark.parametrize("error", [ConfigError("it is revoked"), ValueError("a bug")])
def test_the_last_platform_that_refuses_us_ends_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        world = World(sim)
        one = Instance(world, "a")

        async def refuses(*args: object) -> None:
            raise error

        monkeypatch.setattr(type(one.bot), "setup", refuses)
        await one.starts()
        await asyncio.sleep(1)
        assert one.errors == [error]
        assert one.listener.states == {"telegram": ENDED}
        await one.stops()

    with simulation(1) as sim:
        sim.run(main())
