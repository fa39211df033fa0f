"""Time limits of steps: what hangs is given up, so that its conversation and all others go on.

A coroutine is cancelled. A function in a thread cannot be: its thread is left to itself, and what it returns
one day is thrown away. What still runs though nobody waits for it is counted.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queue import SimpleQueue

    _Calls = SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None]

log: logging.Logger = logging.getLogger("legato.step")

DEFAULT_S = 600.0
"""Limit in seconds of one try of a step that has none of its own."""
GRACE_S = 1.0
"""What a cancelled coroutine has to come to its end, in seconds."""
MOST_THREADS = 256
MOST_IDLE = 32


class Threads:
    """Runs plain functions in daemon threads, which are used again. Belongs to one event loop.

    The loop's own threads will not do: there are few of them, one that hangs is lost to all others, and
    Python waits for them when it ends.

    Invariant: at most MOST_THREADS calls are waited for. One that nobody waits for any more keeps its
    thread until it returns, and nobody's place.

    Attributes:
        left: Calls that still run though nobody waits for them.
    """

    def __init__(self) -> None:
        self.left: int = 0
        self._idle: list[_Calls] = []
        self._places = asyncio.Semaphore(MOST_THREADS)
        self._closed = False

    async def run(self, call: Callable[[], Any]) -> Any:
        """What `call()` returns or raises. Cancelled, it is left to itself."""
        async with self._places:
            loop = asyncio.get_running_loop()
            done: asyncio.Future[Any] = loop.create_future()
            calls = self._idle.pop() if self._idle else self._started(loop)
            calls.put((done, partial(copy_context().run, call)))
            try:
                return await done
            finally:
                self.left += done.cancelled()
                del done  # it holds the error, whose traceback holds this frame

    def _started(self, loop: asyncio.AbstractEventLoop) -> _Calls:
        from queue import SimpleQueue  # not at a cold start

        calls: _Calls = SimpleQueue()
        threading.Thread(
            target=self._serve,
            args=(calls, loop),
            name="legato-step",
            daemon=True,  # a process that is to end ends, whatever hangs in it
        ).start()
        return calls

    def _serve(self, calls: _Calls, loop: asyncio.AbstractEventLoop) -> None:
        while (item := calls.get()) is not None:
            done, call = item
            value: Any = None
            error: BaseException | None = None
            try:
                value = call()
            except BaseException as raised:  # noqa: BLE001  # goes to who waits for it
                error = raised
            try:
                loop.call_soon_threadsafe(self._over, calls, done, value, error)
            except RuntimeError:
                return  # the loop is closed: nobody is left to tell
            del item, done, call, value, error  # an idle thread holds nothing

    def _over(
        self,
        calls: _Calls,
        done: asyncio.Future[Any],
        value: Any,
        error: BaseException | None,
    ) -> None:
        if self._closed or len(self._idle) >= MOST_IDLE:
            calls.put(None)
        else:
            self._idle.append(calls)
        if done.cancelled():
            self.left -= 1  # too late
        elif error is None:
            done.set_result(value)
        elif isinstance(error, StopIteration):  # which no future can hold
            done.set_exception(RuntimeError(f"StopIteration: {error}"))
        else:
            done.set_exception(error)

    def close(self) -> None:
        """Ends the threads that are idle; the others when they have done."""
        self._closed = True
        while self._idle:
            self._idle.pop().put(None)


class Watchdog:
    """Runs one try of a step within its limit.

    Args:
        default_s: Limit in seconds of what has none of its own, 0 = none.

    Attributes:
        late: Tries that were given up so far.
    """

    def __init__(self, default_s: float = DEFAULT_S) -> None:
        self.default_s: float = default_s
        self.late: int = 0
        self._threads = Threads()
        self._left: set[asyncio.Task[Any]] = set()  # which the loop itself holds weakly

    @property
    def stuck(self) -> int:
        """Steps that still run though nobody waits for them any more."""
        return len(self._left) + self._threads.left

    def limit(self, own_s: float | None) -> float | None:
        """The limit in seconds of what has this one of its own; None = none."""
        return (self.default_s if own_s is None else own_s) or None

    async def run(
        self, name: str, call: Callable[[], Any], own_s: float | None, *, thread: bool
    ) -> Any:
        """What `call()` returns; a coroutine that it returns is awaited.

        Args:
            name: Of the step.
            call: Called once.
            own_s: Limit in seconds, 0 = none; None = the default one.
            thread: Call it in a thread.

        Raises:
            TimeoutError: It took too long; the message names the step and the cure.
        """
        limit_s = self.limit(own_s)
        task = asyncio.create_task(self._called(call, thread=thread))
        try:
            await asyncio.wait({task}, timeout=limit_s)
        except asyncio.CancelledError:
            self._give_up(task)
            await asyncio.wait({task}, timeout=GRACE_S)
            raise
        if not task.done():
            self._give_up(task)
        if task not in self._left or limit_s is None:
            try:
                return task.result()
            finally:
                del task  # it holds the error, whose traceback holds this frame
        await asyncio.wait({task}, timeout=GRACE_S)
        self.late += 1
        log.error(
            "step %s was given up after %g s; steps that run on though nobody waits for them: %d",
            name,
            limit_s,
            self.stuck,
        )
        raise TimeoutError(
            f"step {name!r} took longer than {limit_s:g} s and was given up. If it may take that "
            f"long, say chat.run({name}, timeout=...), or raise the limit of all steps: "
            "App(step_timeout=...), LEGATO_STEP_TIMEOUT (0 = none)"
        )

    async def _called(self, call: Callable[[], Any], *, thread: bool) -> Any:
        result = await self._threads.run(call) if thread else call()
        return await result if isinstance(result, Coroutine) else result

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self._left.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also where nobody waits for it any more

    def close(self) -> None:
        """Ends the threads that are idle."""
        self._threads.close()
