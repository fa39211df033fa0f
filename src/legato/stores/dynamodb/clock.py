"""Numbers that grow: ids of outbox items, and places in the mailbox.

DynamoDB counts nothing for its clients without making them wait for each other, so a number is the time in
microseconds, but always more than the last one of this process. Two processes whose clocks differ may number
what they do at the same moment the other way round. For the messages of one conversation that does not
happen: its row keeps the last id, and a commit must come with higher ones (`Numbers.push`).

An id says where its item is: its lower bits are the slot of its place, a bit that tells two processes apart
which number the same microsecond (mostly; a condition does it always), and whether the call is a long one.
"""

from __future__ import annotations

import time

EPOCH_US = 1_577_836_800_000_000
"""2020-01-01: leaves 51 bits until 2091."""
_SHIFT = 12


class Numbers:
    """Counts for one process."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """More than all before, also those of an earlier process if the clock went on."""
        self._last = max(time.time_ns() // 1000 - EPOCH_US, self._last + 1)  # noqa: TID251 - a number, no time
        return self._last

    def push(self, number: int) -> None:
        """All that come now are more than `number`."""
        self._last = max(self._last, number)


def item_id(number: int, slot: int, *, long: bool) -> int:
    """The id of an item whose place is in `slot`."""
    return number << _SHIFT | slot << 2 | long


def number_of(item: int) -> int:
    """The number that an id was made from."""
    return item >> _SHIFT


def slot_of_id(item: int) -> int:
    """The slot of an item's place."""
    return item >> 2 & 1023


def is_long(item: int) -> bool:
    """Whether the item's call goes on in further items."""
    return bool(item & 1)


def end_of_life(days: int) -> int:
    """When what is written now may be deleted, in seconds since the Unix epoch."""
    return int(time.time()) + days * 86_400  # noqa: TID251 - DynamoDB's time, no journal's


def now_us() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000  # noqa: TID251 - for what is deleted, no journal's
