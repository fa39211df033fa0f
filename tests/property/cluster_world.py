"""A cluster without servers: gateways, a broker, workers, a store and a platform in one virtual time.

A worker can be killed, or stopped and woken up (then everybody else had taken it for dead). What a dead one
does later has no effect; what a stopped one does waits until it is woken.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from legato import App
from legato.app.letters import letters
from legato.app.membership import Membership
from legato.app.router import Router
from legato.app.runtime import Runtime, RuntimeSettings
from legato.app.share import Part
from legato.deploy.duties import Duties
from legato.deploy.topology import Topology
from legato.errors import StoreUnavailable, Unavailable
from legato.model.events import Event
from legato.model.ordered import Ordered
from legato.queues.memory import MemoryBroker, MemoryQueue
from legato.testing.leases import SharedStore
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork
from legato.testing.simulation import Simulation
from tests.property.cluster_parts import Careless, Life, OwnClock, OwnPlatform, OwnQueue, OwnStore

log = logging.getLogger("world")

HEARTBEAT_S = 1.0


class Worker:
    """One process of `legato worker`, from its start to its death."""

    def __init__(self, world: World, number: int, cache: int = 100) -> None:
        self.world = world
        self.name = f"w{number}"
        self.life = Life()
        self.clock = OwnClock(self.life, world.sim.clock)
        self.queue = MemoryQueue(world.broker, world.app.name, prefetch=world.prefetch)
        store = OwnStore(self)
        share = Part(self.clock) if world.may_send else Careless(self.clock)
        self.runtime = Runtime(
            world.app,
            store=store,
            platforms=[OwnPlatform(self)],
            clock=self.clock,
            http=NoNetwork(),
            settings=RuntimeSettings(cache=cache, webhook_reply=False, rescan_s=1.0),
            share=share,
        )
        self.topology = Topology(store, self.queue, world.app.name, self.clock, shards=world.shards)
        queue = OwnQueue(self)
        self.duties = Duties(self.runtime, share, queue, self.topology, drain_s=4.0)  # type: ignore[arg-type]
        stop = self.duties.stop

        def stopped(units: Any) -> None:
            world.excuse()
            stop(units)

        self.duties.stop = stopped  # type: ignore[method-assign]
        self.membership = Membership(
            store,  # type: ignore[arg-type] # it has what Leases have
            self.clock,
            app=world.app.name,
            holder=f"{self.name}:{number}",
            share=share,
            duties=self.duties,
            heartbeat_s=HEARTBEAT_S,
        )
        self._phases: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Starts; waits for store and broker as long as it must, or until it is killed."""
        await self._go_through(self._start())

    async def _go_through(self, phase: Any) -> None:
        task = asyncio.create_task(phase)
        self._phases.append(task)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def _start(self) -> None:
        for work in (self.runtime.store.open, self.queue.open, self.topology.ensure):
            await self._until(work)
        await self._until(self.runtime.start)
        self.membership.start()

    async def _until(self, work: Any) -> None:
        while True:
            try:
                await work()
            except (StoreUnavailable, Unavailable):
                await self.clock.sleep(0.5)
            else:
                return

    async def point(self, name: str) -> None:
        """Here the world may kill it: then nothing that follows happens."""
        await self.life.go_on()
        if self.world.kills(name):
            self._die()
            _ = self.world.spawn(self.world.replaced(self))
            await asyncio.Event().wait()

    async def kill(self) -> None:
        """SIGKILL. Its connections break at once, its leases run on."""
        self.world.tell(f"{self.name} is killed")
        self._die()
        self.life.wake()
        self.world.excuse()
        self.queue.die()
        for task in self._phases:
            task.cancel()
        await self.membership.abandon()
        await self.duties.close()
        await self.runtime.abandon()

    def _die(self) -> None:
        if not (self.life.dead or self.world.closing):
            self.world.deaths += 1
            self.world.shock()
        self.life.dead = True
        if self in self.world.workers:
            self.world.workers.remove(self)

    async def end(self) -> None:
        """SIGTERM: in good order."""
        if self in self.world.workers:
            self.world.tell(f"{self.name} ends")
            self.world.workers.remove(self)
            starting = list(self._phases)
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
            await self._go_through(self._end())

    async def _end(self) -> None:
        await self.membership.close(8.0)
        await self.duties.close()
        await self.runtime.stop(4.0)
        await self.queue.close()

    async def freeze(self, seconds: float, *, cut: bool = True) -> None:
        """SIGSTOP for so long. The broker misses its heartbeats meanwhile."""
        self.world.tell(f"{self.name} stops for {seconds:.1f} s")
        self.world.shock()
        self.world.excuse()
        self.life.stop()
        await asyncio.sleep(seconds / 2)
        if cut and not self.life.dead:
            self.queue.disconnect()
        await asyncio.sleep(seconds / 2)
        if not self.life.dead:
            self.world.excuse()
            self.life.wake()
            if cut:
                self.queue.reconnect()


class World:
    """The platform's side, the servers, and the processes that come and go."""

    def __init__(
        self, sim: Simulation, app: App, *, shards: int = 8, workers: int = 3, prefetch: int = 200
    ) -> None:
        self.sim = sim
        self.app = app
        self.shards = shards
        self.count = workers
        self.prefetch = prefetch
        # What sabotage takes away:
        self.fence = True  # the compare-and-swap of a commit
        self.may_send = True  # a worker asks itself whether its leases still run
        self.confirms = True  # a gateway says 200 only once the broker has confirmed
        self.drains = True  # new queues are read once the old ones are drained
        self.commits_first = True  # a letter is acknowledged after its commit
        self.deadly = 0.0
        self.deaths = 0
        self.shocks: list[float] = []  # when somebody died, or may have seemed to
        self.most_deaths = 1000
        self.sending_s = sim.random.choice([0.02, 0.1, 1.0])
        self.store_away = False
        self.closing = False
        self.broker = MemoryBroker()
        self.store = SharedStore(sim.clock)
        self.platform = ScriptedPlatform()
        self.router = Router(app.triggers, app.dialogs)
        self.workers: list[Worker] = []
        self.born = 0
        self.log: list[str] = []  # what happened, with its virtual time
        self.said: list[str] = []  # everything that was shown, in order
        self.queued: dict[int, str] = {}  # outbox id -> what
        self.marked: Counter[str] = Counter()
        self.excused: Counter[str] = Counter()  # may have been sent once more
        self.broken: list[str] = []  # faults of the simulation itself
        self._tasks: Ordered[asyncio.Task[Any]] = Ordered()

    def tell(self, what: str) -> None:
        """Something happened."""
        self.log.append(f"{self.sim.clock.monotonic():8.3f} {what}")
        log.info("%s", what)

    def say(self, what: str, worker: Worker) -> None:
        """Something was shown to somebody."""
        self.said.append(what)
        self.tell(f"{worker.name} says {what}")

    def delay(self, most_s: float) -> float:
        """What something takes."""
        return self.sim.random.random() * most_s

    def kills(self, name: str) -> bool:
        """Whether whoever is at this point dies there."""
        if not self.may_die() or self.sim.random.random() >= self.deadly:
            return False
        self.tell(f"death at {name}")
        return True

    def may_die(self) -> bool:
        """Whether one more worker may die."""
        return self.deaths < self.most_deaths

    async def replaced(self, worker: Worker) -> None:
        """A worker is dead, and a moment later another one starts."""
        await worker.kill()
        await asyncio.sleep(self.delay(5.0))
        await self.hire()

    def excuse(self) -> None:
        """Something broke: what was sent and is not marked now may be sent again."""
        for what, count in (Counter(self.said) - self.marked).items():
            self.excused[what] = max(self.excused[what], count)

    def shock(self) -> None:
        """Whoever works on something now may come to no end, and be unable to say that he lives."""
        self.shocks.append(self.sim.clock.monotonic())

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Does something beside; that it ended otherwise than well is remembered."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is not None:
            self.broken.append(f"{task} ended")

    async def hire(self) -> None:
        """One more worker starts."""
        if self.closing:
            return
        self.born += 1
        worker = Worker(self, self.born, self.sim.random.choice([0, 1, 100]))
        self.tell(f"{worker.name} starts")
        self.workers.append(worker)
        await worker.start()

    async def gateway(self) -> MemoryQueue:
        """A gateway's connection."""
        queue = MemoryQueue(self.broker, self.app.name)
        await queue.open()
        return queue

    async def publish(self, gateways: Sequence[MemoryQueue], event: Event) -> None:
        """The platform sends an update to any gateway, until one says 200."""
        body = msgspec.json.encode(event)
        while True:
            found, _ = letters(self.platform, self.router, body, self.sim.clock.now_ms())
            try:
                await self.sim.random.choice(gateways).publish(found)
            except Unavailable:
                if not self.confirms:
                    return
                await asyncio.sleep(0.5)
            else:
                return

    def said_to(self, chat: str) -> list[str]:
        """What a person sees."""
        return [s.message.text for s in self.platform.shown if s.place.chat == chat]

    async def until(self, what: Any, seconds: float = 3600) -> bool:
        """Returns once `what()` holds; False if that took longer than so many seconds."""
        end = self.sim.clock.monotonic() + seconds
        while not what():
            if self.sim.clock.monotonic() > end:
                return False
            await asyncio.sleep(0.1)
        return True

    async def close(self) -> None:
        """Everybody dies."""
        self.closing = True
        for worker in list(self.workers):
            await worker.kill()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
