"""One run of a simulated cluster: people talk, everything breaks, and at the end everybody has seen the right
words in the right order, and nothing is left over.

    python -m tests.property.cluster_run 17     # what happens in seed 17, and what is logged
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Sequence

import msgspec

from legato import App, Chat, Timeout
from legato.app.poison import TRIES
from legato.deploy.topology import Layout
from legato.model.events import Address, MessageReceived, User
from legato.model.ids import ASIDE, place_of
from legato.model.records import DEAD, FAILED, QUEUED, SENDING, UNKNOWN
from legato.testing.simulation import simulation
from tests.property.cluster_trouble import KINDS, Trouble
from tests.property.cluster_world import World

app = App("adder")


@app.command("start")
async def add(chat: Chat) -> None:
    first = await chat.ask("First?", int, retry="A number!")
    await chat.run(asyncio.sleep, 0.5)
    second = await chat.ask("Second?", int, retry="A number!")
    await chat.say(f"Sum: {first + second}")


@app.command("wait")
async def wait(chat: Chat) -> None:
    for number in range(1, 5):
        await chat.say(f"Wait {number}")
    try:
        await chat.ask("Well?", timeout=20)
    except Timeout:
        await chat.say("Quiet")


app.finish()

PEOPLE = 6
AFTERWARDS = 3
"""People who come when all trouble is over."""
LONGEST_S = 3600.0
"""Virtual time of a run: it takes a few minutes."""


class Person:
    """Somebody who talks to the bot, either an adder or one who says no more."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.began = 0.0
        self.texts = ["/wait"]
        self.expected = ["Wait 1", "Wait 2", "Wait 3", "Wait 4", "Well?", "Quiet"]
        if number % 3:
            self.texts = ["/start", str(number), "no number", str(number * 10)]
            self.expected = ["First?", "Second?", "A number!", f"Sum: {number * 11}"]

    def message(self, index: int) -> MessageReceived:
        person, text = str(self.number), self.texts[index]
        return MessageReceived(
            id=f"test:bot:{self.number * 100 + index}",
            place=Address("test", "bot", person, person),
            user=User(person, f"P{person}"),
            text=text,
            command=text[1:] if text.startswith("/") else "",
            private=True,
        )


class Run:
    """One run of a cluster that is disturbed while people talk.

    Attributes:
        wrong: What was found to be wrong.
    """

    def __init__(self, world: World, trouble: Trouble) -> None:
        self.world = world
        self.trouble = trouble
        self.people = [Person(number) for number in range(1, PEOPLE + AFTERWARDS + 1)]
        self.blamed: set[int] = set()  # people of whom an event was put aside
        self.wrong: list[str] = []

    async def play(self, seconds: float = 60.0) -> None:
        """The whole run, of which so many seconds are full of trouble."""
        world, now = self.world, self.world.sim.clock.monotonic
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._play(seconds)
        except TimeoutError:
            self.wrong.append(f"it hangs: {now():.0f} s are over")
        await world.close()
        self.wrong += world.broken
        self.wrong += [text for person in self.people if (text := self._wrong(person))]

    async def _play(self, seconds: float) -> None:
        world = self.world
        self.gateways = [await world.gateway() for _ in range(2)]
        await asyncio.gather(*(world.hire() for _ in range(world.count)))
        early, late = self.people[:PEOPLE], self.people[PEOPLE:]
        talks = [asyncio.create_task(self._talk(person, seconds / 2)) for person in early]
        await self.trouble.rage(seconds)
        world.deadly = 0.0
        talks += [asyncio.create_task(self._talk(person, 1.0)) for person in late]
        await asyncio.gather(*talks)
        await world.until(lambda: all(map(self._done, self.people)), 120)
        await asyncio.sleep(20)  # whoever would say something twice does it now
        await self._look_around()

    def _done(self, person: Person) -> bool:
        return person.expected[-1] in self.world.said_to(str(person.number))

    async def _talk(self, person: Person, most_s: float) -> None:
        random = self.world.sim.random
        await asyncio.sleep(random.random() * most_s)
        person.began = self.world.sim.clock.monotonic()
        hurry = random.random() < 0.3
        sent: list[MessageReceived] = []
        for index in range(len(person.texts)):
            sent.append(person.message(index))
            await self.world.publish(self.gateways, sent[-1])
            if random.random() < 0.3:  # the platform did not get the 200 of an earlier one
                await self.world.publish(self.gateways, random.choice(sent))
            await asyncio.sleep(0 if hurry else random.expovariate(1 / 5))

    def _wrong(self, person: Person) -> str:
        """What is wrong with what a person saw, "" if nothing."""
        who, said = person.number, self.world.said_to(str(person.number))
        if who in self.blamed:
            return ""
        if list(dict.fromkeys(said)) != person.expected:
            return f"{who} saw {said}"
        for text, count in Counter(said).items():
            excused = self.world.excused[f"{who}: {text}"]
            if count > 1 + excused:
                return f"{who} saw {text!r} {count} times, {excused} excused"
        return ""

    async def _look_for_blame(self) -> None:
        """What is under way at three deaths is put aside, though it is innocent here."""
        store = self.world.store
        for row in await store.find(status=FAILED):
            if b"the process" in row.state:
                self.blamed.add(int(place_of(row.key).chat))
        for person in self.people:
            for index in range(len(person.texts)):
                if await store.get("dead-update", person.message(index).id) is not None:
                    self.blamed.add(person.number)
        for number in self.blamed:
            began = self.people[number - 1].began
            if len([when for when in self.world.shocks if when > began]) < TRIES:
                self.wrong.append(f"{number} is blamed for less than {TRIES} deaths")

    def _is_blamed(self, key: str) -> bool:
        return int(place_of(key.partition(ASIDE)[0]).chat) in self.blamed

    async def _look_around(self) -> None:
        """Nothing is left over, and whoever comes next would be served."""
        world, store = self.world, self.world.store
        await self._look_for_blame()
        value = await store.get("queue", app.name)
        assert value is not None
        layout = msgspec.json.decode(value, type=Layout)
        units = sorted(unit for worker in world.workers for unit in worker.membership.units)
        queues = [name for worker in world.workers for name in worker.duties.consumers]
        depths = [
            depth
            for generation, shards in layout.generations
            for depth in await self.gateways[0].depths(generation, shards)
        ]
        left = {
            "a move of queues": [] if layout.old is None else [layout],
            "units": set(units) ^ {(n, layout.units) for n in range(layout.units)},
            "queues": set(queues) ^ set(layout.queues()),
            "letters": [depth for depth in depths if depth.ready or depth.consumers != 1],
            "mail": [mail for mail in await store.mail() if not self._is_blamed(mail.key)],
            "messages": await store.outbox(states=(QUEUED, SENDING), limit=10),
            "dead": await store.outbox(states=(DEAD, UNKNOWN), limit=10),
            "conversations": [row for row in await store.find() if not self._is_blamed(row.key)],
        }
        self.wrong += [f"{what} left: {found}" for what, found in left.items() if found]


def run(seed: int, kinds: Sequence[str] = KINDS, **changes: object) -> Run:
    """One run, and what was wrong in it.

    Args:
        seed: Decides about all of it.
        kinds: See Trouble.
        changes: Attributes of the world.
    """
    with simulation(seed) as sim:
        world = World(sim, app)
        world.deadly = 0.01
        if seed % 2:  # so few that nothing is to blame
            world.most_deaths = TRIES - 1
        for name, value in changes.items():
            setattr(world, name, value)
        found = Run(world, Trouble(world, kinds))
        sim.run(found.play())
    return found


def _show(seed: int) -> None:
    def timed(record: logging.LogRecord) -> bool:
        try:
            record.virtual = asyncio.get_running_loop().time()
        except RuntimeError:
            record.virtual = 0.0  # before it, or after it
        return True

    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(timed)
    form = "%(virtual)8.3f %(name)-15s %(message)s"
    logging.basicConfig(level=logging.INFO, handlers=[handler], format=form)
    sys.stdout.write(f"wrong: {run(seed).wrong}\n")


if __name__ == "__main__":
    _show(int(sys.argv[1]))
