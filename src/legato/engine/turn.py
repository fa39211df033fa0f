"""One Turn: an event applied to one conversation, as one or more committed segments.

    offer the event -> record -> feed -> [commit, run a step, commit, feed]* -> commit the wait

A segment ends at a wait, after a step, at `goto` and at the end. Each commit carries the update's
id (the first one), the fence, the new records, what was said, and what is waited for now.
"""

from __future__ import annotations

import asyncio
import logging
import traceback

import msgspec

from legato.engine import journal
from legato.engine.asking import Ask
from legato.engine.commands import ACCEPTED, NOT_MINE, Effect, PlatformCall, Sleep, Step
from legato.engine.replay import (
    INTERRUPT,
    SCOPE_ERROR,
    Pending,
    Raised,
    Said,
    Went,
)
from legato.engine.services import Services
from legato.engine.steps import run_step
from legato.engine.versions import Live
from legato.engine.writer import Conflict, Duplicate, Writer
from legato.errors import (
    Cancelled,
    IngressError,
    LegatoError,
    Misuse,
    NotStorable,
    StepError,
    StepInterrupted,
    StoreError,
    Timeout,
    TooManyAttempts,
    UserGone,
)
from legato.model.events import AnyEvent, Gone, Interrupt
from legato.model.messages import Message, Raw, Send
from legato.model.records import (
    FAILED,
    RUNNING,
    WAITING,
    Birth,
    Record,
    State,
)
from legato.model.values import encode_error, to_stored

log: logging.Logger = logging.getLogger("legato.turn")

MOST_GOTOS = 100
"""Tail calls in one Turn without any wait: more is an endless loop."""


class Turn:
    """The work on one conversation between two waits.

    Attributes:
        live: The conversation; replaced at goto.
        writer: Commits its segments.
    """

    __slots__ = ("_gotos", "_records", "_retries", "_services", "_tasks", "live", "writer")

    def __init__(self, services: Services, live: Live, writer: Writer) -> None:
        self._services = services
        self.live: Live = live
        self.writer: Writer = writer
        self._records: list[Record] = []  # fed to the driver, not committed yet
        self._retries: list[Said] = []  # what goes out beside the dialog's own words
        self._tasks: dict[str, asyncio.Task[Record]] = {}  # effects under way, by path
        self._gotos = 0

    # -- taking events --------------------------------------------------------------------------

    def offer(self, event: AnyEvent) -> bool:
        """Lets the pending operations look at an event, oldest first. False: it is not theirs.

        Does not run steps or commit: `advance` does.
        """
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
        pending.wait = msgspec.structs.replace(pending.wait, remind_ms=0)
        if isinstance(op, Ask):
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

    # -- going on -------------------------------------------------------------------------------

    async def advance(self) -> None:
        """Runs steps, tail calls and commits until the conversation waits or is over.

        Raises:
            Conflict, Duplicate, StoreError: Nothing of the last segment was written.
        """
        try:
            while True:
                driver = self.live.driver
                done = driver.done
                if isinstance(done, Raised) and done.bug:
                    return await self.park(done.error)
                if isinstance(done, Went):
                    await self._goto(done)
                elif done is not None:
                    if isinstance(done, Raised):
                        done.error.__traceback__ = None
                    return await self._commit("", final=True)
                elif not self._effects():
                    return await self._commit(WAITING, final=True)
                else:
                    await self._perform()
        except (Conflict, Duplicate, StoreError, IngressError):
            raise  # it may go better next time
        except Exception as error:  # noqa: BLE001  # raised again and again it would stop the chat
            await self.park(error)
        finally:
            for task in self._tasks.values():
                task.cancel()

    def _effects(self) -> list[Pending]:
        return [p for p in self.live.driver.pending.values() if isinstance(p.op, Effect)]

    async def _perform(self) -> None:
        """Runs the pending effects side by side; journals the first that ends.

        Whatever led here is committed first: so a repeated update or an overtaken process is found
        out before it has an effect, and what was said before is delivered before.
        """
        effects = self._effects()
        fresh = [p for p in effects if p.path not in self._tasks]
        intents = tuple(p.path for p in effects if isinstance(p.op, Step) and p.op.at_most_once)
        interrupted = self.live.state.intents
        unwritten = (
            self.live.driver.outputs or self._retries or self._records or self.writer.update_id
        )
        if unwritten or not set(intents) <= set(interrupted):
            await self._commit(RUNNING, intents=intents, said=self.live.driver.said)
        await self._services.relay.delivered(self.live.birth.place.lane, self.writer.last_id)
        for pending in fresh:
            run = self._effect(pending, interrupted=pending.path in interrupted)
            self._tasks[pending.path] = asyncio.create_task(run)
        await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        path = next(p.path for p in effects if self._tasks[p.path].done())
        record = self._tasks.pop(path).result()
        self._records.append(record)
        intents = self.live.state.intents
        # A failure is written with what the dialog makes of it: if nobody catches it, it is forgotten
        # with the failed segment, and a retry runs the step again. But never one at_most_once.
        if record.error is None or path in intents:
            await self._commit(RUNNING, intents=tuple(i for i in intents if i != path))
        self.live.driver.feed(record)
        for gone in [p for p in self._tasks if p not in self.live.driver.pending]:
            self._tasks.pop(gone).cancel()

    async def _effect(self, pending: Pending, *, interrupted: bool) -> Record:
        op, row = pending.op, self.live.conversation
        try:
            if isinstance(op, Step) and op.at_most_once and interrupted:
                raise StepInterrupted(f"{op.name} may or may not have run before a crash")
            if isinstance(op, Step):
                key = f"{row.key}:{row.epoch}:{pending.path}"
                result = await run_step(op, key, self._services.clock)
            else:
                assert isinstance(op, PlatformCall)
                raw = Raw(op.method, {k: to_stored(v) for k, v in op.params.items()})
                result = await self._services.call(raw, self.live.birth.place)
            return self._record(pending, to_stored(result, where=f"the result of {op.name}"))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The step raised it by itself, as some clients do when their connection is lost.
            return self._record(pending, error=StepError("CancelledError", f"raised by {op.name}"))
        except Exception as error:  # noqa: BLE001  # journaled, and raised at the dialog's line
            if isinstance(error, NotStorable):
                log.error("%s: %s", row.key, error)  # noqa: TRY400  # the text says it all
            return self._record(pending, error=error)

    async def _goto(self, went: Went) -> None:
        """Ends the epoch; the conversation goes on in the same Turn."""
        self._gotos += 1
        live, driver = self.live, self.live.driver
        if self._gotos > MOST_GOTOS:
            endless = Misuse(f"{MOST_GOTOS} times chat.goto without a single wait: an endless loop")
            driver.done = Raised(endless)
            return
        try:
            dialog = self._services.dialogs.of(went.dialog)
            args = {k: to_stored(v, where=f"goto(..., {k}=)") for k, v in went.state.items()}
        except LegatoError as error:
            driver.done = Raised(error)
            return
        old = live.conversation
        now = self._services.clock.now_ms()
        birth = Birth(live.birth.event, args, now)
        row = msgspec.structs.replace(
            old, dialog=dialog.name, version=dialog.version, epoch=old.epoch + 1, head=0
        )
        services = self._services.chat_services(birth.place)
        fresh = Live(dialog, row, birth, services, State())
        fresh.driver.outputs, live.driver.outputs = live.driver.outputs, ()
        for said in fresh.driver.outputs:
            said.epoch = said.epoch or old.epoch  # an edit's message is kept under its own epoch
        self._records.clear()
        self.writer.begins = True
        self.live = fresh
        await self._commit(RUNNING)
        fresh.start()

    # -- parking --------------------------------------------------------------------------------

    async def park(self, error: BaseException) -> None:
        """A bug: the conversation keeps its journal, its place and the event, as `failed`.

        Nothing of the failed segment is written but the traceback, the event (in the mailbox, to
        be tried again) and one apology. Results of steps are there already.
        """
        live, now = self.live, self._services.clock.now_ms()
        self._retries.clear()
        self._records.clear()
        text = "".join(traceback.format_exception(error))
        error.__traceback__ = None
        log.error("conversation %s failed:\n%s", live.conversation.key, text)
        # Unless the event is in the birth or consumed, it goes to the mailbox, and the stored waits
        # are still the right ones.
        state = msgspec.structs.replace(live.state, error=text)
        apology = self._services.apology
        said = [Said("", Send(Message(text=apology)), None)] if apology else []
        row = self.writer.row(live, FAILED, state, now, wake_ms=0)
        await self.writer.write(live, row, said, keep_event=not self.writer.consumed)

    # -- committing -----------------------------------------------------------------------------

    async def _commit(
        self,
        status: str,
        *,
        final: bool = False,
        intents: tuple[str, ...] = (),
        said: int = 0,
    ) -> None:
        """Ends a segment. `status` "" = the conversation is over; `said` = things said since the
        last record, so that a Turn resumed from here does not say them again.
        """
        live, now = self.live, self._services.clock.now_ms()
        driver = live.driver
        outputs, driver.outputs = [*self._retries, *driver.outputs], ()
        self._retries = []
        row, state = None, live.state
        if status:
            if status == WAITING:
                state = State(live.waits)
            else:
                state = State(said=said, intents=intents, beside=live.beside)
            row = self.writer.row(live, status, state, now, _wake(state))
        segment = journal.segment(self._records) if self._records else b""
        await self.writer.write(live, row, outputs, segment=segment, final=final)
        live.state = state  # not before: where the write fails, `park` keeps what is stored
        self._records.clear()


def _wake(state: State) -> int:
    """The earliest deadline or reminder of a state, 0 if none."""
    earliest = 0
    for wait in state.waits:
        for time_ms in (wait.deadline_ms, wait.remind_ms):
            if time_ms and (not earliest or time_ms < earliest):
                earliest = time_ms
    return earliest
