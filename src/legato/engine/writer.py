"""Writing a Turn's segments: the fence, the update's id, the rendering of what was said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from legato.abc.observer import current_trace, traced
from legato.engine import changes, journal
from legato.engine.branches import Said
from legato.engine.outgoing import refs
from legato.engine.services import Services
from legato.engine.transactions import Within, commit_within
from legato.engine.versions import Live
from legato.model.events import AnyEvent, Gone, Interrupt
from legato.model.ids import OVERLAY
from legato.model.records import (
    COMMITTED,
    CONFLICT,
    FAILED,
    Commit,
    Conversation,
    Mail,
    OutboxItem,
    State,
)


class Conflict(Exception):
    """Private: somebody else moved the conversation. Nothing was written; decide again."""


class Duplicate(Exception):
    """Private: the update was consumed before. `reply` is what answered it then."""

    def __init__(self, reply: bytes) -> None:
        self.reply: bytes = reply
        super().__init__()


class ReplySlot:
    """The room for one call in the answer to a webhook request, while that is still open.

    Either a Turn takes it, or the request is answered without and closes it: never both.

    Args:
        last: It is for the last call of the Turn and not the first: for a shell that delivers all
            others before it answers, as a cloud function.

    Attributes:
        held: The lane that waits for the answer to be written, "" if none does.
    """

    __slots__ = ("_state", "held", "last")

    def __init__(self, *, last: bool = False) -> None:
        self._state = "open"
        self.last: bool = last
        self.held: str = ""

    def take(self) -> bool:
        """The call of a Turn goes there. False: too late, the request is answered."""
        if self._state == "open":
            self._state = "taken"
        return self._state == "taken"

    def close(self) -> bool:
        """The request is answered without. False: too late, a Turn has taken it."""
        if self._state == "open":
            self._state = "closed"
        return self._state == "closed"

    def hold(self, lane: str) -> bool:
        """The call is committed, and `lane` is to wait for it. False: the request was given up
        meanwhile, and nobody would release it; the repeated update gets the answer.
        """
        if self._state != "taken":
            return False
        self.held = lane
        return True

    def after(self, release: Callable[[str], None]) -> Callable[[], None] | None:
        """What to call once the answer is written; None if nothing waits for it."""
        return (lambda: self.over(release)) if self.held else None

    def over(self, release: Callable[[str], None]) -> None:
        """The request is answered, or will not be: what waits for that goes on. Idempotent."""
        self._state = "closed"
        held, self.held = self.held, ""
        if held:
            release(held)


class Writer:
    """Commits the segments of one Turn, each behind the fence that the one before left.

    Attributes:
        event: The event this Turn consumes, if any.
        update_id: Its id until a segment has consumed it, then "".
        written: Segments committed.
        last_id: Id of the last outbox item committed.
        reply: Body for the webhook request, once a call of the Turn rides there.
        begins: Whether the next segment begins an epoch (its birth is written with it).
        expect: The fence: (epoch, head) of the stored row, None if there is none.
        aside: Key under which the row that stands in the way is parked first, "" for none.
    """

    __slots__ = (
        "_services",
        "_slot",
        "aside",
        "begins",
        "event",
        "expect",
        "last_id",
        "reply",
        "update_id",
        "written",
    )

    def __init__(
        self,
        services: Services,
        event: AnyEvent | None,
        expect: tuple[int, int] | None,
        *,
        begins: bool = False,
        slot: ReplySlot | None = None,
        aside: str = "",
    ) -> None:
        self._services = services
        self._slot = slot
        self.event: AnyEvent | None = event
        self.update_id: str = event.id if event is not None else ""
        self.written: int = 0
        self.last_id: int = 0
        self.reply: bytes | None = None
        self.begins: bool = begins
        self.expect: tuple[int, int] | None = expect
        self.aside: str = aside

    def take(self, event: AnyEvent | None) -> None:
        """Makes `event` the one that the next segment consumes."""
        self.event = event
        self.update_id = event.id if event is not None else ""

    @property
    def consumed(self) -> bool:
        """Whether the event is safe without the mailbox: in the birth, or with a segment."""
        return not self.update_id or self.expect is None or self.begins

    def row(self, live: Live, status: str, state: State, now_ms: int, wake_ms: int) -> Conversation:
        """The conversation's row after the next segment."""
        old = live.conversation
        return Conversation(
            old.key, old.dialog, old.version, old.epoch, old.head + 1, status, wake_ms,
            journal.encode(state), now_ms,
        )  # fmt: skip

    async def write(
        self,
        live: Live,
        row: Conversation | None,
        said: Sequence[Said],
        *,
        segment: bytes = b"",
        within: Within | None = None,
        final: bool = False,
        keep_event: bool = False,
    ) -> None:
        """Commits one segment and hands what was said to the relay.

        Args:
            live: The conversation.
            row: Its new row, None = it is over.
            said: What goes out.
            segment: Encoded records.
            within: Gives the segment instead, from inside the transaction.
            final: The last segment of the Turn: a call of it may answer the webhook request.
            keep_event: Put the event into the mailbox instead of consuming it.

        Raises:
            Conflict, Duplicate: Nothing was written.
            InTransaction: `within` failed; nothing was written.
        """
        services, now = self._services, self._services.clock.now_ms()
        items = self._render(live, said, now)
        reply = b""
        if final and self._slot is not None and not self.written and items:
            reply, items = self._ride(items, self._slot)
        begun_and_over = row is None and self.expect is None
        commit = Commit(
            at_ms=now,
            key="" if begun_and_over else live.conversation.key,
            expect=self.expect,
            row=row,
            birth=journal.encode(live.birth) if self.begins and row is not None else b"",
            segment=segment if row is not None else b"",
            truncate=self.begins and self.expect is not None and not self.aside,
            aside=self.aside,
            update_id="" if keep_event else self.update_id,
            reply=reply,
            deposit=self._mail(live, row, keep_event=keep_event),
            outbox=tuple(items),
            within=within,
        )
        store = services.store
        done = await (store.commit(commit) if within is None else commit_within(store, commit))
        if done.result == CONFLICT:
            raise Conflict
        if done.result != COMMITTED:
            raise Duplicate(done.reply)
        self._written(live, row)
        self._hand_over(live, items, done.ids, reply)

    def _mail(self, live: Live, row: Conversation | None, *, keep_event: bool) -> tuple[Mail, ...]:
        """What the segment puts into mailboxes."""
        mail: tuple[Mail, ...] = ()
        if keep_event and self.event is not None:
            mail = (changes.kept_mail(live.conversation, self.event),)
        if self._uncovers(live, row):
            mail += (changes.uncovered(live.conversation),)
        return mail

    def _hand_over(
        self, live: Live, items: list[OutboxItem], ids: Sequence[int], reply: bytes
    ) -> None:
        """What is committed goes to the relay, or rides in the answer to the request."""
        relay = self._services.relay
        if reply:
            self.reply = reply
            lane = live.birth.place.lane
            if self._slot is not None and self._slot.hold(lane):
                relay.hold(lane)
        if items:
            self.last_id = ids[-1]
            relay.offer([msgspec.structs.replace(i, id=n) for i, n in zip(items, ids, strict=True)])

    def _uncovers(self, live: Live, row: Conversation | None) -> bool:
        """Whether a dialog on top of another one is over (or parked) now, so that the one below is
        to ask again. Not if both are cancelled, or another takes its place.
        """
        over = row is None or row.status == FAILED
        ended = over and not isinstance(self.event, Interrupt | Gone)
        return ended and live.conversation.key.endswith(OVERLAY)

    def _written(self, live: Live, row: Conversation | None) -> None:
        self.written += 1
        self.update_id = ""
        self.aside = ""
        self.begins = False
        if row is not None:
            live.conversation = msgspec.structs.replace(row, state=b"")  # `live.state` says it
            self.expect = (row.epoch, row.head)

    def _render(self, live: Live, said: Sequence[Said], now_ms: int) -> list[OutboxItem]:
        """Everything said as calls of the platform; the last call of each stands for its handle."""
        if not said:
            return []
        place, row = live.birth.place, live.conversation
        platform = self._services.platform(place)
        lane, delivery = place.lane, live.dialog.delivery
        named = {named for one in said for named in refs(one.out)}
        items: list[OutboxItem] = []
        tracing, until_ms = current_trace(), self._services.term.sends_until_ms()
        for one in said:
            calls = platform.render(one.out, place)
            if tracing:
                calls = [traced(call) for call in calls]
            if until_ms:
                calls = [msgspec.structs.replace(call, until_ms=until_ms) for call in calls]
            last = len(calls) - 1
            # The dialog may be over, and its handles with it, while an edit of this is on its way.
            wanted = one.wanted or one.ref in named
            for index, call in enumerate(calls):
                ref = one.ref if index == last and wanted else ""
                items.append(
                    OutboxItem(
                        0, lane, place, row.key, one.epoch or row.epoch, ref, call,
                        delivery=delivery, created_ms=now_ms,
                    )
                )  # fmt: skip
        return items

    def _ride(self, items: list[OutboxItem], slot: ReplySlot) -> tuple[bytes, list[OutboxItem]]:
        """Takes the only call out of the outbox if it can answer the webhook request: nobody wants
        its result, and nothing of the chat is still under way before it. Where the shell sees to
        that, the last call of several may.

        One that others follow may not: a crash before the answer sends those, and the repeated
        update's answer comes after them.
        """
        one = items[-1]
        if len(items) > 1 and not slot.last:
            return b"", items
        if one.ref or one.call.target or not (slot.last or self._services.relay.idle(one.lane)):
            return b"", items
        body = self._services.platform(one.place).webhook_reply(one.call, one.place)
        if body is None or not slot.take():
            return b"", items
        return body, items[:-1]
