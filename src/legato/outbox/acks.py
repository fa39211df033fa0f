"""Acknowledgements: calls made at once, outside the lanes, whose loss does no harm."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from legato.abc import Clock, HttpClient, Parsed, Platform
from legato.abc.redaction import ERROR_CHARS, redacted
from legato.model.events import Address
from legato.model.ordered import Ordered
from legato.model.records import Call

log: logging.Logger = logging.getLogger("legato.relay")

WAITING = 1024
"""Acknowledgements kept waiting; beyond it the oldest, worth least by now, is dropped."""


class Acks:
    """Sends acknowledgements, a bounded number at once."""

    __slots__ = ("_clock", "_http", "_limit", "_on_idle", "_queue", "_workers", "dropped")

    def __init__(
        self, http: HttpClient, clock: Clock, limit: int, on_idle: Callable[[], None]
    ) -> None:
        self._http = http
        self._on_idle = on_idle
        self._clock = clock
        self._limit = limit
        self._queue: deque[tuple[Platform, Call, Address]] = deque(maxlen=WAITING)
        self._workers: Ordered[asyncio.Task[None]] = Ordered()
        self.dropped: int = 0

    @property
    def busy(self) -> bool:
        """Whether some are on their way."""
        return bool(self._workers)

    def send(self, platform: Platform, call: Call, place: Address) -> None:
        """Starts sending it; never waits."""
        if len(self._queue) == WAITING:
            self.dropped += 1
        self._queue.append((platform, call, place))
        if len(self._workers) < self._limit:
            task = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(task)
            task.add_done_callback(self._ended)

    def send_all(self, platform: Platform, parsed: Parsed) -> None:
        """Starts sending those of one update; never waits."""
        if parsed.acks:
            nowhere = Address(platform.name, platform.bot, "")
            place = parsed.events[0].place if parsed.events else nowhere
            for ack in parsed.acks:
                self.send(platform, ack, place)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._workers.discard(task)
        self._on_idle()

    async def _work(self) -> None:
        while self._queue:
            platform, call, place = self._queue.popleft()
            if 0 < call.expires_ms <= self._clock.now_ms():
                self.dropped += 1
                continue
            try:
                verdict = await platform.send(call, place, self._http)
            except Exception as error:  # noqa: BLE001 - an adapter's bug must not stop the others
                reason = f"{type(error).__name__}: {error}"
            else:
                if verdict.outcome == "sent":
                    continue
                reason = verdict.error or verdict.outcome
            log.debug(
                "%s was not taken: %s", call.method, redacted(reason, platform.secrets, ERROR_CHARS)
            )

    async def close(self) -> None:
        """Drops what is left. Idempotent."""
        self._queue.clear()
        for task in self._workers:
            task.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
