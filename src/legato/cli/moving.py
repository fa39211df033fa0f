"""A move from one number of queues to another, as an operator follows it in a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from legato.abc import Clock, Queue
from legato.app.tasks import cancelled
from legato.deploy.topology import DECLARE, DRAIN, END, FOUND, ROUTE, Layout, Topology
from legato.errors import StoreError, StoreUnavailable, Unavailable

WAIT_S = 5.0
"""When nothing has changed for so long, it is told why."""
AGAIN_S = 2.0
TRIES = 30
"""So often in a row a step is tried that broker or store do not carry out, AGAIN_S apart."""

Tell = Callable[[str, dict[str, object]], None]


def headline(layout: Layout) -> str:
    """A layout in one line."""
    text = f"{layout.shards} of generation {layout.generation}"
    if layout.old is None:
        return text if layout.phase != FOUND else f"{text}, being made"
    generation, shards = layout.old
    return (
        f"{text}, in place of {shards} of generation {generation} "
        f"(phase {layout.phase}, {len(layout.drained)} of {shards} drained)"
    )


def facts_of(layout: Layout) -> dict[str, object]:
    """A layout for programs."""
    old: dict[str, object] | None = None
    if layout.old is not None:
        generation, shards = layout.old
        old = {"generation": generation, "shards": shards, "drained": list(layout.drained)}
    return {
        "generation": layout.generation,
        "shards": layout.shards,
        "phase": layout.phase,
        "old": old,
    }


class Move:
    """One call of `legato queue resize`.

    Args:
        topology, queue: Open.
        clock: Time.
        workers: Names of those that live; may raise StoreError.
        tell: Prints a line.

    Attributes:
        layout: As heard of last, None before.
    """

    def __init__(
        self,
        topology: Topology,
        queue: Queue,
        clock: Clock,
        workers: Callable[[], Awaitable[list[str]]],
        tell: Tell,
    ) -> None:
        self._topology = topology
        self._queue = queue
        self._clock = clock
        self._workers = workers
        self._tell = tell
        self._to = 0
        self._changed = False
        self.layout: Layout | None = None

    async def run(self, to: int) -> None:
        """Moves, and tells how far it is. What is away for a while is waited for.

        Raises:
            ConfigError: There cannot be so many queues.
            Unavailable, StoreUnavailable: Broker or store did not come back for a minute.
        """
        self._to = to
        began = self._clock.monotonic()
        waiting = asyncio.create_task(self._wait())
        try:
            layout = await self._moved(to)
        finally:
            await cancelled([waiting])
        took = self._clock.monotonic() - began
        done = f"done in {took:.0f} s" if self._changed else "nothing to do"
        self._tell(f"{done}: {headline(layout)}", facts_of(layout))

    async def _moved(self, to: int) -> Layout:
        tries, version = 0, 0
        while True:
            try:
                return await self._topology.resize(to, self._told)
            except (Unavailable, StoreUnavailable) as error:
                now = self.layout.version if self.layout is not None else 0
                tries, version = (tries + 1 if now == version else 1), now
                if tries == TRIES:
                    raise
                self._tell(f"{error}; trying again in {AGAIN_S:g} s", {"trouble": str(error)})
            await self._clock.sleep(AGAIN_S)

    def _told(self, layout: Layout) -> None:
        before, self.layout = self.layout, layout
        if layout == before or layout.old is None:
            return
        self._changed = True
        if layout.is_drained:
            text = "the old queues are empty: they are deleted once all workers have left them"
        else:
            text = self._step(layout, *layout.old)
        self._tell(f"{layout.generation}: {text}", facts_of(layout))

    def _step(self, layout: Layout, generation: int, shards: int) -> str:
        if layout.phase == DECLARE:
            return f"making {layout.shards} queues beside the {shards} of generation {generation}"
        if layout.phase == ROUTE:
            return "routing what comes to the new queues; letters on their way still reach the old ones"
        if layout.phase == END:
            return "putting an end letter into each old queue"
        return f"workers empty the old queues: {len(layout.drained)} of {shards} are drained"

    # -- waiting ------------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Tells what the move waits for, whenever it stands still."""
        while True:
            before = self.layout
            await self._clock.sleep(WAIT_S)
            layout = self.layout
            if layout is None or layout.phase != DRAIN or layout != before:
                continue
            try:
                await self._tell_why(layout)
            except (Unavailable, StoreError) as error:
                self._tell(f"cannot see what it waits for: {error}", {"trouble": str(error)})

    async def _tell_why(self, layout: Layout) -> None:
        assert layout.old is not None
        depths = await self._queue.depths(*layout.old)
        left = [depth for shard, depth in enumerate(depths) if shard not in layout.drained]
        workers = await self._workers()
        facts: dict[str, object] = {
            "undrained": [depth.queue for depth in left],
            "letters": sum(depth.ready for depth in left),
            "consumers": sum(depth.consumers for depth in depths),
            "workers": workers,
        }
        if left:
            text = (
                f"{len(left)} old queues are not drained, {facts['letters']} letters wait in them"
            )
        else:
            text = f"{facts['consumers']} consumers have not left the old queues yet"
        cure = f"{len(workers)} workers run" if workers else "no worker runs: start `legato worker`"
        self._tell(f"waiting: {text}; {cure}", {"waiting": facts})

    # -- being left ---------------------------------------------------------------------------

    def left_alone(self) -> str:
        """What becomes of the move when nobody goes on with it here."""
        layout = self.layout
        again = f"`legato queue resize --to {self._to}` goes on"
        if layout is None or layout.old is None:
            return "stopped; no move was under way"
        if layout.phase == DECLARE:
            return f"stopped before anything was routed: nothing waits. {again}"
        if layout.phase != DRAIN:
            return (
                "stopped half-way. Nothing is lost, but what comes now may wait until the move goes on: "
                f"{again}, so call it soon"
            )
        return (
            "stopped looking; the workers bring this move to its end by themselves. See "
            f"`legato queue status`; {again} and looks again"
        )


__all__ = ["Move", "facts_of", "headline"]
