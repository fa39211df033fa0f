"""Strict mode: reports calls inside a dialog whose result differs from replay to replay.

While a dialog runs, every call is looked at by sys.setprofile. A forbidden one raises Nondeterminism at the dialog's own line, naming the cure. Only the
thread and the slices of dialogs are watched; steps are free to do what they like.
"""

from __future__ import annotations

import builtins
import datetime as dt
import gc
import io
import logging
import os
import random
import secrets
import sys
import time
import uuid
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from legato.engine import guard
from legato.errors import Nondeterminism

CLOCK = "use chat.now() (the same in every replay)"
CHANCE = "use chat.random or chat.uuid() (the same in every replay)"
OUTSIDE = "move it into a function and call `await chat.run(fn, ...)`, or mark it @step"

_FUNCTIONS: dict[Any, tuple[str, str]] = {
    time.time: ("time.time()", CLOCK),
    time.time_ns: ("time.time_ns()", CLOCK),
    time.monotonic: ("time.monotonic()", CLOCK),
    time.perf_counter: ("time.perf_counter()", CLOCK),
    time.localtime: ("time.localtime()", CLOCK),
    time.gmtime: ("time.gmtime()", CLOCK),
    time.sleep: ("time.sleep()", "use `await chat.sleep(...)`"),
    os.urandom: ("os.urandom()", CHANCE),
    builtins.open: ("open()", OUTSIDE),
    io.open: ("open()", OUTSIDE),
    builtins.input: ("input()", "use `await chat.ask(...)`"),
}
_CODES: dict[CodeType, tuple[str, str]] = {
    fn.__code__: (f"{fn.__module__}.{fn.__name__}()", CHANCE)
    for fn in (uuid.uuid1, uuid.uuid4, secrets.token_bytes, secrets.token_hex, secrets.randbelow)
}
_GLOBAL_RANDOM = getattr(random.random, "__self__", None)
_LOGS = logging.LoggerAdapter.log.__code__
_CHAT_LOG = logging.getLogger("legato.dialog")
_NOW = ("now", "utcnow", "today")


class Watch:
    """Watches dialogs between `install` and `remove`."""

    def __init__(self) -> None:
        self._before: Any = None

    def install(self) -> None:
        """From now on dialogs of this process are watched."""
        guard.WATCH = self

    def remove(self) -> None:
        """No more."""
        if guard.WATCH is self:
            guard.WATCH = None

    def enter(self) -> None:
        """A slice of a dialog begins."""
        self._before = sys.getprofile()
        sys.setprofile(self._look)

    def leave(self) -> None:
        """It ends."""
        sys.setprofile(self._before)

    def _look(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            found = _builtin(arg)
        elif event == "call":
            found = _python(frame)
        else:
            return
        if found is None:
            return
        place = _users_line(frame if event == "c_call" else frame.f_back)
        if place is None:
            return
        sys.setprofile(self._before)
        name, cure = found
        raise Nondeterminism(f"{place}: {name} inside a dialog differs in every replay: {cure}")


def _builtin(function: Any) -> tuple[str, str] | None:
    try:
        found = _FUNCTIONS.get(function)
    except TypeError:  # a method of something unhashable
        return None
    if found is not None:
        return found
    owner = getattr(function, "__self__", None)
    if owner is _GLOBAL_RANDOM or isinstance(owner, random.SystemRandom):
        return f"random.{function.__name__}()", CHANCE
    if isinstance(owner, type) and issubclass(owner, dt.date) and function.__name__ in _NOW:
        return f"{owner.__name__}.{function.__name__}()", CLOCK
    return None


def _python(frame: FrameType) -> tuple[str, str] | None:
    code = frame.f_code
    found = _CODES.get(code)
    if found is not None:
        return found
    if code.co_filename == random.__file__:
        owner = frame.f_locals.get("self")
        if owner is _GLOBAL_RANDOM or isinstance(owner, random.SystemRandom):
            return f"random.{code.co_name}()", CHANCE
    return None


def _users_line(frame: FrameType | None) -> str | None:
    """file:line of the dialog's own code; None if Legato itself or an import makes the call."""
    innermost = frame
    collectors = [getattr(callback, "__code__", None) for callback in gc.callbacks]
    while frame is not None:
        if frame.f_code in collectors:
            return None  # the garbage collector may run its callbacks anywhere
        if frame.f_code is _LOGS and getattr(frame.f_locals["self"], "logger", None) is _CHAT_LOG:
            return None  # chat.log looks at the clock, and is silent in a replay
        module = frame.f_globals.get("__name__", "")
        if frame is innermost and module.startswith("legato."):
            return None
        if module.startswith("importlib"):
            return None
        if not _library(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _library(filename: str) -> bool:
    return filename.startswith(("<", _STDLIB)) or "site-packages" in filename


_STDLIB = str(Path(os.__file__).parent)
