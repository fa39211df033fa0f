"""Broadcasts that wait in the store: only so many of a bot stand in memory.

A broadcast to everybody is a million messages that take hours at the platform's limit, and each of them
would cost a kilobyte for all that time. So once a bot has lanes enough of them, later ones stay where they
were committed, and are read page by page when half of those lanes are empty. A chat's broadcasts keep their
order: while one is left in the store, so is everything of the bot that comes after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from legato.abc import Clock, Store
from legato.errors import StoreError
from legato.model.records import QUEUED, SENDING, OutboxItem

log: logging.Logger = logging.getLogger("legato.relay")

PAGE = 1000
PAUSE_S = 1.0
"""Before the store is asked again after it failed."""
NOWHERE = 2**63 - 1


class _Bot:
    """What is known of one bot's broadcasts.

    Attributes:
        lanes: How many stand in memory.
        leaving: Something was left in the store, so that all that follows is, too.
        after: All that was left has a larger id.
        left: How often something was left.
        reading: A refill is under way.
    """

    __slots__ = ("after", "lanes", "leaving", "left", "reading")

    def __init__(self) -> None:
        self.lanes: int = 0
        self.leaving: bool = False
        self.after: int = NOWHERE
        self.left: int = 0
        self.reading: bool = False


class Backlog:
    """Says which broadcasts stay in the store, and reads them when there is room.

    Args:
        store, clock: Where they are, and how to wait.
        most: Lanes of broadcasts that a bot has in memory; 0 = all of them.
        slots: Of which slots items are ours, None: of all.
        known: Ids of what this process has in memory.
        take: Takes over an item that was found in the store, if it is ours.
        spawn: Runs a refill beside.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        most: int,
        *,
        slots: Callable[[], Collection[int] | None],
        known: Callable[[], set[int]],
        take: Callable[[OutboxItem], object],
        spawn: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._most = most
        self._slots = slots
        self._known = known
        self._take = take
        self._spawn = spawn
        self._bots: dict[str, _Bot] = {}

    def leaves(self, item: OutboxItem) -> bool:
        """Whether an item that would be queued now is to stay in the store."""
        if not is_broadcast(item) or not self._most:
            return False
        bot = self._bots.setdefault(_bot_of(item.lane), _Bot())
        if not bot.leaving and bot.lanes < self._most:
            return False
        bot.leaving = True
        bot.left += 1
        bot.after = min(bot.after, item.id - 1)
        return True

    def opened(self, lane: str) -> None:
        """A bot has one more lane of broadcasts in memory."""
        self._bots.setdefault(_bot_of(lane), _Bot()).lanes += 1

    def closed(self, lane: str) -> None:
        """It has one less: perhaps there is room for others."""
        name = _bot_of(lane)
        bot = self._bots[name]
        bot.lanes -= 1
        if bot.leaving and not bot.reading and bot.lanes <= self._most // 2:
            bot.reading = True
            self._spawn(name)
        elif not bot.lanes and not bot.leaving:
            del self._bots[name]

    async def refill(self, name: str) -> None:
        """Reads what a bot has left in the store, until there is no more room or no more of it."""
        bot = self._bots[name]
        try:
            while bot.leaving and bot.lanes < self._most:
                await self._read(name, bot)
        finally:
            bot.reading = False
        if not bot.lanes and not bot.leaving:
            self._bots.pop(name, None)

    async def _read(self, name: str, bot: _Bot) -> None:
        # What is left during the read may have a smaller id than what it finds: `after` starts anew.
        after, bot.after, left = bot.after, NOWHERE, bot.left
        known = self._known()
        try:
            page = await self._store.outbox(
                states=(QUEUED, SENDING), after=after, limit=PAGE, slots=self._slots()
            )
        except StoreError as error:
            bot.after = min(bot.after, after)
            log.warning("broadcasts wait in the store: %s", error)
            await self._clock.sleep(PAUSE_S)
            return
        known |= self._known()
        for item in page:
            if is_broadcast(item) and _bot_of(item.lane) == name and item.id not in known:
                if bot.lanes >= self._most:
                    break
                self._take(item)
            after = item.id
        else:
            if len(page) < PAGE and bot.left == left:
                bot.leaving = False
                return
        bot.after = min(bot.after, after)


def is_broadcast(item: OutboxItem) -> bool:
    """Whether it may be left in the store. A conversation's own messages go behind its broadcast, so that one is
    never left.
    """
    return item.call.bulk and not item.key


def _bot_of(lane: str) -> str:
    """Platform and bot of a lane, or of its name with a suffix."""
    platform, _, rest = lane.partition(":")
    return f"{platform}:{rest.partition(':')[0]}"


__all__ = ["Backlog", "is_broadcast"]
