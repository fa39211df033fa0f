"""The fence around every slice of a dialog: no event loop inside, and a marker of who is running.

While a dialog runs, asyncio sees `NO_LOOP` as the running loop. Whatever asks it for anything
(asyncio.sleep, an HTTP client, a TaskGroup, gather ...) raises ForeignAwait at the user's line.
Without it `asyncio.timeout` inside a dialog would cancel the worker's own task.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import _get_running_loop, _set_running_loop
from typing import Any, NoReturn

from legato.errors import ForeignAwait

CURE = (
    "A dialog may await only chat.* and its own coroutines, since it is replayed after a restart. "
    "Move this into a function and call it with `await chat.run(fn, ...)` or mark it @step; "
    "use chat.sleep, chat.timeout, chat.gather in place of their asyncio namesakes."
)


class _NoLoop:
    """Stands in for the event loop; refuses every use by name."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ForeignAwait(f"asyncio was used inside a dialog ({name}). {CURE}")

    def __hash__(self) -> int:  # asyncio.current_task() looks the loop up in a dict
        raise ForeignAwait(f"asyncio's current task was asked for inside a dialog. {CURE}")

    def __eq__(self, other: object) -> bool:
        return self is other


NO_LOOP: Any = _NoLoop()


class _Active(threading.local):
    """The driver whose dialog runs in this thread right now.

    Not a ContextVar: tasks copy those, so a stray task would look like the dialog itself.
    """

    driver: Any = None


ACTIVE = _Active()

WATCH: Any = None
"""Strict mode's watch (`enter`, `leave`), None outside of tests and development."""


def enter(driver: object) -> tuple[asyncio.AbstractEventLoop | None, Any]:
    """Begins a slice. Returns what `leave` needs."""
    before = (_get_running_loop(), ACTIVE.driver)
    ACTIVE.driver = driver
    _set_running_loop(NO_LOOP)
    if WATCH is not None:
        WATCH.enter()
    return before


def leave(before: tuple[asyncio.AbstractEventLoop | None, Any]) -> None:
    """Ends a slice."""
    if WATCH is not None:
        WATCH.leave()
    loop, ACTIVE.driver = before
    _set_running_loop(loop)
