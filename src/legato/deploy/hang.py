"""Ends a process whose event loop stands still, as when a dialog loops without ever awaiting anything.

Nobody in it is answered, its leases run out and its letters stay in hand: a supervisor starts another one
that has them, and what hung is found by its tries (`app/poison.py`).

Time is what a thread beside the loop has lived through. It gets its turn among threads of Python, so
that a process which was stopped, or a machine that was suspended, has not waited. What lets no other thread
of Python run (a regular expression that tries without end) is found by the processor time that it
takes, where the system has such timers.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from legato.engine.turn import Turn
from legato.engine.versions import Live

log: logging.Logger = logging.getLogger("legato.worker")

STATUS = 70
"""The exit code: EX_SOFTWARE of sysexits.h."""
LOOKS = 10
"""So often within the limit it is looked."""
LONGEST_LOOK_S = 1.0
LOG_S = 2.0
"""How long the log may take: its lock may be what hangs."""


class Patience:
    """Decides whether a loop hangs. No clock, no thread.

    Args:
        limit_s: How long it may stand still.
        look_s: How often it is looked.
    """

    __slots__ = ("_last", "_limit_s", "_most_s", "_stood_s", "_ticks")

    def __init__(self, limit_s: float, look_s: float) -> None:
        self._limit_s = limit_s
        self._most_s = 2 * look_s
        self._last: float | None = None
        self._ticks = -1
        self._stood_s = 0.0

    def ended(self, now_s: float, ticks: int) -> bool:
        """Whether it hangs, as seen now; a longer gap between two looks was not our own time."""
        gap_s = 0.0 if self._last is None else now_s - self._last
        self._last = now_s
        if ticks != self._ticks:
            self._ticks, self._stood_s = ticks, 0.0
        else:
            self._stood_s += min(gap_s, self._most_s)
        return self._stood_s >= self._limit_s


class Watch:
    """The thread beside a loop. Made and started in that loop.

    Args:
        limit_s: How long the loop may stand still.
        end: What happens then, with the loop's thread; ends the process by default.
    """

    def __init__(self, limit_s: float, end: Callable[[int], object] | None = None) -> None:
        self._look_s = min(LONGEST_LOOK_S, limit_s / LOOKS)
        self._patience = Patience(limit_s, self._look_s)
        self._end = end or give_up
        self._ticks = 0
        self._loop = asyncio.get_running_loop()
        self._ident = threading.get_ident()
        self._over = threading.Event()
        self._timer = _CpuTimer(limit_s + self._look_s * (os.cpu_count() or 1))
        self._thread = threading.Thread(target=self._watch, name="legato-hang", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._tick()
        self._timer.set()
        self._thread.start()

    def stop(self) -> None:
        """Ends it. To be called in the loop."""
        self._next.cancel()
        self._over.set()
        self._thread.join()

    def _tick(self) -> None:
        self._ticks += 1
        self._next = self._loop.call_later(self._look_s, self._tick)

    def _watch(self) -> None:
        try:
            while not self._over.wait(self._look_s):
                self._timer.set()
                if self._patience.ended(time.monotonic(), self._ticks):
                    self._timer.clear()
                    self._end(self._ident)
                    return
        finally:
            self._timer.clear()


class _CpuTimer:
    """Ends the process, with its stacks on stderr, once it has used so much processor time since `set`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._there = hasattr(signal, "SIGVTALRM") and (
            signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
        )
        self._registered = False

    def set(self) -> None:
        if self._there:
            if not self._registered:
                self._registered = True
                faulthandler.register(signal.SIGVTALRM, file=2, all_threads=True, chain=True)
            signal.setitimer(signal.ITIMER_VIRTUAL, self._seconds)

    def clear(self) -> None:
        if self._registered:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            faulthandler.unregister(signal.SIGVTALRM)
            self._registered = False


@contextmanager
def watched(limit_s: float) -> Iterator[None]:
    """Ends the process if the running loop stands still for so long within the block; 0 = never."""
    if not limit_s:
        yield
        return
    watch = Watch(limit_s)
    watch.start()
    try:
        yield
    finally:
        watch.stop()


# -- the end ---------------------------------------------------------------------------------------


def give_up(ident: int) -> None:
    """Logs what all threads do, and ends the process at once."""
    told = threading.Thread(target=lambda: log.critical("%s", report(ident)), daemon=True)
    told.start()
    told.join(LOG_S)
    if told.is_alive():
        faulthandler.dump_traceback(file=2, all_threads=True)
    os._exit(STATUS)


def report(ident: int) -> str:
    """What all threads do; first the one that hangs, with its conversation."""
    frames = sys._current_frames()  # noqa: SLF001 # its documented name
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    key = conversation(frames.get(ident))
    at = f" in conversation {key}" if key else ""
    lines = [f"the event loop hangs{at}: the process ends, to be started again\n"]
    for other in sorted(frames, key=lambda number: number != ident):
        lines.append(f"thread {names.get(other, other)}:\n")
        lines += traceback.format_stack(frames[other])
    return "".join(lines).rstrip()


def conversation(frame: FrameType | None) -> str:
    """The key of the conversation whose code runs in a stack, "" if none does."""
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, Turn):
            found = found.live
        if isinstance(found, Live):
            return found.conversation.key
        frame = frame.f_back
    return ""


__all__ = ["STATUS", "Patience", "Watch", "conversation", "give_up", "report", "watched"]
