"""A whole cluster in virtual time, many seeds."""

import asyncio
import os
from collections import Counter

import pytest

from legato import App, Chat, Timeout
from legato.model.events import Address, MessageReceived, User
from legato.testing.simulation import simulation
from tests.property.cluster_trouble import Trouble
from tests.property.cluster_world import World

app = App("adder")


@app.command("start")
async def add(chat: Chat) -> None:
    try:
        first = await chat.ask("First?", int, retry="A number!", timeout=3600)
        await chat.run(asyncio.sleep, 0.5)
        second = await chat.ask("Second?", int, retry="A number!", timeout=3600)
    except Timeout:
        await chat.say("quiet")
        return
    await chat.say(f"Sum: {first + second}")


app.finish()


def message(number: int, index: int, text: str) -> MessageReceived:
    person = str(number)
    return MessageReceived(
        id=f"test:bot:{number * 100 + index}",
        place=Address("test", "bot", person, person),
        user=User(person, f"P{number}"),
        text=text,
        command=text[1:] if text.startswith("/") else "",
        private=True,
    )


def test_a_cluster_without_trouble_says_everything_once():
    for seed in range(3):
        with simulation(seed) as sim:
            sim.run(_calm(World(sim, app)))


def spread_of(world: World) -> list[int]:
    return sorted(len(worker.membership.units) for worker in world.workers)


async def _calm(world: World) -> None:
    gateways = [await world.gateway() for _ in range(2)]
    for _ in range(3):
        await world.hire()
    for n in range(1, 9):
        for index, text in enumerate(["/start", str(n), "no", str(n * 10)]):
            await world.publish(gateways, message(n, index, text))
    assert await world.until(lambda: len(world.log) >= 8 * 4, 60), world.log
    for n in range(1, 9):
        assert world.said_to(str(n)) == ["First?", "Second?", "A number!", f"Sum: {n * 11}"]
    assert await world.until(lambda: spread_of(world) == [2, 3, 3], 10), spread_of(world)
    await world.close()


SEEDS = 200 * int(os.environ.get("LEGATO_SOAK", "1"))
CHUNKS = 4
PEOPLE = 6


def texts_of(number: int) -> list[str]:
    return ["/start", str(number), "no number", str(number * 10)]


def expected(number: int) -> list[str]:
    return ["First?", "Second?", "A number!", f"Sum: {number * 11}"]


class Run:
    """One run of a cluster that is disturbed while people talk."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.trouble = Trouble(world)

    async def play(self, seconds: float = 60.0) -> None:
        world = self.world
        self.gateways = [await world.gateway() for _ in range(2)]
        await asyncio.gather(*(world.hire() for _ in range(world.count)))
        people = [asyncio.create_task(self._talk(n)) for n in range(1, PEOPLE + 1)]
        await self.trouble.rage(seconds)
        await asyncio.gather(*people)
        await world.until(lambda: all(self.done(n) for n in range(1, PEOPLE + 1)), 900)
        await asyncio.sleep(30)  # whoever would say something twice does it now
        await world.close()

    def done(self, number: int) -> bool:
        return expected(number)[-1] in self.world.said_to(str(number))

    async def _talk(self, number: int) -> None:
        random = self.world.sim.random
        await asyncio.sleep(random.random() * 30)
        sent: list[MessageReceived] = []
        for index, text in enumerate(texts_of(number)):
            sent.append(message(number, index, text))
            await self.world.publish(self.gateways, sent[-1])
            if random.random() < 0.3:  # the platform did not get the 200 of an earlier one
                await self.world.publish(self.gateways, random.choice(sent))
            await asyncio.sleep(random.expovariate(1 / 5))

    def wrong(self, number: int) -> str:
        """What is wrong with what a person saw, "" if nothing."""
        said = self.world.said_to(str(number))
        once = [text for n, text in enumerate(said) if n == 0 or said[n - 1] != text]
        if once != expected(number):
            return f"{number} saw {said}"
        for text, count in Counter(said).items():
            excused = self.world.excused[f"{number}: {text}"]
            if count > 1 + excused:
                return f"{number} saw {text!r} {count} times, {excused} excused"
        return ""


def play(seed: int, **changes: object) -> list[str]:
    """What was wrong in one run."""
    with simulation(seed) as sim:
        world = World(sim, app)
        world.deadly, world.most_deaths = 0.01, 4
        for name, value in changes.items():
            setattr(world, name, value)
        run = Run(world)
        sim.run(run.play())
    return [text for n in range(1, PEOPLE + 1) if (text := run.wrong(n))]


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_whatever_goes_wrong_everybody_sees_the_right_words_in_order(chunk):
    for seed in range(chunk, SEEDS, CHUNKS):
        assert play(seed) == [], seed
