"""The time that one invocation of a function has. Nothing runs once it is over: the machine stands still."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import legato
from legato.abc import Clock
from legato.engine.term import Term
from legato.errors import Unavailable

if TYPE_CHECKING:
    from legato.outbox.caretaker import Caretaker

MARGIN_S = 0.5
"""Kept for answering, of the time that is left."""
CUT_S = 0.3
"""What still hangs then is let go of: a store that does not answer."""
CANCEL_S = 0.2
"""So much before the end nothing is waited for any more that was let go of."""
CLOSE_S = 0.1
"""The same, for what is closed."""
GUARD_S = 2.0
"""No step is started when less than this is left, or less than a quarter of all the time."""
GRACE_MS = 2000
"""An interrupted Turn is gone on with so long after the end of its invocation."""
CLAIM_MS = 60_000
"""What is committed is for this invocation to send for so long at most: it may be one of many minutes, and die."""
_KNOWN = (os.path.dirname(legato.__file__), os.path.dirname(asyncio.__file__))  # noqa: PTH120  # pathlib is slow to import

_DRIVERS = (f"{os.sep}asyncpg{os.sep}",)
"""What of theirs is left tells of a connection that was dropped, and nothing of the bot."""

ROUNDS = 10
"""Rounds of the loop in which cancelled steps come to their end."""
_WITHIN: ContextVar[bool] = ContextVar("legato_invocation", default=False)

log: logging.Logger = logging.getLogger("legato.function")

Task = asyncio.Task[Any]
Earlier = Callable[[str], Awaitable[None]]


class NoTime(Unavailable):
    """The invocation was over before it could be worked on."""

    def __init__(self) -> None:
        super().__init__("no time left")


class CutOff(Unavailable):
    """The time is over, and something was waited for that did not come."""

    def __init__(self) -> None:
        super().__init__("the store did not answer within the invocation")


class Invocation(Term):
    """The term of Turns in a function. One per process; `begin` starts the next.

    Args:
        clock: Time.

    Attributes:
        wakes: Conversations that are to be woken, and when (milliseconds since 1970).
        carer: What may make this process the caretaker (legato.outbox.caretaker), once it was needed.
        care: The same, if it is that in this invocation.
        taken: Ids of what it has taken over as that.
        looked: Up to which item of the outbox this process has looked for what was left; 0 = it begins anew.
        earlier: Takes over what a conversation has said in another process, once there is something that can.
        until: When the answer must be on its way, by the clock's monotonic seconds.
    """

    __slots__ = (
        "_clock",
        "_guard_s",
        "_until_ms",
        "care",
        "carer",
        "earlier",
        "looked",
        "taken",
        "until",
        "wakes",
    )

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.wakes: dict[str, int] = {}
        self.carer: Caretaker | None = None
        self.care: Caretaker | None = None
        self.taken: set[int] = set()
        self.looked: int = 0
        self.earlier: Earlier | None = None
        self.until: float = 0.0
        self._guard_s = 0.0
        self._until_ms = 0

    def begin(self, budget_s: float) -> None:
        """An invocation begins; it has so many seconds."""
        budget_s = max(0.0, budget_s)  # one that another version handed over may come too late
        self.until = self._clock.monotonic() + max(0.0, budget_s - MARGIN_S)
        self._guard_s = min(GUARD_S, budget_s / 4)
        self._until_ms = self._clock.now_ms() + round(budget_s * 1000) + GRACE_MS
        self.wakes = {}
        self.care = None
        self.taken.clear()

    @property
    def left_s(self) -> float:
        """Seconds until the answer must be on its way."""
        return max(0.0, self.until - self._clock.monotonic())

    def rest_s(self, spare_s: float) -> float:
        """Seconds until there are only so many left of all."""
        return max(0.0, self.until + MARGIN_S - spare_s - self._clock.monotonic())

    @asynccontextmanager
    async def limited(self) -> AsyncIterator[None]:
        """Lets nothing that is awaited within outlast the invocation.

        Raises:
            CutOff: Something would have.
        """
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        limit = asyncio.timeout(None)

        def look() -> None:
            nonlocal timer
            rest_s = self.rest_s(CUT_S)  # a clock of tests may have stood still meanwhile
            if rest_s:
                timer = loop.call_later(rest_s, look)
            else:
                limit.reschedule(loop.time())

        try:
            async with limit:
                look()
                yield
        except TimeoutError as error:
            if limit.expired():
                raise CutOff from error
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def may_begin(self) -> bool:
        return self.left_s > self._guard_s

    def until_ms(self) -> int:
        return self._until_ms

    def sends_until_ms(self) -> int:
        return min(self._until_ms, self._clock.now_ms() + CLAIM_MS)

    def alarm(self, key: str, wake_ms: int) -> None:
        self.wakes[key] = wake_ms

    async def taken_up(self, key: str) -> None:
        if self.earlier is not None:
            await self.earlier(key)


class Strays:
    """Finds tasks that the bot's own code starts within an invocation and leaves running.

    In a server's loop there are tasks of others, so only those are found that come from within: each task
    is noted when it is made, if whoever makes it works for an invocation.
    """

    __slots__ = ("_loop", "_previous", "_tasks")

    def __init__(self) -> None:
        self._tasks: WeakSet[Task] = WeakSet()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._previous: Any = None

    def begin(self) -> Token[bool]:
        """An invocation begins, in this task and whatever it starts."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._previous = loop, loop.get_task_factory()
            loop.set_task_factory(self._made)
        return _WITHIN.set(True)

    async def end(self, token: Token[bool], turns: Collection[Task], within_s: float) -> None:
        """Ends what may not outlast the invocation: Turns that had no time left, and tasks of the bot's own.

        A Turn that is cut off is gone on with in a later invocation, from its last commit. A task that takes
        longer to end than `within_s` is left as it is: the answer does not wait for it.
        """
        _WITHIN.reset(token)
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        if turns:
            names = {n for task in turns if not (n := task.get_name()).startswith("Task-")}
            log.error(
                "%s did not end within the invocation and is gone on with in a later one: give the function "
                "more time, or its steps a limit (timeout=)",
                ", ".join(f"conversation {name}" for name in sorted(names)) or "a Turn",
            )
            await _ended([*turns], within_s)
            for _ in range(ROUNDS):  # what its steps have started is told by them
                await asyncio.sleep(0)
        strays = [task for task in self._tasks if not task.done()]
        self._tasks.clear()
        for task in strays:
            if _is_drivers(task):
                continue
            log.error(
                "%s was still running when the invocation ended, and is cancelled: the machine stands still "
                "between invocations. Await it in a step (chat.run)",
                getattr(task.get_coro(), "__qualname__", task.get_name()),
            )
        await _ended(strays, min(GRACE_MS / 1000, max(0.0, until - loop.time())))

    def close(self) -> None:
        """Lets go of the loop."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.set_task_factory(self._previous)
        self._loop = None

    def _made(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        task = (
            asyncio.Task(coro, loop=loop, **options)
            if self._previous is None
            else self._previous(loop, coro, **options)
        )
        if _WITHIN.get() and _is_foreign(coro):
            self._tasks.add(task)
        return task


async def _ended(tasks: Collection[Task], within_s: float) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=within_s)


def _is_drivers(task: Task) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return any(part in str(code.co_filename) for part in _DRIVERS) if code is not None else False


def _is_foreign(coro: Any) -> bool:
    """Whether it is of code that is not Legato's."""
    code = getattr(coro, "cr_code", None)
    return code is not None and not str(code.co_filename).startswith(_KNOWN)


__all__ = [
    "CANCEL_S",
    "CLOSE_S",
    "GRACE_MS",
    "MARGIN_S",
    "CutOff",
    "Invocation",
    "NoTime",
    "Strays",
]
