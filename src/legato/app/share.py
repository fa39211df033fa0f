"""Which part of a bot's chats a process is responsible for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from legato.abc import Clock, Store
from legato.errors import StoreError
from legato.model.records import OutboxItem
from legato.model.shards import slot_of, slot_of_key
from legato.outbox.caretaker import RENEW_S, TERM_S, Caretaker, is_own

log: logging.Logger = logging.getLogger("legato.runtime")


class Share:
    """Everything: what the only process of a bot has. Nobody can take it away.

    Attributes:
        slots: Slots to work on (`model.shards`): whose timers fire here, and whose deliveries and mail are
            looked for; None = all there are.
    """

    slots: frozenset[int] | None = None

    def owns(self, slot: int) -> bool:
        """Whether what belongs to a slot is for this process."""
        return True

    def owns_key(self, key: str) -> bool:
        """The same of a conversation, or of a lane."""
        return True

    def good(self) -> bool:
        """Whether the leases that the share rests on still run, by our own clock."""
        return True

    def may_send(self, slot: int) -> bool:
        """Whether something may be sent to a chat of this slot now. To be asked right before."""
        return True

    def sends(self, item: OutboxItem) -> bool:
        """The same of one message."""
        return self.may_send(slot_of(item.place))

    async def claim(self, item: OutboxItem) -> None:
        """Sees to it that this message may be sent, if that can be done."""

    async def ready(self) -> bool:
        """Whether what others have left in the store may be looked for now.

        Raises:
            StoreError: It cannot be asked.
        """
        return True

    async def give_up(self) -> None:
        """Nothing is sent any more: what is left is for other processes at once."""


WHOLE = Share()


class Beside(Share):
    """Everything, beside cloud functions that may use the same store: what was left there is sent by one process at a
    time. Here that is the server, for as long as it lives.

    Args:
        store, clock: Where it stands who does, and what time it is.

    Attributes:
        interrupted: Called when another process has done it meanwhile: what is in memory may have been sent.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._caretaker = Caretaker(store, clock, server=True)
        self._since_ms = 0
        self.interrupted: Callable[[], None] = lambda: None

    def sends(self, item: OutboxItem) -> bool:
        # What an invocation has committed is never its own.
        return self._caretaker.holds or (
            not item.call.until_ms and is_own(item, self._clock.now_ms())
        )

    async def ready(self) -> bool:
        caretaker, before_ms = self._caretaker, self._since_ms
        if caretaker.left_s > RENEW_S:
            return True
        until_ms = self._clock.now_ms() + round(TERM_S * 1000)
        if not await caretaker.take(until_ms, from_server=not before_ms):
            log.debug("another process sends what was left in the store")
            return False
        self._since_ms = caretaker.since_ms
        if before_ms and caretaker.since_ms != before_ms:
            self.interrupted()
        return caretaker.holds

    async def give_up(self) -> None:
        try:
            await self._caretaker.give_up()
        except StoreError as error:
            log.debug("what is left has to wait for a while: %s", error)


class Part(Share):
    """Some slots, for as long as leases last: a worker's share of a cluster.

    The leases end when either clock says so. The monotonic one may stand still while a machine is
    suspended, and the wall clock may be set back.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: set[int] = set()
        self._leaving: set[int] = set()
        self._until = float("-inf")
        self._until_ms = 0
        self.slots: frozenset[int] = frozenset()

    def owns(self, slot: int) -> bool:
        return slot in self._held

    def owns_key(self, key: str) -> bool:
        return slot_of_key(key) in self._held

    def good(self) -> bool:
        return self._clock.monotonic() < self._until and self._clock.now_ms() < self._until_ms

    def may_send(self, slot: int) -> bool:
        return slot in self._held and self.good()

    def last(self, seconds: float, asked: float, asked_ms: int) -> None:
        """All leases last for `seconds` from when that was asked for, by both clocks."""
        self._until = asked + seconds
        self._until_ms = asked_ms + int(seconds * 1000)

    def end(self) -> None:
        """The leases are over."""
        self._until = float("-inf")
        self._until_ms = 0

    def gain(self, slots: Collection[int]) -> None:
        """These slots are ours from now on."""
        self._held.update(slots)
        self._leaving.difference_update(slots)
        self._changed()

    def leave(self, slots: Collection[int]) -> None:
        """These will go to another process: what is in hand is finished, and nothing new begun."""
        self._leaving.update(slots)
        self._changed()

    def lose(self, slots: Collection[int]) -> None:
        """These are not ours any more."""
        self._held.difference_update(slots)
        self._leaving.difference_update(slots)
        self._changed()

    def _changed(self) -> None:
        self.slots = frozenset(self._held - self._leaving)


__all__ = ["WHOLE", "Beside", "Part", "Share"]
