"""Somebody writes thousands of messages faster than they can be worked on: nobody else waits for that.

First in virtual time, where only round trips count, then with servers, where Turns take CPU.
"""

import asyncio
from collections.abc import Iterable

from legato import App, Chat
from legato.app import actors
from legato.model.events import Address, MessageReceived, User
from legato.queues.memory import MemoryQueue
from legato.testing.simulation import Simulation, simulation
from tests.property.cluster_world import World

HOT = 99_999
PEOPLE = range(1, 41)
TEXTS = (("/start", "First?"), ("no number", "A number!"))

app = App("adder")


@app.command("start")
async def ask(chat: Chat) -> None:
    await chat.ask("First?", int, retry="A number!")


def message(number: int, index: int, text: str) -> MessageReceived:
    person = str(number)
    return MessageReceived(
        id=f"test:bot:{number}-{index}",
        place=Address("test", "bot", person, person),
        user=User(person, f"P{number}"),
        text=text,
        command=text[1:] if text.startswith("/") else "",
        private=True,
    )


class Flood:
    """One worker with one shard. One person has sent `size` messages; others wait for answers."""

    def __init__(self, sim: Simulation, size: int) -> None:
        self.size = size
        self.waits: list[float] = []
        self._clock = sim.clock
        self._world = World(sim, app, shards=1, workers=1)
        self._gateways: list[MemoryQueue] = []

    async def play(self) -> None:
        world = self._world
        self._gateways.append(await world.gateway())
        await world.hire()
        await asyncio.gather(self._flood(), *(self._talk(number) for number in PEOPLE))
        worked_on = len(world.said_to(str(HOT)))
        assert not self.size or 0 < worked_on < self.size / 10, "it was no flood"
        await world.close()

    async def _flood(self) -> None:
        for index in range(self.size):
            event = message(HOT, index, "no number" if index else "/start")
            await self._world.publish(self._gateways, event)

    async def _talk(self, number: int) -> None:
        await asyncio.sleep(number * 0.05)
        for index, (text, answer) in enumerate(TEXTS):
            since = self._clock.monotonic()
            await self._world.publish(self._gateways, message(number, index, text))
            while answer not in self._world.said_to(str(number)):  # noqa: ASYNC110 # virtual time
                await asyncio.sleep(0.002)
            self.waits.append(self._clock.monotonic() - since)


def p99_s(seeds: Iterable[int], flood: int) -> float:
    """How long the others wait, in virtual time."""
    waits: list[float] = []
    for seed in seeds:
        with simulation(seed) as sim:
            one = Flood(sim, flood)
            sim.run(one.play())
            waits += one.waits
    return sorted(waits)[int(len(waits) * 0.99)]


def test_ten_thousand_messages_of_one_person_double_nobody_elses_wait():
    seeds = range(3)
    assert p99_s(seeds, 10_000) <= 2 * p99_s(seeds, 0)


def test_the_trial_finds_out_if_one_person_fills_the_prefetch_window(monkeypatch):
    monkeypatch.setattr(actors, "MOST_WAITING", 10**9)
    assert p99_s([0], 1_000) > 10 * p99_s([0], 0)
