"""What an event does: to which conversations it is offered, and what it starts."""

from __future__ import annotations

import msgspec

from legato.abc import Clock, Store
from legato.abc.observer import NOBODY, Observer
from legato.app.router import Router, Start
from legato.app.triggers import Trigger
from legato.engine import journal
from legato.engine.outcomes import may_take
from legato.engine.turns import IGNORED, Outcome, Peeked, Turns
from legato.engine.writer import Conflict, ReplySlot
from legato.errors import Unavailable
from legato.model.events import Again, AnyEvent, Gone, Interrupt, Signal
from legato.model.ids import ASIDE, OVERLAY, aside_key
from legato.model.records import FAILED, HELD, RUNNING, WAITING, Commit, Conversation, Loaded, Mail

_INNER = (Signal, Gone, Interrupt, Again)
MOST_ROUNDS = 10
"""Lost races against other processes before the platform has to send the update again."""


class Dispatcher:
    """Carries out what the Router decides, within the lane of the event.

        a signal, a cancellation      -> its conversation
        one of our commands           -> cancels what runs there (unless `anywhere`), starts its dialog
        anything else                 -> the conversation that waits for it, else a pattern's dialog

    Whatever a repeated update did the first time is not done again: each write carries an id made
    from the update's.
    """

    def __init__(
        self,
        router: Router,
        turns: Turns,
        store: Store,
        clock: Clock,
        observer: Observer = NOBODY,
    ) -> None:
        self.router = router
        self.turns = turns
        turns.see_to_end = self.wake
        self.store = store
        self.clock = clock
        self.observer: Observer = observer

    async def dispatch(self, event: AnyEvent, *, slot: ReplySlot | None = None) -> Outcome:
        """Applies one event.

        Raises:
            Unavailable: Other processes were always faster; nothing of it was written.
        """
        began = self.observer.begin_update(event.id)
        try:
            for _ in range(MOST_ROUNDS):
                try:
                    return await self._once(event, slot=slot)
                except Conflict:
                    continue  # another process was faster: look again
            raise Unavailable("too much contention for one conversation")
        finally:
            self.observer.end_update(began)

    async def wake(self, key: str, row: Conversation | None = None) -> None:
        """Lets everything happen that is due under `key`: an interrupted Turn, mail, timers.

        Args:
            key: The conversation.
            row: Its row as just read from the store, if it was.
        """
        if row is not None:
            self.turns.cache.refresh(key, row)
            late_ms = self.clock.now_ms() - row.wake_ms
            if row.wake_ms and late_ms >= 0:
                self.observer.woken(late_ms)
        mailboxes = dict.fromkeys((self.router.lane_of(key), key))
        if row is None or row.status == RUNNING:  # else a timer: there is nothing to finish
            peeked = await self.turns.peek(key)
            if peeked is not None and peeked[0].status == RUNNING:
                mailboxes = {aside_key(key, peeked[0].epoch): None} | mailboxes  # if it was parked
                await self.turns.wake(key, 0)
        for mailbox in mailboxes:
            await self._read_mail(mailbox, key)
        await self.turns.wake(key)
        if key.endswith(OVERLAY):
            await self._show_question(key)

    async def _read_mail(self, mailbox: str, key: str) -> None:
        """Applies what waits in a mailbox, in order, as if it came now. Early signals stay, and so
        does all that a failed or held conversation is kept for.
        """
        last = ""
        while mails := await self.store.mail(key=mailbox, after=last, limit=1):
            peeked = await self.turns.peek(key)
            if peeked is not None and peeked[0].status != WAITING:
                return
            last = mails[0].id
            await self.apply_mail(journal.decode_event(mails[0].payload))

    async def apply_mail(self, event: AnyEvent) -> None:
        """Applies an event that lies in a mailbox. If nobody wants it, it is thrown away there, or
        it would answer a later question.
        """
        outcome = await self.dispatch(event)
        if not outcome.taken:
            await self.store.commit(Commit(at_ms=self.clock.now_ms(), update_id=event.id))

    async def wanted(self, mail: Mail, event: AnyEvent) -> bool:
        """Whether mail of an earlier process is to be applied now. What a parked conversation is
        kept for stays; what was kept for one that is gone is thrown away.
        """
        plain, kept, epoch = mail.key.partition(ASIDE)
        keys = dict.fromkeys((mail.key, plain) if kept else (mail.key, *self.router.keys(event)))
        rows = [peeked[0] for key in keys if (peeked := await self.turns.peek(key)) is not None]
        if kept and not any(str(row.epoch) == epoch for row in rows):
            await self.store.commit(Commit(at_ms=self.clock.now_ms(), update_id=event.id))
            return False
        parked = [row for row in rows if row.status in (FAILED, HELD)]
        return all(row.key.endswith(OVERLAY) and not kept for row in parked)

    async def _peek(self, key: str) -> Peeked | None:
        """What stands under `key`, once its interrupted Turn and its mail are done with."""
        peeked = await self.turns.peek(key)
        if peeked is not None and peeked[0].status == RUNNING:
            await self.wake(key)
            return await self.turns.peek(key)
        return peeked

    async def _once(self, event: AnyEvent, *, slot: ReplySlot | None) -> Outcome:
        if isinstance(event, _INNER):
            await self._peek(event.key)
            if isinstance(event, Again):
                return await self.turns.ask_again(event)
            return await self.turns.deliver(event.key, event)
        command = self.router.command(event)
        if command is not None:
            start = self.router.start(command, {}, event)
            return await self._command(command, start, slot=slot)
        for key in self.router.keys(event):
            outcome = await self._offer(key, event, slot=slot)
            if outcome.taken:
                return outcome
        found = self.router.match(event)
        if found is not None:
            return await self._on_top(self.router.start(found[0], found[1], event), slot=slot)
        hint = self.router.hint(event)
        if hint is not None and await self._at_a_loss(event):
            return await self._on_top(self.router.start(hint, {}, event), slot=slot)
        return IGNORED if slot is None else await self._answered(event)

    async def _at_a_loss(self, event: AnyEvent) -> bool:
        """Whether somebody who wrote this is to be told that nobody takes it: not whoever thanks a
        dialog that sleeps, or waits for something else.
        """
        if getattr(event, "command", ""):
            return True
        return not [k for k in self.router.keys(event) if await self.turns.peek(k) is not None]

    async def _answered(self, event: AnyEvent) -> Outcome:
        """Nobody wants the event: is it the repeated last one of a conversation that is over? Its
        answer rode in a response that may have been lost.
        """
        reply = await self.store.get("inbox", event.id)
        return (
            IGNORED if reply is None else Outcome(taken=True, duplicate=True, reply=reply or None)
        )

    async def _offer(self, key: str, event: AnyEvent, *, slot: ReplySlot | None) -> Outcome:
        """Offers an event to the conversation under `key`, if it can be for it."""
        was: Loaded | None = None
        if not self.turns.live(key):  # do not load the code for what it does not wait for
            peeked = await self._peek(key)
            if peeked is None or not may_take(peeked[0], peeked[1], event):
                return IGNORED
            was = peeked[2]
            if key.endswith(OVERLAY) and peeked[0].status in (FAILED, HELD):
                return IGNORED  # it must not keep what the conversation below waits for
        if not key.endswith(OVERLAY):
            return await self.turns.deliver(key, event, slot=slot, was=was)
        # No reply: the question comes after it.
        outcome = await self.turns.deliver(key, event, was=was)
        if outcome.taken:
            await self._show_question(key)
        return outcome

    async def _command(self, trigger: Trigger, start: Start, *, slot: ReplySlot | None) -> Outcome:
        event = start.event
        if trigger.anywhere and not trigger.cancels:
            return await self._on_top(start, slot=slot)
        keys = self.router.replaced(start)
        standing = [key for key in keys if await self._peek(key) is not None]
        if not standing and start.key in keys:
            return await self._start(start, slot=slot)
        if standing and await self.store.get("inbox", event.id) is not None:
            # Repeated: whatever stands here now came after it and must not be touched.
            return await self.turns.repeated(start.key, event.id)
        reason = "command" if trigger.cancels else "replaced"
        for key in standing:
            await self._interrupt(key, event, reason)
        return await self._begin(start, slot=slot)

    async def _interrupt(self, key: str, event: AnyEvent, reason: str) -> None:
        peeked = await self.turns.peek(key)
        if peeked is None or peeked[0].status in (FAILED, HELD):
            return
        cancel = Interrupt(
            id=f"{event.id}~{reason}~{key}", place=event.place, key=key, reason=reason
        )
        await self.turns.deliver(key, cancel)

    async def _on_top(self, start: Start, *, slot: ReplySlot | None) -> Outcome:
        """Starts a dialog beside whatever runs there; that one then shows its question again."""
        below = await self._peek(start.key)
        if below is None or below[0].status in (FAILED, HELD):
            return await self._begin(start, slot=slot)
        top = msgspec.structs.replace(start, key=start.key + OVERLAY)
        if await self.store.get("inbox", start.event.id) is not None:
            outcome = await self.turns.repeated(top.key, start.event.id)
            await self._show_question(top.key)
            return outcome
        await self._interrupt(top.key, start.event, "replaced")
        outcome = await self._begin(top, slot=None)
        await self._show_question(top.key)
        return outcome

    async def _show_question(self, overlay: str) -> None:
        """If the dialog on top is over (or parked), the one below asks its question again."""
        for mail in await self.store.mail(key=overlay.removesuffix(OVERLAY)):
            event = journal.decode_event(mail.payload)
            if isinstance(event, Again):
                await self.apply_mail(event)

    async def _begin(self, start: Start, *, slot: ReplySlot | None) -> Outcome:
        standing = await self.turns.peek(start.key)
        aside: Conversation | None = None
        if standing is not None:
            if standing[0].status not in (FAILED, HELD):
                # It caught Cancelled and goes on: the message is for it.
                return await self.turns.deliver(start.key, start.event, slot=slot)
            aside = standing[0]
        return await self._start(start, slot=slot, aside=aside)

    async def _start(
        self, start: Start, *, slot: ReplySlot | None, aside: Conversation | None = None
    ) -> Outcome:
        return await self.turns.begin(
            start.key,
            start.trigger.dialog,
            start.event,
            slot=slot,
            args=start.args,
            aside=aside,
        )
