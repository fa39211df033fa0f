"""What is done to conversations from outside of their chats: signals, cancellations, users who are gone.

An event for a conversation that another process works on is put into its mailbox, where the owner finds it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from legato.abc import Clock, Store
from legato.app.share import Share
from legato.engine.turns import IGNORED, TAKEN, Outcome, Turns
from legato.model.events import AnyEvent, Gone, Interrupt, Signal
from legato.model.ids import place_of
from legato.model.records import OutboxItem
from legato.model.values import to_stored


class Outside:
    """Makes events of what happens outside, and applies them or hands them over.

    Args:
        store, clock, turns: Where conversations are, what time it is, and which are in memory.
        share: Which are worked on here.
        handle: Applies an event to one of those.
    """

    __slots__ = ("_clock", "_handle", "_share", "_store", "_turns")

    def __init__(
        self,
        store: Store,
        clock: Clock,
        turns: Turns,
        share: Share,
        handle: Callable[[AnyEvent], Awaitable[Outcome]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._turns = turns
        self._share = share
        self._handle = handle

    async def signal(self, key: str, name: str, value: Any, *, id: str = "") -> bool:
        """See `App.signal`."""
        unique = id or f"{self._clock.now_ms()}-{nonce()}"
        update_id = f"signal:{key}:{name}:{unique}"
        standing = await self._turns.peek(key)
        if standing is None:
            return await self._store.get("inbox", update_id) is not None
        event = Signal(
            id=update_id,
            place=place_of(key),
            key=key,
            name=name,
            value=to_stored(value, where=f"the value of signal {name!r}"),
            at_ms=self._clock.now_ms(),
            epoch=standing[0].epoch,
        )
        return (await self._apply(key, event)).taken

    async def cancel(self, key: str, reason: str) -> bool:
        """Cancels a conversation (also a failed or held one). False if there is none."""
        event = Interrupt(
            id=f"cancel:{key}:{self._clock.now_ms()}-{nonce()}",
            place=place_of(key),
            key=key,
            reason=reason,
        )
        return (await self._apply(key, event)).taken

    async def gone(self, item: OutboxItem) -> None:
        """The user of a conversation cannot be reached any more: its dialog is told by UserGone."""
        event = Gone(
            id=f"gone:{item.key}:{item.epoch}", place=item.place, key=item.key, epoch=item.epoch
        )
        await self._apply(item.key, event)

    async def _apply(self, key: str, event: AnyEvent) -> Outcome:
        if self._share.owns_key(key):
            return await self._handle(event)
        from legato.app.operate import cancel, deposit  # not at a cold start

        now_ms = self._clock.now_ms()
        if isinstance(event, Interrupt):
            if await self._store.load(key) is None:
                return IGNORED
            await cancel(self._store, key, now_ms, event.id)
        else:
            await deposit(self._store, key, event, now_ms)
        return TAKEN


def nonce() -> str:
    """A part of an id that nobody else makes."""
    import secrets

    return secrets.token_hex(8)


__all__ = ["Outside", "nonce"]
