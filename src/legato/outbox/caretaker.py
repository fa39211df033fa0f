"""Who sends what, where several processes use one store: cloud functions, and a server beside them.

Whoever commits a message sends it. An invocation of a function does so until it is over, and says in each call when
that is (`Call.until_ms`); a server while it is young. What is left then is for the caretaker: the one process whose
term stands in the store. A term that is over is anybody's.
"""

from __future__ import annotations

import asyncio
import os

import msgspec
from msgspec import Struct

from legato.abc import Clock, Store
from legato.model.records import COMMITTED, Commit, OutboxItem

NAME = ("outbox", "caretaker")
TERM_S = 90.0
"""Of a server, which renews it."""
RENEW_S = 60.0
"""A server renews when so much is left, or less."""
SPARE_MS = 2000
"""A term ends so much earlier for who has it: clocks differ."""
STRANGE_MS = 60_000
"""What a server has committed is its own, for so long."""
OWN_MS = 30_000
"""Who is not the caretaker begins to send what it has committed for so long: to send takes a while, too."""
LONGEST_MS = 600_000
"""What is somebody's for longer was written by a clock that was wrong: nobody waits for its end."""
STEP_MS = 1000
"""A term is not written anew for less than that."""


class Held(Struct):
    """What the store has of it.

    Attributes:
        number: How often it was taken or renewed: of two at the same time, one is refused.
        until_ms: When the term is over.
        server: Whether a server has it.
        owner: Who has it: a write whose answer was lost is known by that.
    """

    number: int = 0
    until_ms: int = 0
    server: bool = False
    owner: str = ""

    def runs(self, now_ms: int) -> bool:
        """Whether the term is not over."""
        return _runs(self.until_ms, now_ms)


_held = msgspec.json.Decoder(Held)


class Caretaker:
    """This process, which is the caretaker or is not.

    Args:
        store, clock: Where it stands, and what time it is.
        server: Whether this is a server.

    Attributes:
        since_ms: Since when it is.
    """

    def __init__(self, store: Store, clock: Clock, *, server: bool = False) -> None:
        self._store = store
        self._clock = clock
        self._server = server
        self._name = os.urandom(8).hex()
        self._one = asyncio.Lock()
        self._number = 0
        self._until_ms = 0
        self._until = 0.0
        self.since_ms: int = 0

    @property
    def holds(self) -> bool:
        """Whether it is the caretaker now, by both of its clocks: one may stand still, the other be set back."""
        return self.left_s > 0

    @property
    def left_s(self) -> float:
        """Seconds until the end of its term."""
        left_s = (self._until_ms - SPARE_MS - self._clock.now_ms()) / 1000
        return max(0.0, min(left_s, self._until - self._clock.monotonic()))

    async def take(self, until_ms: int, *, from_server: bool = False) -> bool:
        """Becomes the caretaker, or stays it; False if somebody else is.

        Args:
            until_ms: For how long.
            from_server: Also if a server is: an earlier life of this one, which was killed.

        Raises:
            StoreError: The store cannot be used.
        """
        async with self._one:  # several chats may ask at once: of two writes one would be refused
            if self.holds and until_ms - self._until_ms < STEP_MS:
                return True
            return await self._taken(until_ms, from_server=from_server)

    async def _taken(self, until_ms: int, *, from_server: bool) -> bool:
        asked, asked_ms = self._clock.monotonic(), self._clock.now_ms()
        held = await self._read()
        ours = held.owner == self._name
        if ours or not held.runs(asked_ms) or (from_server and held.server):
            fresh = Held(held.number + 1, until_ms, self._server, self._name)
            # Nobody else has been it from then on, if this is written, whoever is told so.
            self.since_ms = self.since_ms if ours else asked_ms
            written = await self._put(fresh, f"outbox:caretaker:{fresh.number}")
            if written or await self._read() == fresh:
                self._number, self._until_ms = fresh.number, until_ms
                self._until = asked + (until_ms - SPARE_MS - asked_ms) / 1000
                return True
        self._until_ms = 0
        return False

    def is_safe(self, item: OutboxItem) -> bool:
        """Whether nobody else can have sent an item that this process has had in memory all the time: while it was not
        the caretaker the item was its own.
        """
        return self.holds and self.since_ms < _own_until_ms(item)

    async def give_up(self) -> None:
        """Is the caretaker no longer: nothing that is old is being sent. Idempotent.

        Raises:
            StoreError: The store cannot be used; its term runs on to its end.
        """
        if self.holds:
            self._until_ms = 0
            number = self._number + 1
            await self._put(Held(number), f"outbox:caretaker:{number}")

    async def _read(self) -> Held:
        found = await self._store.get(*NAME)
        return _held.decode(found) if found else Held()

    async def _put(self, held: Held, update_id: str) -> bool:
        put = (*NAME, msgspec.json.encode(held))
        commit = Commit(at_ms=self._clock.now_ms(), update_id=update_id, puts=(put,))
        return (await self._store.commit(commit)).result == COMMITTED


class Claims:
    """What of a listing of the outbox, item by item, is sent by the invocation that has committed it: it, and what
    stands behind it in its lane.

    Args:
        now_ms: Time of the listing.
    """

    __slots__ = ("_lanes", "_now_ms")

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._lanes: set[tuple[str, bool]] = set()

    def free(self, item: OutboxItem) -> bool:
        """Whether the next item is for others."""
        lane = (item.lane, item.call.bulk)
        if is_claimed(item, self._now_ms):
            self._lanes.add(lane)
        return lane not in self._lanes


def is_claimed(item: OutboxItem, now_ms: int) -> bool:
    """Whether the invocation that has committed an item may be sending it."""
    return _runs(item.call.until_ms, now_ms)


def is_own(item: OutboxItem, now_ms: int) -> bool:
    """Whether who has committed an item may begin to send it."""
    until_ms = item.call.until_ms
    return now_ms < item.created_ms + OWN_MS and (not until_ms or now_ms < until_ms - SPARE_MS)


def is_strange(item: OutboxItem, now_ms: int) -> bool:
    """Whether an item is for the caretaker, as far as it tells."""
    return not _runs(_own_until_ms(item), now_ms)


def _runs(until_ms: int, now_ms: int) -> bool:
    return now_ms < until_ms <= now_ms + LONGEST_MS


def _own_until_ms(item: OutboxItem) -> int:
    return item.call.until_ms or item.created_ms + STRANGE_MS


__all__ = ["STRANGE_MS", "TERM_S", "Caretaker", "Claims", "is_claimed", "is_own", "is_strange"]
