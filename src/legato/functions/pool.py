"""The processes of one function: as many as there are requests at once, up to its limit.

A free process is taken (the one that was busy last: its memory is warm), or one is started, or the
request waits its turn. After a while of silence a free process ends.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections import deque
from collections.abc import Coroutine
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from legato.errors import ConfigError
from legato.functions.config import Function
from legato.functions.container import Container, State, arn_of
from legato.functions.discover import code_mark
from legato.functions.limits import Limits
from legato.functions.meter import Sum, Usage, report_line
from legato.functions.outcome import Lost, NotLoaded, Outcome, error_body
from legato.functions.output import Output
from legato.functions.room import Room
from legato.functions.runtime_api import Work
from legato.functions.zygotes import ZygoteDied, Zygotes

T = TypeVar("T")

SETTLE_S = 0.02
"""A process that has answered asks for more in a moment: sooner than another one could be started."""

log: logging.Logger = logging.getLogger("legato.functions")

_numbers = count(1)


class Busy(Exception):
    """So many requests wait already that this one is refused: 429."""


class Fate(Protocol):
    """What may happen to an invocation; see legato.functions.chaos."""

    def kill_after_s(self, function: Function) -> float | None:
        """When its process is killed in the middle of it."""

    def kills_after_response(self) -> bool:
        """Whether its process is killed once it has answered."""

    def clock_s(self) -> float:
        """How much the clock of a new process is wrong."""

    def before_thaw(self, container: Container) -> None:
        """Something may have happened while it stood still."""


class Turn(Struct, eq=False):
    """Somebody waits.

    Attributes:
        given: A process, or None: there is room to start one.
        since: When that began (monotonic).
    """

    given: asyncio.Future[Container | None]
    since: float


class Pool:
    """All processes of one function.

    Args:
        function: Which one.
        zygotes: Fork them.
        limits: Hold them.
        room: As many processes as all functions together may have.
        sum: Where it is counted.
        fate: What goes wrong on purpose, if anything.

    Attributes:
        output: What they print.
    """

    def __init__(
        self,
        function: Function,
        *,
        zygotes: Zygotes,
        limits: Limits,
        room: Room,
        sum: Sum,
        fate: Fate | None = None,
    ) -> None:
        self.function = function
        self.sum = sum
        self.output: Output = Output(function.name, function.secrets.values())
        self._zygotes = zygotes
        self._limits = limits
        self._room = room
        self._fate = fate
        self._free: list[Container] = []
        self._all: set[Container] = set()
        self._count = 0  # with those that are starting
        self._waiting: deque[Turn] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._mark = code_mark(function.folder)
        self._closed = False
        room.pools.append(self)

    # -- a request ----------------------------------------------------------------------------

    async def invoke(self, event: bytes, client_context: str = "") -> Outcome:
        """Runs the function once, with an event and what a client of Invoke says of itself, both JSON.

        Raises:
            Busy: Too many wait.
            ConfigError: Its processes cannot be started like this.
        """
        outcome = None
        while outcome is None:  # each time, one that is dead leaves the free ones
            try:
                container, init_s = await self._acquired()
            except NotLoaded as failed:
                self.sum.add(Usage(took_s=0.0, kind="init", init_s=failed.took_s))
                text = failed.outcome.body.decode("utf-8", "replace")
                self.output.add(f"INIT_REPORT Status: error\t{text}")
                return failed.outcome
            running = self._spawned(self._run(container, self._work(event, client_context), init_s))
            outcome = await asyncio.shield(running)  # who asked may go away; what runs goes on
        return outcome

    def _work(self, event: bytes, client_context: str) -> Work:
        return Work(
            id=str(uuid.uuid4()),
            body=event,
            deadline_ms=int((time.time() + self.function.timeout_s) * 1000),
            arn=arn_of(self.function),
            client_context=client_context,
        )

    async def _run(self, container: Container, work: Work, init_s: float) -> Outcome | None:
        """None: the process had died before, and nothing has happened."""
        fate = self._fate
        if fate is not None and not init_s:
            fate.before_thaw(container)
        kill_after_s = fate.kill_after_s(self.function) if fate is not None else None
        self.output.add(f"START RequestId: {work.id} Version: $LATEST")
        try:
            outcome = await container.invoke(work, kill_after_s)
        except Lost:
            await self._end(container)
            return None
        if outcome.kind in ("timeout", "crash"):  # the function itself could not tell
            said = outcome.body.decode("utf-8", "replace")
            self.output.add(f"ERROR RequestId: {work.id}\t{said}")
        if fate is not None and fate.kills_after_response():
            container.kill()
            await container.gone.wait()
        settling = self._spawned(self._settle(container, init_s))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        return outcome

    async def _settle(self, container: Container, init_s: float) -> None:
        """After the answer: counts it, and lets the process stand still or go."""
        alive = False
        try:
            alive = await container.rest()
            if container.usage is not None:
                usage = replace(container.usage, init_s=init_s)
                self.sum.add(usage)
                self.output.add(report_line(usage, self.function.memory_mb))
        finally:  # whatever went wrong: its place is somebody's
            if alive and not self._closed and container.mark == self._mark:
                self._release(container)
            else:
                await self._end(container)

    # -- taking and giving back ---------------------------------------------------------------

    async def _acquired(self) -> tuple[Container, float]:
        """A process that is ours, and how long its start took if it is new."""
        await self._settled()
        taken = self._taken()
        if taken is not None:
            return taken, 0.0
        if self._count < self.function.concurrency and self._room.take():
            self._count += 1
            return await self._started()
        if len(self._waiting) >= self.function.queue:
            self.sum.throttled += 1
            raise Busy(self.function.name)
        turn = Turn(asyncio.get_running_loop().create_future(), time.monotonic())
        self._waiting.append(turn)
        try:
            given = await turn.given
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif turn.given.done() and not turn.given.cancelled():
                self._give_back(turn.given.result())
            raise
        return (given, 0.0) if given is not None else await self._started()

    async def _settled(self) -> None:
        """Waits a moment for a process that has answered just now."""
        if self._settling and not self._free:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait(self._settling, timeout=SETTLE_S, return_when=first)

    def _taken(self) -> Container | None:
        while self._free:
            container = self._free.pop()
            if not container.gone.is_set():
                return container
            self._later(self._end(container))
        return None

    async def _started(self) -> tuple[Container, float]:
        """A new process; its place has been taken already. Who asked for it may go away: a start, once
        begun, is not left in the middle, and the process serves the next one.
        """
        starting = self._spawned(self._start())
        try:
            container = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._unwanted)
            raise
        return container, container.init_s

    def _unwanted(self, starting: asyncio.Task[Container]) -> None:
        if not starting.cancelled() and starting.exception() is None:
            starting.result().freeze()
            self._release(starting.result())

    async def _start(self) -> Container:
        container = None
        if len(self._all) == 0:
            self._mark = code_mark(self.function.folder)
        try:
            zygote = await self._zygotes.get(self.function.python, self.function.preload)
            container = Container(
                self.function,
                next(_numbers),
                zygote,
                self._limits,
                self.output,
                clock_s=self._fate.clock_s() if self._fate is not None else 0.0,
            )
            container.mark = self._mark
            self._all.add(container)
            await container.start()
            if self._closed:
                await container.close()
                raise Busy(self.function.name)
        except ZygoteDied as error:
            self._forget(container)
            body = error_body("Runtime.ForkFailed", "the zygote is gone")
            raise NotLoaded(Outcome("init", body)) from error
        except BaseException:
            self._forget(container)
            raise
        self.sum.started(container.init_s)
        return container

    def _release(self, container: Container) -> None:
        if self._closed or self._room.owes(self):
            self._later(self._end(container))
            return
        while self._waiting:
            turn = self._waiting.popleft().given
            if not turn.done():
                turn.set_result(container)
                return
        self._free.append(container)
        self._room.offer()

    def _give_back(self, given: Container | None) -> None:
        """Whoever got it has gone away."""
        if given is not None:
            self._release(given)
        else:
            self._count -= 1
            self._room.give()

    async def _end(self, container: Container) -> None:
        try:
            await container.close()
        finally:
            self._forget(container)

    def _forget(self, container: Container | None) -> None:
        self._count -= 1
        if container is not None:
            self._all.discard(container)
            self._zygotes.let_go(container.zygote)
        self._room.give()

    def next_starts(self) -> bool:
        """Lets the first that waits start a process of its own; False: nobody waits, or may."""
        while self.wants_room:
            turn = self._waiting.popleft().given
            if not turn.done():
                self._count += 1
                turn.set_result(None)
                return True
        return False

    @property
    def wants_room(self) -> bool:
        """Whether somebody waits who could have a process of its own."""
        return bool(self._waiting) and self._count < self.function.concurrency

    @property
    def waits_since(self) -> float:
        """When the first that waits came (monotonic)."""
        return self._waiting[0].since if self._waiting else math.inf

    # -- silence, and the end -----------------------------------------------------------------

    def oldest(self) -> Container | None:
        """The free process that was busy longest ago."""
        return self._free[0] if self._free else None

    def evict(self, container: Container) -> None:
        """Ends a free process."""
        self._free.remove(container)
        self._later(self._end(container))

    def look(self, now: float, marks: dict[Path, int]) -> None:
        """Ends what has been free for too long, has died in its sleep, or has old code (`marks` keeps what was found
        in a folder for the other functions in it).
        """
        folder = self.function.folder
        if self._all:
            if folder not in marks:
                marks[folder] = code_mark(folder)
            self._mark = marks[folder]
        for container in list(self._free):
            old = container.mark != self._mark
            if old or container.gone.is_set() or now - container.since >= self.function.idle_s:
                self.evict(container)

    def states(self) -> dict[str, int]:
        """How many processes are in which state."""
        found = {state.value: 0 for state in State if state is not State.DEAD}
        for container in self._all:
            if container.state is not State.DEAD:
                found[container.state.value] += 1
        return found | {"waiting": len(self._waiting)}

    def pids(self) -> list[int]:
        """Of all processes."""
        return [container.pid for container in self._all if container.pid]

    async def close(self) -> None:
        """Ends all processes, and whoever waits."""
        self._closed = True
        while self._waiting:
            turn = self._waiting.popleft().given
            if not turn.done():
                turn.set_exception(Busy(self.function.name))
        for container in list(self._all):
            container.kill()
        for container in self._free:
            self._later(self._end(container))
        self._free.clear()
        while self._tasks or self._all:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0.001 if self._all else 0)  # one that is still starting

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        _ = self._spawned(work)

    def _spawned(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, NotLoaded | ConfigError | Busy):
            log.error("%s: a process was lost", self.function.name, exc_info=error)


__all__ = ["Busy", "Fate", "Pool"]
