"""All functions of a folder, run: their pools, and what else than requests calls them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from legato.errors import ConfigError
from legato.functions.chaos import Chaos
from legato.functions.config import Function
from legato.functions.events import file_event, schedule_event
from legato.functions.limits import Limits, find_limits, user_of
from legato.functions.meter import Meter
from legato.functions.outcome import Outcome
from legato.functions.pool import Busy, Pool
from legato.functions.room import Room
from legato.functions.schedule import Cron, Rate, parse_schedule
from legato.functions.watch import LOOK_S, Watch
from legato.functions.zygotes import Zygotes

RETRIES_S = (60.0, 120.0)
"""An event that nobody waits for is tried again after so long each time, as at AWS."""
_A_MOMENT = timedelta(seconds=1)
BACKGROUND = 1000
"""So many events may be under way or wait to be tried again; more are dropped, and logged."""

log: logging.Logger = logging.getLogger("legato.functions")


class Options(Struct, frozen=True, kw_only=True):
    """How they are run.

    Attributes:
        processes: So many at once, of all functions together.
        retries_s: See RETRIES_S.
        look_s: Between two looks for idle processes and for files.
        chaos: What goes wrong on purpose; None: nothing.
        limits: None: the best that this machine allows.
    """

    processes: int = 64
    retries_s: tuple[float, ...] = RETRIES_S
    look_s: float = LOOK_S
    chaos: Chaos | None = None
    limits: Limits | None = None


class Host:
    """Runs functions.

    Args:
        functions: By name.
        options: How.

    Attributes:
        functions: The same.
        meter: What they used.
        pools: Their processes.
        limits: What holds them.

    Raises:
        ConfigError: A schedule or a user cannot be used.
    """

    def __init__(self, functions: dict[str, Function], options: Options | None = None) -> None:
        self._options = options = options or Options()
        self.functions = functions
        self._schedules = [
            (function, number, parse_schedule(text, function.name))
            for function in functions.values()
            for number, text in enumerate(function.schedule, 1)
        ]
        for function in functions.values():
            if function.user:
                user_of(function)
        self.limits: Limits = options.limits or find_limits()
        self.meter: Meter = Meter({name: one.memory_mb for name, one in functions.items()})
        self.zygotes: Zygotes = Zygotes()
        room = Room(options.processes)
        self.pools: dict[str, Pool] = {
            name: Pool(
                function,
                zygotes=self.zygotes,
                limits=self.limits,
                room=room,
                sum=self.meter.sums[name],
                fate=options.chaos,
            )
            for name, function in functions.items()
        }
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self) -> None:
        """Begins to look for idle processes and files, and to follow schedules."""
        self._begin(self._look())
        for function, number, schedule in self._schedules:
            self._begin(self._follow(function, number, schedule))
        for function in self.functions.values():
            if function.watch is not None:
                self._begin(self._watch(function, Watch(function.watch)))

    async def close(self) -> None:
        """Ends everything, with all processes."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(pool.close() for pool in self.pools.values()))
        await self.zygotes.close()
        self.limits.close()

    # -- calls --------------------------------------------------------------------------------

    async def invoke(self, name: str, event: bytes) -> Outcome:
        """Runs a function once and waits for it.

        Raises:
            KeyError: There is none of this name.
            Busy: Too many requests wait for it.
            ConfigError: It cannot be started like this.
        """
        pool, chaos = self.pools[name], self._options.chaos
        if chaos is not None:
            await asyncio.sleep(chaos.held_s())
            if chaos.twice():
                self._begin(self._again(name, event))
        return await pool.invoke(event)

    async def _again(self, name: str, event: bytes) -> None:
        try:
            await self.pools[name].invoke(event)
        except (Busy, ConfigError) as error:
            log.info("%s: the second time of an event did not happen: %s", name, error)

    def send(self, name: str, event: bytes) -> bool:
        """Runs a function soon; nobody waits for it. What fails is tried again.

        Returns:
            False if there are too many such events already.
        """
        if self._closed or len(self._tasks) >= BACKGROUND + len(self._schedules):
            log.error("%s: an event was dropped: too many wait", name)
            return False
        self._begin(self._sent(name, event))
        return True

    async def _sent(self, name: str, event: bytes) -> None:
        for pause_s in (*self._options.retries_s, None):
            try:
                outcome = await self.invoke(name, event)
            except (Busy, ConfigError) as error:
                why = str(error)
            else:
                if outcome.kind == "ok":
                    return
                why = outcome.body.decode("utf-8", "replace")[:500]
            if pause_s is None:
                log.error("%s: an event was given up: %s", name, why)
                return
            log.warning("%s: an event failed, and comes again in %.0f s: %s", name, pause_s, why)
            await asyncio.sleep(pause_s)

    # -- what calls by itself -----------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._options.look_s)
            now = time.monotonic()
            for pool in self.pools.values():
                pool.look(now)

    async def _follow(self, function: Function, number: int, schedule: Rate | Cron) -> None:
        due = schedule.after(datetime.now(UTC))
        while due is not None:
            left_s = (due - datetime.now(UTC)).total_seconds()
            if left_s > 0:
                await asyncio.sleep(min(left_s, 60.0))  # the machine's clock may be set meanwhile
                continue
            self.send(function.name, schedule_event(function, number, due))
            due = schedule.after(max(due, datetime.now(UTC) - _A_MOMENT))

    async def _watch(self, function: Function, watch: Watch) -> None:
        while True:
            await asyncio.sleep(self._options.look_s)
            for file, what in await asyncio.to_thread(watch.changes):
                event = file_event(watch.folder, file, what, datetime.now(UTC))
                self.send(function.name, event)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("something that calls functions has ended", exc_info=task.exception())


__all__ = ["Host", "Options"]
