"""Events that end the process: a bug that eats all memory, an exit in the middle of a dialog.

What was begun before and never came to its end is suspect: a letter that is handed out again, a Turn that
was interrupted, the first letter of a mailbox. Each try of it is counted in the store before it begins. After
the first death, suspects run side by side as ever; those that were under way at a second one run alone, so
that only the guilty one is counted from then on. After TRIES it is put aside, for people to look at, and
everything behind it goes on.

The broker's own count (its delivery limit) would put aside whatever else was in hand at that moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from legato.abc import Clock, Store
from legato.app.router import Router
from legato.engine import changes, journal
from legato.model.events import AnyEvent
from legato.model.records import CONFLICT, FAILED, HELD, Commit, Conversation, Loaded

log: logging.Logger = logging.getLogger("legato.worker")

T = TypeVar("T")

SPACE = "attempt"
TRIES = 3
"""Lives that one event may cost: the first, and those that are counted."""
SURVIVED_S = 5.0
"""A suspect that runs for so long (a slow step) does not hold up the others any more."""
MOST_ROUNDS = 10


class Trials:
    """Counts the tries of suspects. One per process.

    Args:
        store, clock: Where it is counted, and what time it is.
        router: Says which conversations an event is for.

    Attributes:
        given_up: How many were put aside here.
    """

    def __init__(self, store: Store, clock: Clock, router: Router) -> None:
        self._store = store
        self._clock = clock
        self._router = router
        self._alone = asyncio.Lock()
        self._counted: set[str] = set()
        self.given_up: int = 0

    async def event(self, event: AnyEvent, work: Callable[[], Awaitable[object]]) -> None:
        """Applies an event that was handed out before, or puts it aside.

        Raises:
            StoreError, Unavailable: To be called again.
        """
        await self._try(event.id, work, lambda why: self._set_aside(event, why))

    async def turn(self, row: Conversation, work: Callable[[], Awaitable[object]]) -> None:
        """Goes on with an interrupted Turn, or parks its conversation.

        Raises:
            StoreError, Unavailable: To be called again.
        """
        name = f"{row.key}|{row.epoch}|{row.head}"
        await self._try(name, work, lambda why: self._park(row.key, why, None))

    # -- one trial ----------------------------------------------------------------------------

    async def _try(
        self,
        name: str,
        work: Callable[[], Awaitable[object]],
        give_up: Callable[[str], Awaitable[object]],
    ) -> None:
        count = int(await self._store.get(SPACE, name) or b"0")
        if name in self._counted:  # this process has counted it, and lives
            await work()
        elif count >= TRIES - 1:
            why = f"the process died {TRIES} times while it worked on this ({name})"
            log.error("put aside, after it ended %d processes: %s", TRIES, name)
            await give_up(why)
            self.given_up += 1
        elif not count:
            await self._count(name, 1)
            await work()
        else:
            await self._alone_with(name, count + 1, work)
        await self._forget(name)

    async def _alone_with(
        self, name: str, count: int, work: Callable[[], Awaitable[object]]
    ) -> None:
        await self._alone.acquire()
        over = False

        def release() -> None:
            nonlocal over
            if not over:
                over = True
                self._alone.release()

        async def survived() -> None:
            await self._clock.sleep(SURVIVED_S)
            release()

        limit = asyncio.create_task(survived())
        try:
            await self._count(name, count)
            await work()
        finally:
            release()
            limit.cancel()
            with suppress(asyncio.CancelledError):
                await limit

    async def _count(self, name: str, count: int) -> None:
        await self._put(name, str(count).encode())
        self._counted.add(name)

    async def _forget(self, name: str) -> None:
        await self._put(name, None)
        self._counted.discard(name)

    async def _put(self, name: str, value: bytes | None) -> None:
        await self._store.commit(Commit(at_ms=self._clock.now_ms(), puts=((SPACE, name, value),)))

    # -- putting aside ------------------------------------------------------------------------

    async def _set_aside(self, event: AnyEvent, why: str) -> None:
        """The conversation that it is for fails, and keeps it for the retry; one that is for none is
        kept as dead.
        """
        inner: str = getattr(event, "key", "")
        for key in (inner,) if inner else self._router.keys(event):
            if await self._park(key, why, event):
                return
        now_ms = self._clock.now_ms()
        put = ("dead-update", event.id, journal.encode(event))
        await self._store.commit(Commit(at_ms=now_ms, update_id=event.id, puts=(put,)))

    async def _park(self, key: str, why: str, event: AnyEvent | None) -> bool:
        """Whether a conversation stands there, which is parked now."""
        for _ in range(MOST_ROUNDS):
            loaded: Loaded | None = await self._store.load(key)
            if loaded is None:
                return False
            parked = loaded.conversation.status in (FAILED, HELD)
            now_ms = self._clock.now_ms()
            if parked and event is None:
                return True
            commit = (
                Commit(at_ms=now_ms, deposit=(changes.kept_mail(loaded.conversation, event),))
                if parked and event is not None
                else changes.failed(loaded, why, event, now_ms)
            )
            if (await self._store.commit(commit)).result != CONFLICT:
                return True
        return False


__all__ = ["TRIES", "Trials"]
