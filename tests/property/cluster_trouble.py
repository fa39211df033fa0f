"""What goes wrong in a simulated cluster, by its seed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from legato.abc import Letter, Verdict
from legato.deploy.topology import DRAIN, ROUTE, Layout, Topology
from legato.errors import StoreUnavailable, Unavailable
from legato.queues.memory import MemoryQueue
from tests.property.cluster_world import World

KINDS = (
    *("kill", "kill", "freeze", "freeze", "end"),
    *("store_outage", "broker_restart", "cut", "resize", "block"),
)


class Trouble:
    """One run's troubles: a plan made of the seed, so that the same seed brings the same.

    Args:
        world: Whose.
        kinds: Names of methods, of which one is chosen each time; none: there is no trouble.
    """

    def __init__(self, world: World, kinds: Sequence[str] = KINDS) -> None:
        self.world = world
        self.random = world.sim.random
        self.kinds = kinds
        self.over = False

    def spoil_network(self) -> None:
        """From now on confirms get lost, letters too, and the platform fails now and then."""

        def meddle(letters: Sequence[Letter]) -> tuple[Sequence[Letter], bool]:
            chance = self.random.random()
            if self.over or chance > 0.15:
                return letters, True
            if chance < 0.05:
                return letters, False  # stored, and nobody knows
            if chance < 0.1:
                return (), False
            return [*letters, *letters], True

        def answer(call: object, place: object) -> Verdict | None:
            lost = not self.over and self.random.random() < 0.05
            return Verdict("retry", error="500") if lost else None

        self.world.broker.meddle = meddle
        self.world.platform.answer = answer

    async def rage(self, seconds: float) -> None:
        """Troubles one after another, some at once, for so long."""
        if not self.kinds:
            return
        self.spoil_network()
        end = self.world.sim.clock.monotonic() + seconds
        running: set[asyncio.Task[None]] = set()
        while self.world.sim.clock.monotonic() < end:
            await asyncio.sleep(self.random.expovariate(1 / 4))
            running.add(self.world.spawn(getattr(self, self.random.choice(self.kinds))()))
            running = {task for task in running if not task.done()}
        if running:
            await asyncio.wait(running)
        self.over = True

    async def kill(self) -> None:
        """SIGKILL, and another one starts, or not at once."""
        if len(self.world.workers) > 1 and self.world.may_die():
            await self.random.choice(self.world.workers).kill()
            await asyncio.sleep(self.random.random() * 5)
            await self.world.hire()

    async def end(self) -> None:
        """SIGTERM, and another one starts."""
        if len(self.world.workers) > 1:
            worker = self.random.choice(self.world.workers)
            await self.world.hire()
            await worker.end()

    async def freeze(self) -> None:
        """SIGSTOP for longer than leases last, and SIGCONT."""
        if self.world.workers:
            worker = self.random.choice(self.world.workers)
            await worker.freeze(self.random.uniform(1, 12), cut=self.random.random() < 0.7)

    async def store_outage(self) -> None:
        self.world.tell("store outage")
        self.world.store_away = True
        self.world.shock()
        await asyncio.sleep(self.random.uniform(0.5, 8))
        self.world.excuse()
        self.world.store_away = False

    async def broker_restart(self) -> None:
        self.world.tell("broker restart")
        self.world.broker.stop()
        await asyncio.sleep(self.random.uniform(0.1, 5))
        self.world.broker.start()

    async def cut(self) -> None:
        """The connection of one worker breaks and is there again."""
        self.world.tell("cut")
        if self.world.workers:
            self.random.choice(self.world.workers).queue.cut()

    async def block(self) -> None:
        self.world.tell("block")
        self.world.broker.block()
        await asyncio.sleep(self.random.uniform(0.5, 4))
        self.world.broker.unblock()

    async def resize(self) -> None:
        """An operator changes the number of shards."""
        world = self.world
        queue = MemoryQueue(world.broker, world.app.name)
        kind = Topology if world.drains else Naive
        topology = kind(world.store, queue, world.app.name, world.sim.clock)
        to = self.random.choice([2, 4, 8, 16])
        world.tell(f"resize to {to}")
        for _ in range(200):
            try:
                await queue.open()
                await topology.resize(to)
            except (Unavailable, StoreUnavailable):
                await asyncio.sleep(0.5)
            else:
                world.tell(f"resized to {to}")
                break
        await queue.close()


class Naive(Topology):
    """Sabotage: new queues are read at once, whatever is left in the old ones."""

    async def _step(self, layout: Layout, to: int, *, again: bool) -> None:
        if layout.phase != ROUTE:
            await super()._step(layout, to, again=again)
            return
        assert layout.old is not None
        await self._queue.route(layout.generation, layout.shards, layout.old)
        every = tuple(range(layout.old[1]))
        await self._write(replace(layout, phase=DRAIN, drained=every, version=layout.version + 1))
