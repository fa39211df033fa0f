"""Somebody writes thousands of messages faster than they can be worked on: nobody else waits for that.

First in virtual time, where only round trips count, then with servers, where Turns take CPU.
"""

import asyncio
import itertools
from collections.abc import Iterable
from pathlib import Path

from bench._kit import update
from legato import App, Chat
from legato.abc import Letter
from legato.app import actors
from legato.app.letters import letters
from legato.app.router import Router
from legato.model.events import Address, MessageReceived, User
from legato.platforms.telegram import Telegram
from legato.queues.memory import MemoryQueue
from legato.queues.rabbitmq import RabbitQueue
from legato.testing.fake_telegram import FakeTelegram
from legato.testing.simulation import Simulation, simulation
from tests.chaos.parts import Part, until
from tests.integration.run_kit import SECRET, environment
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
    assert p99_s([0], 1_000) > 4 * p99_s([0], 0)


# -- with servers -----------------------------------------------------------------------------------

DIARY = '''
"""Writes down what it works on, in that order."""

from pathlib import Path

from legato import App, Chat

app = App("diary")
FILE = Path(__file__).with_name("diary")


async def note(line: str) -> None:
    with FILE.open("a") as file:
        file.write(line)


@app.message()
async def write(chat: Chat) -> None:
    await chat.run(note, f"{chat.user.id} {chat.message.text}\\n")
'''
FLOOD = 500
OTHERS = range(1, 9)
BETWEEN = FLOOD // 5
"""So much of the flood may be worked on while a message of somebody else is on its way: far more than is
in the milliseconds that it takes, and far less than if it had to wait for the flood's end."""


class Diary:
    """What a worker with a single shard gets, and what it wrote down."""

    def __init__(self, folder: Path, queue: RabbitQueue) -> None:
        self._file = folder / "diary"
        self._queue = queue
        self._platform = Telegram(FakeTelegram().token, secret=SECRET)
        self._router = Router(app.triggers, app.dialogs)
        self._updates = itertools.count(1)

    def lines(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []

    def flood(self) -> list[str]:
        return [line.split()[1] for line in self.lines() if line.startswith(f"{HOT} ")]

    async def send(self, person: int, *texts: str) -> None:
        """Publishes messages of somebody, as a gateway does."""
        found: list[Letter] = []
        for text in texts:
            body = update(next(self._updates), person, text.encode())
            found += letters(self._platform, self._router, body, 0)[0]
        await self._queue.publish(found)

    async def overtakers(self, person: int) -> int:
        """Somebody sends a message: how many of the flood are worked on before it is?"""
        before = len(self.lines())
        await self.send(person, "hello")
        line = f"{person} hello"
        await until(lambda: line in self.lines(), f"{line!r} is worked on")
        return self.lines()[before:].index(line)


async def test_others_are_answered_amid_a_flood(tmp_path, postgres_url, rabbit_url):
    bot = tmp_path / "diary.py"
    bot.write_text(DIARY)
    queue = RabbitQueue(rabbit_url, "diary")
    async with FakeTelegram() as telegram:
        env = environment(
            telegram, LEGATO_STORE=postgres_url, LEGATO_QUEUE=rabbit_url, LEGATO_SHARDS="1"
        )
        worker = Part("worker", ["-m", "legato.cli.main", "worker", str(bot)], env, tmp_path)
        await queue.open()
        try:
            await queue.declare(1, 1)
            diary = Diary(tmp_path, queue)
            sent = [str(number) for number in range(FLOOD)]
            await diary.send(HOT, *sent)
            await worker.start()
            counts = [await diary.overtakers(person) for person in OTHERS]
            under_way = len(diary.flood()) < FLOOD
            await until(lambda: len(diary.flood()) >= FLOOD, "the flood is worked on")
        finally:
            await worker.kill()
            await queue.close()
    assert diary.flood() == sent
    assert under_way, "it was no flood"
    assert max(counts) <= BETWEEN, counts
