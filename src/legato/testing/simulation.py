"""A seeded event loop in virtual time: the same seed gives the same schedule, hours pass in no time.

    with simulation(seed) as sim:
        sim.run(main(sim))

Whatever is ready runs in an order that the seed chooses, and when nothing is ready time jumps to
the next timer. Threads are refused; so are sockets. A lost wake-up shows as SimulationStuck.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from legato.abc import Clock
from legato.testing.clock import START_MS

T = TypeVar("T")


class SimulationStuck(RuntimeError):
    """Everybody waits, and no timer is set."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """asyncio in virtual time, with a seeded choice of what runs next."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random: random.Random = random.Random(seed)  # nosec B311 # a schedule
        self._virtual = 0.0

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._virtual

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Refuses: a thread would bring real time in."""
        raise RuntimeError("no threads in a simulation: use async steps and threads=False")

    def _process_events(self, event_list: Any) -> None:
        """There are none: no selector."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector who had to be woken."""

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        timers: list[Any] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0].cancelled():
            heapq.heappop(timers)._scheduled = False  # noqa: SLF001  # as BaseEventLoop does
        if not ready:
            if not timers:
                raise SimulationStuck("everybody waits, and no timer is set")
            self._virtual = max(self._virtual, timers[0].when())
        while timers and timers[0].when() <= self._virtual:
            timer = heapq.heappop(timers)
            timer._scheduled = False  # noqa: SLF001
            ready.append(timer)
        if len(ready) > 1:
            ready.rotate(-self.random.randrange(len(ready)))
        handle = ready.popleft()
        if not handle.cancelled():
            handle._run()  # noqa: SLF001


class SimulatedClock(Clock):
    """The clock of a SimulatedLoop."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return START_MS + round(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Simulation:
    """One run.

    Attributes:
        loop: Its event loop.
        random: Chance of this run.
        clock: Its clock.
    """

    def __init__(self, seed: int) -> None:
        self.loop: SimulatedLoop = SimulatedLoop(seed)
        self.random: random.Random = self.loop.random
        self.clock: SimulatedClock = SimulatedClock(self.loop)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Runs `main` to its end."""
        return self.loop.run_until_complete(main)


@contextmanager
def simulation(seed: int) -> Iterator[Simulation]:
    """A simulation whose loop is closed at the end, whatever still waits in it being cancelled."""
    found = Simulation(seed)
    asyncio.set_event_loop(found.loop)
    try:
        yield found
    finally:
        tasks = asyncio.all_tasks(found.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            found.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        asyncio.set_event_loop(None)
        found.loop.close()
