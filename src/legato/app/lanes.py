"""One thing at a time per lane, in the order of arrival; lanes run side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Lanes:
    """Invariant: a lane is in the table while somebody holds it; its queue are those who wait."""

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes: dict[str, deque[asyncio.Future[None]]] = {}

    async def run(self, lane: str, work: Callable[[], Awaitable[T]]) -> T:
        """Runs `work` once everything that came to this lane before is over."""
        queue = self._lanes.get(lane)
        if queue is None:
            self._lanes[lane] = deque()
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue.append(turn)
            try:
                await turn
            except BaseException:
                # Cancelled: just handed the lane, or still in the queue, or passed over already.
                if turn.done() and not turn.cancelled():
                    self._leave(lane)
                elif turn in queue:
                    queue.remove(turn)
                raise
        try:
            return await work()
        finally:
            self._leave(lane)

    def _leave(self, lane: str) -> None:
        queue = self._lanes[lane]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)  # the lane is handed over, never free in between
                return
        del self._lanes[lane]

    @property
    def busy(self) -> int:
        """Lanes in use."""
        return len(self._lanes)
