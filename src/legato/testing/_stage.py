"""What the fake platforms share: they are moved from any thread, and tests wait for what happens."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import update_wrapper
from typing import Concatenate, ParamSpec, Protocol, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Stage:
    """The state of a fake. Only touched in the server's own thread: see `inside`."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: int = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def enter(self) -> None:
        """The running loop is the server's from now on."""
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()

    def shown(self) -> object:
        """What a failed wait shows."""
        return ""

    def changed(self) -> None:
        """Wakes whoever waits for something to happen."""
        if self._waiting:
            for future in self._waiting:
                if not future.done():
                    future.set_result(None)
            self._waiting.clear()

    async def until(self, predicate: Callable[[], T], timeout_s: float) -> T:
        """The first true value of `predicate`, which is asked again whenever something changed.

        Raises:
            AssertionError: It stayed false; the message shows all chats.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not (found := predicate()):
            future = loop.create_future()
            self._waiting.add(future)
            try:
                async with asyncio.timeout_at(deadline):
                    await future
            except TimeoutError:
                raise AssertionError(
                    f"it did not happen in {timeout_s} s: {self.shown()}"
                ) from None
            finally:
                self._waiting.discard(future)
        return found


class _Inhabitant(Protocol):
    @property
    def world(self) -> Stage: ...


S = TypeVar("S", bound=_Inhabitant)


def inside(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Lets a method be called from any thread: it runs in the server's."""

    def wrapper(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        world = self.world
        if world.loop is None or world.thread == threading.get_ident():
            return method(self, *args, **kwargs)
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(method(self, *args, **kwargs))
            except BaseException as error:  # noqa: BLE001 # it is the caller's
                done.set_exception(error)

        world.loop.call_soon_threadsafe(run)
        return done.result(10)

    update_wrapper(wrapper, method)
    return wrapper


class Staged(ABC):
    """A fake that is opened and closed, in the running loop or in a thread of its own.

    Attributes:
        world: Its state.
    """

    world: Stage

    @abstractmethod
    async def open(self) -> Self:
        """Starts listening, in the running loop."""

    @abstractmethod
    async def close(self) -> None:
        """Stops; every connection is cut."""

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @contextmanager
    def threaded(self) -> Iterator[Self]:
        """The server in a thread of its own."""
        loop = asyncio.new_event_loop()
        opened = threading.Event()
        stop = asyncio.Event()

        async def main() -> None:
            async with self:
                opened.set()
                await stop.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(main(),), daemon=True)
        thread.start()
        try:
            assert opened.wait(10), f"{type(self).__name__} did not start"
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(10)
            loop.close()

    async def wait_for(self, predicate: Callable[[], T], timeout_s: float = 10.0) -> T:
        """The first true value of `predicate`, asked whenever something happened here.

        Raises:
            AssertionError: It stayed false; the message shows all chats.
        """
        waiting = self.world.until(predicate, timeout_s)
        loop = self.world.loop
        if loop is None or loop is asyncio.get_running_loop():
            return await waiting
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(waiting, loop))

    def wait_until(self, predicate: Callable[[], T], timeout_s: float = 10.0) -> T:
        """As `wait_for`, for a test that runs in another thread without a loop."""
        assert self.world.loop is not None, f"{type(self).__name__} is not open"
        waiting = self.world.until(predicate, timeout_s)
        return asyncio.run_coroutine_threadsafe(waiting, self.world.loop).result()
