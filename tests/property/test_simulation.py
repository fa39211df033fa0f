"""Whole bots in virtual time, thousands of seeds: two processes on one store, delays, duplicates,
crashes, platforms that fail. Every conversation must end right, and every word be said in order.

More seeds: LEGATO_SOAK=20 runs twenty times as many.
"""

import asyncio
import os

import msgspec
import pytest

from legato import App, Chat, Timeout
from legato.abc import Verdict
from legato.app.runtime import Runtime, RuntimeSettings
from legato.errors import Unavailable
from legato.model.events import Address, MessageReceived, User
from legato.stores.memory import MemoryStore
from legato.testing.crash import Crash, CrashingStore
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork
from legato.testing.simulation import Simulation, simulation

SEEDS = 150 * int(os.environ.get("LEGATO_SOAK", "1"))
CHUNKS = 6
PEOPLE = 4

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


class World:
    """The platform's side: people, and processes that come and go."""

    def __init__(
        self, sim: Simulation, *, processes: int = 1, crashes: bool = True, fence: bool = True
    ) -> None:
        self.sim = sim
        self.count = processes
        self.crashes = crashes
        self.store = MemoryStore() if fence else _NoFence()
        self.platform = ScriptedPlatform()
        self.platform.answer = self._answer
        self.processes: list[Runtime] = []
        self.died = 0

    def _answer(self, call, place) -> Verdict | None:
        if self.sim.random.random() < 0.1:
            return Verdict("retry", error="500")
        return None

    def _dies(self, commit) -> bool:
        return self.crashes and self.died < 20 and self.sim.random.random() < 0.05

    async def spawn(self) -> Runtime:
        runtime = Runtime(
            app,
            store=CrashingStore(self.store, self._dies),
            platforms=[self.platform],
            clock=self.sim.clock,
            http=NoNetwork(),
            settings=RuntimeSettings(cache=self.sim.random.choice([0, 1, 100])),
        )
        await runtime.start(loops=False)
        self.processes.append(runtime)
        return runtime

    async def deliver(self, event: MessageReceived) -> None:
        """The platform offers an update, to any process, until one takes it."""
        body = msgspec.json.encode(event)
        while True:
            if not self.processes:  # all of them are just being started again
                await asyncio.sleep(1)
                continue
            runtime = self.sim.random.choice(self.processes)
            try:
                await runtime.receive(self.platform, body)
            except Crash:
                await self.replace(runtime)
            except (asyncio.CancelledError, Unavailable):
                if runtime in self.processes:
                    raise
                await asyncio.sleep(1)  # it died of another update: this one was never answered
            else:
                return

    async def replace(self, runtime: Runtime) -> None:
        """A process died: its tasks are gone; another one starts."""
        self.died += 1
        if runtime in self.processes:
            self.processes.remove(runtime)
            await runtime.abandon()
            fresh = await self.spawn()
            try:
                await fresh.resume()
            except Crash:
                await self.replace(fresh)
            except asyncio.CancelledError:
                if fresh in self.processes:
                    raise

    async def talk(self, number: int) -> None:
        texts = ["/start", str(number), "no number", str(number * 10)]
        for index, text in enumerate(texts):
            event = _message(number, index, text)
            await self.deliver(event)
            if self.sim.random.random() < 0.3:
                await self.deliver(event)
            await asyncio.sleep(self.sim.random.expovariate(1 / 30))

    async def play(self) -> None:
        for _ in range(self.count):
            await self.spawn()
        await asyncio.gather(*(self.talk(n) for n in range(1, PEOPLE + 1)))
        self.crashes = False
        for runtime in self.processes:
            await runtime.resume()
            await runtime.relay.recover()
            await runtime.drained()
            await runtime.relay.flush(600)
        for runtime in self.processes:
            await runtime.abandon()

    def said_to(self, number: int) -> list[str]:
        return [s.message.text for s in self.platform.shown if s.place.chat == str(number)]


class _NoFence(MemoryStore):
    """Sabotage: every commit is let through, whatever happened meanwhile."""

    async def commit(self, commit):
        loaded = await self.load(commit.key) if commit.key else None
        if commit.key and not commit.aside:
            row = loaded.conversation if loaded else None
            expect = (row.epoch, row.head) if row else None
            if commit.row is not None or row is not None:
                commit = msgspec.structs.replace(commit, expect=expect, update_id="")
        return await super().commit(commit)


def _message(number: int, index: int, text: str) -> MessageReceived:
    person = str(number)
    return MessageReceived(
        id=f"test:bot:{number * 100 + index}",
        place=Address("test", "bot", person, person),
        user=User(person, f"P{number}"),
        text=text,
        command=text[1:] if text.startswith("/") else "",
        private=True,
    )


def _without_repeats(said: list[str]) -> list[str]:
    """A process that dies between the send and its mark lets one message be sent again."""
    return [text for index, text in enumerate(said) if index == 0 or said[index - 1] != text]


def _play(seed: int, *, processes: int = 1, crashes: bool = True, fence: bool = True) -> World:
    with simulation(seed) as sim:
        world = World(sim, processes=processes, crashes=crashes, fence=fence)
        sim.run(world.play())
    return world


def _expected(number: int) -> list[str]:
    return ["First?", "Second?", "A number!", f"Sum: {number * 11}"]


def _right(world: World, number: int) -> bool:
    return _without_repeats(world.said_to(number)) == _expected(number)


def _nothing_lost(world: World, number: int) -> bool:
    """Two processes that both deliver keep the order of Turns, but not yet that of deliveries."""
    return set(world.said_to(number)) == set(_expected(number))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_conversation_ends_right_whatever_dies(chunk):
    for seed in range(chunk, SEEDS, CHUNKS):
        world = _play(seed)
        for number in range(1, PEOPLE + 1):
            assert _right(world, number), (seed, number, world.said_to(number))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_two_processes_on_one_store_never_spoil_a_conversation(chunk):
    for seed in range(chunk, SEEDS, CHUNKS):
        world = _play(seed, processes=2)
        for number in range(1, PEOPLE + 1):
            assert _nothing_lost(world, number), (seed, number, world.said_to(number))


def test_the_same_seed_gives_the_same_run():
    for seed in range(10):
        one, other = _play(seed), _play(seed)
        assert [s.message.text for s in one.platform.shown] == [
            s.message.text for s in other.platform.shown
        ]
        assert one.died == other.died


def test_without_crashes_nothing_is_said_twice():
    for seed in range(30):
        world = _play(seed, crashes=False)
        for number in range(1, PEOPLE + 1):
            said = world.said_to(number)
            assert said == _expected(number), (seed, said)


def test_the_simulation_finds_out_when_the_fence_is_off():
    def spoiled(seed: int) -> bool:
        try:
            world = _play(seed, processes=2, fence=False)
        except Exception:  # noqa: BLE001  # a store without a fence may hold anything
            return True
        return not all(_nothing_lost(world, number) for number in range(1, PEOPLE + 1))

    assert any(spoiled(seed) for seed in range(40))
