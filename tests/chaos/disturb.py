"""What can go wrong in a cluster, one thing after another, by a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from tests.chaos.cluster import HEARTBEAT_S, Cluster

LEASE_S = HEARTBEAT_S * 3

Spoil = Callable[["Trouble"], Awaitable[None]]


class Trouble:
    """Disturbs a cluster.

    Attributes:
        times: (from, to) of each disturbance, in seconds of the loop.
        counts: How often each kind came.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.times: list[tuple[float, float]] = []
        self.counts: dict[str, int] = {}

    async def rage(self, seconds: float, kinds: tuple[str, ...] = ()) -> None:
        """One disturbance after another, for so long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        names = list(kinds or KINDS)
        order: list[str] = []
        while loop.time() < end:
            if not order:  # each kind once before any comes again
                order = self.random.sample(names, len(names))
            await self.do(order.pop())
            await asyncio.sleep(self.random.uniform(0.1, 0.8))

    async def do(self, kind: str) -> None:
        """One disturbance, from its start to the moment at which nothing is broken any more."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        await KINDS[kind](self)
        self.times.append((start, loop.time()))
        self.counts[kind] = self.counts.get(kind, 0) + 1


async def kill_worker(trouble: Trouble) -> None:
    """SIGKILL, and a new one under the same name."""
    part = trouble.random.choice(trouble.cluster.workers)
    await part.kill()
    await asyncio.sleep(trouble.random.uniform(0, 1))
    await part.start()


async def kill_gateway(trouble: Trouble) -> None:
    """SIGKILL, and a new one on the same port."""
    part = trouble.random.choice(trouble.cluster.gateways)
    await part.kill()
    await asyncio.sleep(trouble.random.uniform(0, 1))
    await part.start()


async def stop_worker(trouble: Trouble) -> None:
    """SIGTERM: it drains."""
    part = trouble.random.choice(trouble.cluster.workers)
    code = await part.stop()
    assert code == 0, f"{part.name} ended with {code}:\n{part.tail()}"
    await part.start()


async def kill_postgres(trouble: Trouble) -> None:
    """SIGKILL for the database; it recovers from its log."""
    await asyncio.to_thread(trouble.cluster.postgres.kill9)
    await asyncio.sleep(trouble.random.uniform(0, 1))
    await asyncio.to_thread(trouble.cluster.postgres.start)


async def kill_rabbit(trouble: Trouble) -> None:
    """SIGKILL for the broker."""
    await asyncio.to_thread(trouble.cluster.rabbit.kill9)
    await asyncio.to_thread(trouble.cluster.rabbit.start)


async def zombie(trouble: Trouble) -> None:
    """A worker is stopped for longer than its leases last, then wakes up."""
    part = trouble.random.choice(trouble.cluster.workers)
    part.pause()
    await asyncio.sleep(LEASE_S * trouble.random.uniform(1.2, 3))
    part.resume()


async def cut(trouble: Trouble) -> None:
    """All connections of one link are closed, or one is cut in the middle of a message."""
    link = trouble.cluster.links[trouble.random.choice(list(trouble.cluster.links))]
    way = trouble.random.randrange(4)
    if way == 0:
        link.cut()
    elif way == 1:
        link.reset()
    elif way == 2:
        link.cut_up = trouble.random.randrange(1, 2000)
    else:
        link.cut_down = trouble.random.randrange(1, 2000)
    await asyncio.sleep(0.5)
    link.cut_up = link.cut_down = None


async def hole(trouble: Trouble) -> None:
    """One link swallows everything for a while, and tells nobody."""
    link = trouble.cluster.links[trouble.random.choice(list(trouble.cluster.links))]
    link.hole = True
    await asyncio.sleep(trouble.random.uniform(0.5, 3))
    link.hole = False


async def slow(trouble: Trouble) -> None:
    """One link is slow and tears messages apart."""
    link = trouble.cluster.links[trouble.random.choice(list(trouble.cluster.links))]
    link.latency, link.jitter, link.chunk = 0.02, 0.03, 100
    await asyncio.sleep(1.5)
    link.latency, link.jitter, link.chunk = 0.0, 0.0, 65536


async def block_broker(trouble: Trouble) -> None:
    """The broker's memory alarm: publishers are blocked, gateways answer 503."""
    await asyncio.to_thread(trouble.cluster.rabbit.block)
    await asyncio.sleep(1.5)
    await asyncio.to_thread(trouble.cluster.rabbit.unblock)


KINDS: dict[str, Spoil] = {
    "kill worker": kill_worker,
    "kill gateway": kill_gateway,
    "stop worker": stop_worker,
    "kill postgres": kill_postgres,
    "kill rabbit": kill_rabbit,
    "zombie": zombie,
    "cut": cut,
    "hole": hole,
    "slow": slow,
    "block broker": block_broker,
}
