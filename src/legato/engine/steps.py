"""Carrying out effects: steps with retries, and calls of a platform's own API."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from legato.abc.clock import Clock
from legato.engine import guard
from legato.engine.commands import Step
from legato.engine.watchdog import Watchdog
from legato.errors import ControlFlow, Evict

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0

P = ParamSpec("P")
R = TypeVar("R")

_KEY: ContextVar[str] = ContextVar("legato_idempotency_key", default="")


class PutDown(BaseException):
    """Private: a step stops, since its invocation of a function has no time left. It is begun again in the next one,
    where it goes on by what it has written itself: that is no failed try.
    """


def idempotency_key() -> str:
    """Inside a step: a key that is the same whenever this very step is tried again, and different
    for every other one. Pass it to APIs that take one. "" outside of steps.
    """
    return _KEY.get()


async def run_step(step: Step, key: str, clock: Clock, watchdog: Watchdog) -> Any:
    """Runs a step with its retries; returns its result.

    Raises:
        Exception: What the last try raised.
    """
    token = _KEY.set(key)
    failures = 0
    try:
        while True:
            try:
                return await _once(step, watchdog)
            except Exception:
                if failures >= step.retries:
                    raise
            await clock.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**failures))
            failures += 1
    finally:
        _KEY.reset(token)


async def _once(step: Step, watchdog: Watchdog) -> Any:
    call = partial(step.fn, *step.args, **step.kwargs)
    try:
        return await watchdog.run(step.name, call, step.timeout_s, thread=not is_async(step.fn))
    except ControlFlow as error:
        raise RuntimeError(f"{step.name} raised {type(error).__name__} outside a dialog") from error
    except BaseExceptionGroup as group:  # of a TaskGroup in it
        put_down, others = group.split(PutDown)
        if put_down is None:
            raise
        raise (PutDown() if others is None else others) from None


CO_COROUTINE = 0x80
"""inspect.CO_COROUTINE, without importing inspect."""


def is_async(fn: Any) -> bool:
    """Whether a function is an `async def`."""
    code = getattr(fn, "__code__", None) or getattr(type(fn).__call__, "__code__", None)
    return bool(code is not None and code.co_flags & CO_COROUTINE)


async def _alone(step: Step) -> Any:
    """A step that is called outside of all dialogs: a plain function, with its own limit only."""
    watchdog = Watchdog(0)
    try:
        return await _once(step, watchdog)
    finally:
        watchdog.close()


class StepDecorator(Protocol):
    """What `step` with options returns."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


@overload
def step(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def step(fn: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def step(
    *,
    retries: int = 0,
    at_most_once: bool = False,
    timeout: float | timedelta | None = None,
    key: str = "",
) -> StepDecorator: ...


def step(fn: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Marks a function as a step: called inside a dialog it runs once and is journaled, as with
    `chat.run`; called anywhere else it is the plain function.

    Options: retries, at_most_once, timeout, key, as in `chat.run`.
    """
    if fn is None:
        return lambda real: step(real, **options)
    name = options.pop("key", "") or fn.__name__
    seconds = options.pop("timeout", None)
    if seconds is not None and hasattr(seconds, "total_seconds"):
        seconds = seconds.total_seconds()

    async def call(*args: Any, **kwargs: Any) -> Any:
        driver = guard.ACTIVE.driver
        operation = Step(name, fn, args, kwargs, timeout_s=seconds, **options)
        if driver is None:
            return await _alone(operation)
        if driver.evicting and driver.refuses():
            raise Evict
        return await operation

    call.__name__ = fn.__name__
    call.__qualname__ = fn.__qualname__
    call.__doc__ = fn.__doc__
    call.__module__ = fn.__module__
    call.__wrapped__ = fn  # type: ignore[attr-defined]
    return call
