"""All functions of a folder, run: their pools, and what else than requests calls them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from legato.errors import ConfigError
from legato.functions.backlog import Backlog
from legato.functions.chaos import Chaos
from legato.functions.config import Function
from legato.functions.events import file_event, schedule_event
from legato.functions.limits import Limits, find_limits, user_of
from legato.functions.meter import Meter
from legato.functions.outcome import Outcome
from legato.functions.pool import Busy, Pool
from legato.functions.room import Room
from legato.functions.schedule import Cron, Rate, awaited, parse_schedule
from legato.functions.trust import open_to_its_user
from legato.functions.watch import LOOK_S, Watch
from legato.functions.zygotes import Zygotes

RETRIES_S = (60.0, 120.0)
"""An event that nobody waits for is tried again after so long each time, as at AWS."""
OPEN = (
    "{} may change {}, which root runs or reads its settings from: what it runs as protects nothing"
)
_A_MOMENT = timedelta(seconds=1)

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
                for path in open_to_its_user(function) if os.getuid() == 0 else ():
                    log.warning("%s: %s", function.name, OPEN.format(function.user, path))
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
        self._backlogs = {
            name: Backlog(name, function.concurrency, partial(self.invoke, name), options.retries_s)
            for name, function in functions.items()
        }
        self._tasks: set[asyncio.Task[None]] = set()

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
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(backlog.close() for backlog in self._backlogs.values()))
        await asyncio.gather(*(pool.close() for pool in self.pools.values()))
        await self.zygotes.close()
        self.limits.close()

    # -- calls --------------------------------------------------------------------------------

    async def invoke(self, name: str, event: bytes, client_context: str = "") -> Outcome:
        """Runs a function once and waits for it.

        Args:
            name: Of the function.
            event: JSON.
            client_context: What the client says of itself, as JSON; "" = nothing.

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
        return await pool.invoke(event, client_context)

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
        taken = self._backlogs[name].offer(event)
        if not taken:
            log.error("%s: an event was dropped: too many wait", name)
        return taken

    # -- what calls by itself -----------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._options.look_s)
            now = time.monotonic()
            marks: dict[Path, int] = {}  # hundreds of functions may be files of one folder
            for pool in self.pools.values():
                pool.look(now, marks)

    async def _follow(self, function: Function, number: int, schedule: Rate | Cron) -> None:
        before = datetime.now(UTC)
        due = schedule.after(before)
        while due is not None:
            now = datetime.now(UTC)
            due, before = awaited(schedule, due, now, before), now
            if due is None:
                return
            if due > now:  # the machine's clock may be set meanwhile
                await asyncio.sleep(min((due - now).total_seconds(), 60.0))
                continue
            self.send(function.name, schedule_event(function, number, due))
            due = schedule.after(max(due, now - _A_MOMENT))

    async def _watch(self, function: Function, watch: Watch) -> None:
        while True:
            await asyncio.sleep(self._options.look_s)
            for file, what in await asyncio.to_thread(watch.changes):
                event = file_event(watch.folder, file, what, datetime.now(UTC))
                await self._backlogs[function.name].put(event)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("something that calls functions has ended", exc_info=task.exception())


__all__ = ["Host", "Options"]
