"""Puts aside what ends the process: where it belongs, if that can be found out."""

from __future__ import annotations

from legato.abc import Clock, Store
from legato.app.router import Router, Start
from legato.engine import changes, journal
from legato.engine.outcomes import may_take
from legato.errors import Unavailable
from legato.model.events import AnyEvent, Interrupt
from legato.model.ids import OVERLAY, aside_key
from legato.model.records import (
    CONFLICT,
    FAILED,
    HELD,
    RUNNING,
    Birth,
    Commit,
    Conversation,
    State,
)
from legato.model.values import to_stored

PARKED = (FAILED, HELD)
MOST_ROUNDS = 10


class Aside:
    """Decides as the Dispatcher does, and runs no dialog.

    Args:
        store, clock: Where it is kept, and what time it is.
        router: Says which conversations an event is for, and what it begins.
    """

    def __init__(self, store: Store, clock: Clock, router: Router) -> None:
        self._store = store
        self._clock = clock
        self._router = router

    async def event(self, event: AnyEvent, why: str, *, blindly: bool = False) -> bool:
        """The conversation that it is for fails, and keeps it for the retry; so does one that it would
        have begun, before its first line. What is for none is kept as dead.

        Args:
            event: Which.
            why: For the operator.
            blindly: Keep it as dead, without asking the bot's patterns.

        Returns:
            False: It is dealt with already.

        Raises:
            StoreError, Unavailable: To be called again.
        """
        inner: str = getattr(event, "key", "")
        keys = [inner] if inner else self._router.keys(event)
        found = [await self._store.load(key) for key in keys]
        rows = [loaded.conversation for loaded in found if loaded is not None]
        if await self._store.get("inbox", event.id) is not None:
            # Its first segment is written: what it began may have ended the process later on.
            running = [row for row in rows if row.status == RUNNING]
            return bool(running) and await self.turn(running[0], why)
        start = None if inner or blindly else self._start(event)
        for row in rows:
            if self._takes(row, event, start) and await self._park(row, why, event):
                return True
        if start is not None:
            await self._unborn(start, why)
        else:
            await self.dead(event)
        return True

    async def dead(self, event: AnyEvent) -> None:
        """Keeps an event for the operator, outside of any conversation."""
        put = ("dead-update", event.id, journal.encode(event))
        now_ms = self._clock.now_ms()
        await self._store.commit(Commit(at_ms=now_ms, update_id=event.id, puts=(put,)))

    async def turn(self, row: Conversation, why: str) -> bool:
        """The conversation fails, if it still stands as in `row`; else False.

        Raises:
            StoreError, Unavailable: To be called again.
        """
        return await self._park(row, why, None)

    # -- where it belongs -----------------------------------------------------------------------

    def _start(self, event: AnyEvent) -> Start | None:
        """What the event begins, if nobody takes it."""
        command = self._router.command(event)
        if command is not None:
            return self._router.start(command, {}, event)
        found = self._router.match(event)
        if found is not None:
            return self._router.start(found[0], found[1], event)
        hint = self._router.hint(event)
        return None if hint is None else self._router.start(hint, {}, event)

    def _takes(self, row: Conversation, event: AnyEvent, start: Start | None) -> bool:
        """Whether it is this conversation that may have ended the process."""
        if self._router.command(event) is not None and start is not None:
            # It is cancelled by the command, and that is written before the new one begins.
            return row.status not in PARKED and not start.trigger.anywhere
        if row.key.endswith(OVERLAY) and row.status in PARKED:
            return False
        return may_take(row, journal.decode_state(row.state).waits, event)

    # -- what is written --------------------------------------------------------------------------

    async def _park(self, seen: Conversation, why: str, event: AnyEvent | None) -> bool:
        for _ in range(MOST_ROUNDS):
            loaded = await self._store.load(seen.key)
            if loaded is None or loaded.conversation.epoch != seen.epoch:
                return False
            row, now_ms = loaded.conversation, self._clock.now_ms()
            if row.status == RUNNING and row.wake_ms > max(now_ms, row.updated_ms):
                raise Unavailable(f"another process works on {row.key}")
            if row.status in PARKED:
                if event is None or isinstance(event, Interrupt):
                    return False
                commit = Commit(at_ms=now_ms, deposit=(changes.kept_mail(row, event),))
            elif event is None and row.head != seen.head and row.status != RUNNING:
                return False  # others have brought it to rest meanwhile
            else:
                commit = changes.failed(loaded, why, event, now_ms)
            if (await self._store.commit(commit)).result != CONFLICT:
                return True
        raise Unavailable(f"{seen.key} changes all the time")

    async def _unborn(self, start: Start, why: str) -> None:
        event, dialog, now_ms = start.event, start.trigger.dialog, self._clock.now_ms()
        birth = Birth(event, {k: to_stored(v) for k, v in start.args.items()}, now_ms)
        state, epoch = journal.encode(State(error=why)), changes.new_epoch(now_ms, event.id)
        for _ in range(MOST_ROUNDS):
            key, below = start.key, await self._store.load(start.key)
            if below is not None and below.conversation.status not in PARKED:
                key = start.key + OVERLAY
                below = await self._store.load(key)
            stands = None if below is None else below.conversation
            row = Conversation(key, dialog.name, dialog.version, epoch, 1, FAILED, 0, state, now_ms)
            commit = Commit(
                at_ms=now_ms,
                key=key,
                expect=None if stands is None else (stands.epoch, stands.head),
                aside="" if stands is None else aside_key(key, stands.epoch),
                row=row,
                birth=journal.encode(birth),
                update_id=event.id,
            )
            if (await self._store.commit(commit)).result != CONFLICT:
                return
        raise Unavailable(f"{start.key} changes all the time")


__all__ = ["Aside"]
