"""What a conversation makes of events and of time that has passed: answers, refusals, deadlines."""

from __future__ import annotations

import logging

import msgspec

from legato.engine.asking import Ask
from legato.engine.commands import ACCEPTED, NOT_MINE, Sleep
from legato.engine.replay import INTERRUPT, SCOPE_ERROR, Pending, Said
from legato.engine.services import Services
from legato.engine.versions import Live
from legato.errors import Cancelled, Timeout, TooManyAttempts, UserGone
from legato.model.events import AnyEvent, Gone, Interrupt
from legato.model.messages import Message, Send
from legato.model.records import Record
from legato.model.values import encode_error

log: logging.Logger = logging.getLogger("legato.turn")


class Intake:
    """The first half of a Turn: an event or a deadline becomes a record, which the dialog is fed.
    Nothing is written, and no step runs.

    Attributes:
        live: The conversation; replaced at goto.
    """

    __slots__ = ("_records", "_retries", "_services", "live")

    def __init__(self, services: Services, live: Live) -> None:
        self._services = services
        self.live: Live = live
        self._records: list[Record] = []  # fed to the driver, not committed yet
        self._retries: list[Said] = []  # what goes out beside the dialog's own words

    def offer(self, event: AnyEvent) -> bool:
        """Lets the pending operations look at an event, oldest first. False: it is not theirs."""
        if isinstance(event, Interrupt):
            return self._interrupt("Cancelled", Cancelled(event.reason))
        if isinstance(event, Gone):
            return self._interrupt("UserGone", UserGone())
        for pending in list(self.live.driver.pending.values()):
            answer = pending.op.accept(event)
            if answer.verdict == NOT_MINE:
                continue
            if answer.verdict == ACCEPTED:
                self._feed(self._record(pending, answer.value))
            else:
                self._rejected(pending, event, answer.reason)
            return True
        return False

    def _interrupt(self, name: str, error: BaseException) -> bool:
        root = self.live.driver.root
        now = self._services.clock.now_ms()
        self._feed(Record(root.blocked, INTERRUPT, name, now, None, encode_error(error)))
        return True

    def _rejected(self, pending: Pending, event: AnyEvent, reason: str) -> None:
        """An answer that does not parse: counted, and asked for again; nothing is journaled."""
        op = pending.op
        if not isinstance(op, Ask):
            log.error("%s: %s", self.live.conversation.key, reason)
            return
        attempts = pending.wait.attempts + 1
        pending.wait = msgspec.structs.replace(pending.wait, attempts=attempts)
        most = op.options.get("attempts")
        if most is not None and attempts >= most:
            self._feed(self._record(pending, error=TooManyAttempts(attempts)))
            return
        text = op.options.get("retry") or reason or "That is not a valid answer."
        public = self.live.chat._services.capabilities.public
        mention = event.user.mention if public and event.user is not None else ""
        self._retries.append(Said("", Send(Message(text=text, mention=mention)), None))

    def fire(self, now_ms: int) -> bool:
        """Lets the earliest deadline or reminder that is due happen. False: none is due."""
        due: list[tuple[int, int, Pending]] = []
        for order, pending in enumerate(self.live.driver.pending.values()):
            times = [
                t for t in (pending.wait.remind_ms, pending.wait.deadline_ms) if 0 < t <= now_ms
            ]
            if times:
                due.append((min(times), order, pending))
        if not due:
            return False
        when, _, pending = min(due, key=lambda item: item[:2])
        wait = pending.wait
        if wait.deadline_ms != when:
            self._remind(pending)
        elif wait.scope >= 0:
            self._feed(self._record(pending, pair=(SCOPE_ERROR, [wait.scope])))
        elif isinstance(pending.op, Sleep):
            self._feed(self._record(pending, None))
        else:
            self._feed(self._record(pending, error=Timeout("no answer in time")))
        return True

    def _remind(self, pending: Pending) -> None:
        op = pending.op
        assert isinstance(op, Ask)  # nothing else reminds
        pending.wait = msgspec.structs.replace(pending.wait, remind_ms=0)
        text = op.options.get("remind")
        message = Message(text=text) if text else op.layout.message
        if message is not None:
            self._retries.append(Said("", Send(message), None))

    def ask_again(self) -> bool:
        """Shows the pending questions again. False: there is none."""
        prompts = [
            Said("", Send(pending.op.layout.message), None)
            for pending in self.live.driver.pending.values()
            if isinstance(pending.op, Ask) and pending.op.layout.message is not None
        ]
        self._retries.extend(prompts)
        return bool(prompts)

    def _record(
        self,
        pending: Pending,
        value: object = None,
        error: BaseException | None = None,
        pair: tuple[str, list[object]] | None = None,
    ) -> Record:
        failure = pair if error is None else encode_error(error)
        now = self._services.clock.now_ms()
        return Record(pending.path, pending.op.kind, pending.op.name, now, value, failure)

    def _feed(self, record: Record) -> None:
        self._records.append(record)
        self.live.driver.feed(record)
