"""Waiting for tasks, but not for long."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

Task = asyncio.Task[Any]


async def unfinished(tasks: Sequence[Task], seconds: float) -> Collection[Task]:
    """Waits until all tasks are over, at most `seconds`; returns those that are not, and go on.

    A single task, as nearly every update is, is waited for at half the price of asyncio.wait.
    """
    if len(tasks) != 1:
        return (await asyncio.wait(tasks, timeout=seconds))[1]
    task = tasks[0]
    loop = task.get_loop()
    over: asyncio.Future[None] = loop.create_future()

    def wake(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    timer = loop.call_later(seconds, wake)
    task.add_done_callback(wake)
    try:
        await over
    finally:
        timer.cancel()
        if not task.done():
            task.remove_done_callback(wake)
    return () if task.done() else (task,)
