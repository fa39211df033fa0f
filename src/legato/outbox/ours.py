"""Several processes share one outbox: each sends what belongs to its slots, as long as they are its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from legato.abc import Clock
from legato.errors import Unavailable
from legato.model.records import OutboxItem
from legato.model.shards import slot_of
from legato.outbox.lanes import BUSY, Asked, Lane
from legato.outbox.leaving import until_left


class Ours(Protocol):
    """What a relay asks about its process's part of the chats."""

    @property
    def slots(self) -> Collection[int] | None:
        """Slots whose items are looked for in the store."""

    def owns(self, slot: int) -> bool:
        """Whether items of this slot are for this process to send."""

    def sends(self, item: OutboxItem) -> bool:
        """Whether it may send this one now."""

    async def claim(self, item: OutboxItem) -> None:
        """Sees to it that it may send this one, if that can be done."""

    def good(self) -> bool:
        """Whether it may do anything at all now."""

    async def ready(self) -> bool:
        """Whether items may be looked for in the store now.

        Raises:
            StoreError: It cannot be asked.
        """


def lane_slot(lane: Lane) -> int:
    """The slot of what stands in a lane, -1 if nothing does."""
    if not lane.queue:
        return -1
    entry = lane.queue[0]
    return slot_of((entry if isinstance(entry, OutboxItem) else entry.item).place)


async def emptied(
    lanes: Mapping[str, Lane],
    slots: Collection[int],
    clock: Clock,
    deadline_s: float,
    look_s: float,
) -> bool:
    """Waits until nothing of these slots stands in a lane; False if `deadline_s` was not enough."""
    return await until_left(
        lambda: [lane for lane in lanes.values() if lane_slot(lane) in slots],
        lambda lane: lanes.get(lane.name) is lane and lane_slot(lane) in slots,
        clock,
        deadline_s=deadline_s,
        look_s=look_s,
    )


def wanted(ours: Ours | None, only: Callable[[OutboxItem], bool] | None, item: OutboxItem) -> bool:
    """Whether an item that was found in the store is for us to send; it may have been lost meanwhile."""
    if ours is not None and not ours.owns(slot_of(item.place)):
        return False
    return only is None or only(item)


def allowed(ours: Ours, entry: OutboxItem | Asked) -> bool:
    """Whether the head of a lane may be sent now. A call that a Turn of ours asks for may go to any
    chat: no other process knows of it.
    """
    if isinstance(entry, Asked):
        return ours.good()
    return ours.sends(entry)


async def claimed(ours: Ours | None, lane: Lane) -> bool:
    """Whether the head is ours to send, and is to be made so if that is in doubt."""
    entry = lane.queue[0] if lane.queue else None
    if ours is not None and isinstance(entry, OutboxItem):
        await ours.claim(entry)
    return not lost(ours, lane)


def lost(ours: Ours | None, lane: Lane) -> bool:
    """Whether the head is not ours to send (any more): then the lane is left to its owner. If the lane came
    back to us meanwhile, the head is asked for anew in the store, and leaves alone.
    """
    if lane.dropped:
        lane.pop()
        return True
    if ours is None or (lane.queue and allowed(ours, lane.queue[0])):
        return False
    abandon(lane, all_=True)
    return True


def abandon(lane: Lane, *, all_: bool = False) -> None:
    """Lets what stands in a lane leave memory unsent: it is in the store, for whoever owns it now.
    Whoever waits for it gets Unavailable.

    Args:
        lane: Which one.
        all_: Its head, too, which is otherwise kept while it is being sent.
    """
    kept = list(lane.queue)[:1] if lane.state == BUSY and not all_ else []
    lost = Unavailable("another process works for this chat now")
    for entry in list(lane.queue)[len(kept) :]:
        if isinstance(entry, Asked) and not entry.answer.done():
            entry.answer.set_exception(lost)
    waiters, lane.waiters = lane.waiters, []
    for _, future, _ in waiters:
        if not future.done():
            future.set_exception(lost)
    if kept:
        while len(lane.queue) > 1:
            lane.queue.pop()
        lane.dropped = isinstance(kept[0], OutboxItem)
    else:
        lane.replace([])
