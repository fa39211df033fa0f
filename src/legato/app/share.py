"""Which part of a bot's chats a process is responsible for."""

from __future__ import annotations

from collections.abc import Collection

from legato.abc import Clock
from legato.model.shards import slot_of_key


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


WHOLE = Share()


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


__all__ = ["WHOLE", "Part", "Share"]
