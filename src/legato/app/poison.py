"""Events that end the process: a bug that eats all memory, an exit in the middle of a dialog.

What was begun before and never came to its end is suspect: a letter that is handed out again, a Turn that
was interrupted, a timer that was due before, the first letter of a mailbox. Each try of it is counted in the
store before it begins, inside its lane, so that nothing is counted that only waits.

    1st death   nothing is known: what is not suspect costs nothing
    2nd death   suspects ran side by side: those that were under way have 1 try now
    3rd death   those ran alone, one after another: only one of them was under way, and is to blame
    after that  it is put aside, for people to look at, and everything behind it goes on

While one runs alone, whatever else comes waits. What has outlived its time alone (a slow step) goes on beside
the others, without blame, and is given twice that time at its next try, so that a slow death is blamed on
the right one, too, some deaths later. Who is let go of (a shard that moves, a store that is away) has
survived: its try is taken back.

The broker's own count (its delivery limit) would put aside whatever else was in hand at that moment.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from msgspec import Struct

from legato.abc import Clock, Store
from legato.app.aside import Aside
from legato.app.room import Room, Stay
from legato.app.router import Router
from legato.app.tasks import Task
from legato.errors import StoreError, Unavailable
from legato.model.events import AnyEvent
from legato.model.records import RUNNING, Commit, Conversation

log: logging.Logger = logging.getLogger("legato.worker")

T = TypeVar("T")

SPACE = "sent"
"""Where tries are counted: of all values, only these are purged by their age, if a death between a commit
and the end of its trial leaves one behind."""
TRIES = 3
"""Deaths that one event may cost, if it dies fast."""
MOST_TRIES = 10
"""Deaths that anything may be under way at."""
BLAME = 2
"""A death alone; one beside others that have been under way for longer counts half."""
ALONE_S = 1.0
"""How long a suspect runs alone at first."""
LONGEST_ALONE_S = 16.0
RESTORE_S = 2.0


class Count(Struct, frozen=True, array_like=True):
    """What is known of one suspect.

    Attributes:
        tries: Deaths that it was under way at, but for the first.
        blame: See BLAME.
    """

    tries: int = 0
    blame: int = 0

    @property
    def guilty(self) -> bool:
        """Whether it is not tried any more."""
        return self.blame >= BLAME or self.tries >= MOST_TRIES - 1

    @property
    def alone_s(self) -> float:
        """How long it holds up the others at its next try."""
        return float(min(LONGEST_ALONE_S, ALONE_S * 2 ** max(0, self.tries - 1)))


NEVER = Count()
_count = msgspec.json.Decoder(Count)


class Trials:
    """Counts the tries of suspects. One per process.

    Args:
        store, clock: Where it is counted, and what time it is.
        router: Says which conversations an event is for.

    Attributes:
        given_up: How many were put aside here.
        since_ms: When something was taken over last: timers that were due before are suspect.
    """

    def __init__(self, store: Store, clock: Clock, router: Router) -> None:
        self._store = store
        self._clock = clock
        self._aside = Aside(store, clock, router)
        self._room = Room(clock)
        self._ours: dict[str, Count] = {}  # what was known before tries of this process
        self._undoing: set[Task] = set()  # who is let go of twice must not be blamed for it
        self.given_up: int = 0
        self.since_ms: int = 0

    async def event(
        self, event: AnyEvent, work: Callable[[], Awaitable[T]], *, suspect: bool = True
    ) -> T | None:
        """Applies an event, or puts it aside: None then. To be called within its lane.

        Args:
            event: Which.
            work: Applies it.
            suspect: It was handed out before. If not, it only waits until nobody is tried alone.

        Raises:
            StoreError, Unavailable: To be called again.
        """
        if not suspect:
            return await self._beside(work)
        return await self._try(
            f"attempt|{event.id}",
            work,
            lambda why, again: self._aside.event(event, why, blindly=again),
        )

    async def turn(self, row: Conversation, work: Callable[[], Awaitable[None]]) -> None:
        """Goes on with an interrupted Turn, or what is due in a conversation; or parks it. To be called
        within its lane.

        Raises:
            StoreError, Unavailable: To be called again.
        """
        if row.status == RUNNING or 0 < row.wake_ms <= self.since_ms:
            name = f"attempt|{row.key}|{row.epoch}|{row.head}"  # what gets further is no suspect
            await self._try(name, work, lambda why, _: self._aside.turn(row, why))
        else:
            await self._beside(work)

    async def refuse(self, event: AnyEvent, error: Exception) -> None:
        """Puts aside an event that cannot be applied, for a bug that is no dialog's.

        Raises:
            StoreError, Unavailable: To be called again.
        """
        why = "".join(traceback.format_exception(error))
        try:
            await self._aside.event(event, why)
        except (StoreError, Unavailable):
            raise
        except Exception:
            log.exception("where %s belongs cannot be told: it is kept as dead", event.id)
            await self._aside.dead(event)
        log.error("put aside, it cannot be applied: %s", event.id)
        self.given_up += 1

    async def close(self) -> None:
        """Waits for the tries that are being taken back. Call it once nothing is tried any more."""
        if self._undoing:
            await asyncio.wait(self._undoing)

    # -- one trial ----------------------------------------------------------------------------

    async def _beside(self, work: Callable[[], Awaitable[T]]) -> T:
        if self._room.calm:
            self._room.begins()
            try:
                return await work()
            finally:
                self._room.ends()
        stay = await self._room.enter(alone=False, seconds=ALONE_S)
        try:
            return await work()
        finally:
            await stay.end()

    async def _try(
        self,
        name: str,
        work: Callable[[], Awaitable[T]],
        give_up: Callable[[str, bool], Awaitable[bool]],
    ) -> T | None:
        before = self._ours.get(name) or _read(await self._store.get(SPACE, name))
        if before.guilty and await self._given_up(name, before, give_up):
            return None
        stay = await self._room.enter(
            alone=before.tries > 0,
            seconds=before.alone_s,
            outlived=lambda: self._acquit(name, before),
        )
        self._ours[name] = before
        try:
            others = self._room.outlived or self._room.free
            blame = (BLAME // 2 if others else BLAME) if stay.alone else 0
            await self._put(name, Count(before.tries + 1, before.blame + blame))
            result = await work()
        except BaseException as error:
            await self._undo(name, before, error, stay)
            raise
        await stay.end()
        await self._put(name, None)
        self._ours.pop(name, None)
        return result

    async def _given_up(
        self, name: str, before: Count, give_up: Callable[[str, bool], Awaitable[bool]]
    ) -> bool:
        again = before.tries >= MOST_TRIES or before.blame >= 2 * BLAME
        # Finding out where it belongs asks the bot's own patterns, which may be what ends the process.
        await self._put(name, Count(before.tries + 1, before.blame + BLAME))
        deaths = before.tries + 1
        try:
            done = await give_up(f"the process died {deaths} times while it worked on this", again)
        except (StoreError, Unavailable, asyncio.CancelledError) as error:
            # The process has survived: it is asked again where this belongs.
            await self._undo(name, before, error)
            raise
        if not done:
            return False
        log.error("put aside, it ended the process %d times: %s", deaths, name)
        self.given_up += 1
        await self._put(name, None)
        return True

    async def _acquit(self, name: str, before: Count) -> None:
        """It has outlived its time: whoever ends the process now, it has no blame in it."""
        try:
            await self._put(name, Count(before.tries + 1, before.blame))
        except StoreError as error:
            log.debug("the blame of %s stays: %s", name, error)

    async def _undo(
        self, name: str, before: Count, error: BaseException, stay: Stay | None = None
    ) -> None:
        """The process has survived this try. A second cancellation (of a worker that ends) ends only the
        wait for it.
        """
        task = asyncio.ensure_future(self._take_back(name, before, error, stay))
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)
        await asyncio.shield(task)

    async def _take_back(
        self, name: str, before: Count, error: BaseException, stay: Stay | None
    ) -> None:
        """What is known of it is as before."""
        if stay is not None:
            await stay.end()
        try:
            async with asyncio.timeout(RESTORE_S):
                await self._put(name, None if before == NEVER else before)
        except (StoreError, TimeoutError) as failure:
            log.debug("the try of %s is counted: %s", name, failure)
            if isinstance(error, StoreError | Unavailable):
                return  # it comes again, and is then known to have survived
        self._ours.pop(name, None)

    async def _put(self, name: str, count: Count | None) -> None:
        value = None if count is None else msgspec.json.encode(count)
        await self._store.commit(Commit(at_ms=self._clock.now_ms(), puts=((SPACE, name, value),)))


def _read(value: bytes | None) -> Count:
    return NEVER if value is None else _count.decode(value)


__all__ = ["TRIES", "Trials"]
