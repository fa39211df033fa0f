"""One Turn: an event applied to one conversation, as one or more committed segments.

    offer the event -> record -> feed -> [commit, run a step, commit, feed]* -> commit the wait

A segment ends at a wait, after a step, at `goto` and at the end. Each commit carries the update's
id (the first one), the fence, the new records, what was said, and what is waited for now.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Collection
from functools import partial
from typing import Any, NoReturn

import msgspec

from legato.engine import journal
from legato.engine.commands import Effect, PlatformCall, Step, Tx
from legato.engine.intake import Intake
from legato.engine.replay import Pending, Raised, Said, Went
from legato.engine.services import Services
from legato.engine.steps import PutDown, run_step
from legato.engine.term import MOST_TRIES, OutOfTime, Paused
from legato.engine.transactions import InTransaction, Transaction, Within
from legato.engine.versions import Live
from legato.engine.writer import Conflict, Duplicate, Writer
from legato.errors import (
    IngressError,
    LegatoError,
    Misuse,
    NotStorable,
    StepError,
    StepInterrupted,
    StoreError,
    StoreTooMuch,
)
from legato.model.messages import Message, Raw, Send
from legato.model.records import (
    FAILED,
    RUNNING,
    WAITING,
    Birth,
    Record,
    State,
)
from legato.model.values import to_stored

log: logging.Logger = logging.getLogger("legato.turn")

MOST_GOTOS = 100
"""Tail calls without any wait: more is an endless loop."""
TYPING_EVERY_S = 4.0
"""Telegram shows the sign for 5 s."""
_FAILURES = {Duplicate: "duplicate", Conflict: "conflict"}


class Turn(Intake):
    """The work on one conversation between two waits. Its end is told to the observer when the `with`
    block around it is left.

    Attributes:
        live: The conversation; replaced at goto.
        writer: Commits its segments.
    """

    __slots__ = ("_gotos", "_span", "_tasks", "_types_again", "writer")

    def __init__(self, services: Services, live: Live, writer: Writer) -> None:
        super().__init__(services, live)
        self.writer: Writer = writer
        self._tasks: dict[str, asyncio.Task[Record]] = {}  # effects under way, by path
        self._types_again = 0.0  # when the typing sign is to be shown again, by the clock's seconds
        self._gotos = live.state.gotos  # of the process that died in this Turn
        self._span = self._begin()

    def _begin(self) -> Any:
        live = self.live
        row = live.conversation
        return self._services.observer.begin_turn(row.key, row.dialog, live.driver.context)

    def _end(self, outcome: str) -> None:
        dialog = self.live.conversation.dialog
        self._services.observer.end_turn(self._span, dialog, outcome)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return self._end(_FAILURES.get(kind, "error"))
        status = self.live.conversation.status
        over = self.live.driver.done is not None and status != FAILED
        return self._end("ended" if over else status)

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
        except (Conflict, Duplicate, StoreError, IngressError) as error:
            if not isinstance(error, StoreTooMuch):
                raise  # it may go better next time
            await self.park(error)
        except Exception as error:  # noqa: BLE001  # raised again and again it would stop the chat
            await self.park(error)
        finally:
            await _ended(self._tasks.values())

    def _effects(self) -> list[Pending]:
        return [p for p in self.live.driver.pending.values() if isinstance(p.op, Effect)]

    async def _perform(self) -> None:
        """Carries out what the dialog waits for: transactions one by one, since each is a commit;
        then everything else side by side.
        """
        effects = self._effects()
        transactions = [p for p in effects if isinstance(p.op, Tx)]
        if transactions:
            await self._transact(transactions[0])
        else:
            await self._run_effects(effects)

    async def _run_effects(self, effects: list[Pending]) -> None:
        """Runs effects side by side; journals the first that ends.

        Whatever led here is committed first: so a repeated update or an overtaken process is found
        out before it has an effect, and what was said before is delivered before.
        """
        fresh = [p for p in effects if p.path not in self._tasks]
        if fresh and not self._services.term.may_begin():
            if not self._tasks:
                await self._pause()
            fresh, effects = [], [p for p in effects if p.path in self._tasks]
        intents = tuple(p.path for p in effects if isinstance(p.op, Step) and p.op.at_most_once)
        interrupted = self.live.state.intents
        taken_up = self._is_anothers()
        claims = self._claims(effects) if taken_up else 0
        if self._is_unwritten() or taken_up or not set(intents) <= set(interrupted):
            said = self.live.driver.said
            await self._commit(RUNNING, intents=intents, said=said, claims=claims)
        await self._services.relay.delivered(self.live.birth.place.lane, self.writer.last_id)
        for pending in fresh:
            run = self._effect(pending, interrupted=pending.path in interrupted)
            self._tasks[pending.path] = asyncio.create_task(run)
        await self._first_done(typing=any(p.branch.types for p in effects))
        path = next(p.path for p in effects if self._tasks[p.path].done())
        try:
            record = self._tasks.pop(path).result()
        except PutDown:
            await self._pause()
        self._records.append(record)
        intents = self.live.state.intents
        # A failure is written with what the dialog makes of it: if nobody catches it, it is forgotten
        # with the failed segment, and a retry runs the step again. But never one at_most_once.
        if record.error is None or path in intents:
            await self._commit(RUNNING, intents=tuple(i for i in intents if i != path))
        await self._resume(record)

    def _is_unwritten(self) -> bool:
        """Whether anything has happened since the last commit."""
        said = self.live.driver.outputs or self._retries
        return bool(said or self._records or self.writer.update_id)

    def _is_anothers(self) -> bool:
        """Whether all is as another invocation has left it, and is to be taken up: so only one does."""
        return not self._is_unwritten() and (
            self.live.conversation.wake_ms < self._services.term.until_ms()
        )

    def _claims(self, effects: list[Pending]) -> int:
        """How often these effects were begun before by invocations that ended too early.

        Raises:
            OutOfTime: Too often.
        """
        row, claims = self.live.conversation, self.live.state.claims
        if row.wake_ms > row.updated_ms:  # else it was put down, or let go on by an operator
            claims += 1
        if claims >= MOST_TRIES:
            raise OutOfTime(
                ", ".join(p.op.name for p in effects if isinstance(p.op, Effect)), claims
            )
        return claims

    async def _pause(self) -> NoReturn:
        """Writes what was done, to be gone on with at once by whoever has time.

        Raises:
            Paused: Always.
        """
        live, now = self.live, self._services.clock.now_ms()
        if self._is_unwritten() or not 0 < live.conversation.wake_ms <= now:
            said = live.driver.said
            await self._commit(RUNNING, intents=live.state.intents, said=said, wake_ms=now)
        await self._services.relay.delivered(live.birth.place.lane, self.writer.last_id)
        self._services.term.alarm(live.conversation.key, now)
        raise Paused(live.conversation.key)

    async def _first_done(self, *, typing: bool) -> None:
        """Waits until some effect is over; shows the typing sign meanwhile, if that is wanted."""
        services, place = self._services, self.live.birth.place
        wait_s = TYPING_EVERY_S if typing else None
        now = services.clock.monotonic()
        if typing and now >= self._types_again:
            self._types_again = now + TYPING_EVERY_S
            services.show_typing(place)
        while not (
            await asyncio.wait(
                self._tasks.values(), timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
        )[0]:
            services.show_typing(place)

    async def _resume(self, record: Record) -> None:
        """Hands an effect's record to the dialog; ends effects that nobody waits for any more."""
        self.live.driver.feed(record)
        gone = [path for path in self._tasks if path not in self.live.driver.pending]
        await _ended([self._tasks.pop(path) for path in gone])

    async def _transact(self, pending: Pending) -> None:
        """Runs a transaction of the app inside the commit of its result, and of all that led there:
        both are written, or neither. A failure is written with what the dialog makes of it.
        """
        tx = pending.op
        assert isinstance(tx, Tx)
        commit = partial(self._commit, RUNNING, intents=self.live.state.intents)
        limit_s = self._services.watchdog.limit(tx.timeout_s)
        work = Transaction(tx, self._records, partial(self._record, pending), limit_s)
        try:
            record = await work.run(commit, self._services.clock)
        except InTransaction as failed:
            record = self._record(pending, error=failed.error)
            self._records.append(record)
        await self._resume(record)

    async def _effect(self, pending: Pending, *, interrupted: bool) -> Record:
        op, row = pending.op, self.live.conversation
        try:
            if isinstance(op, Step) and op.at_most_once and interrupted:
                raise StepInterrupted(f"{op.name} may or may not have run before a crash")
            if isinstance(op, Step):
                key = f"{row.key}:{row.epoch}:{pending.path}"
                result = await run_step(op, key, self._services.clock, self._services.watchdog)
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
        self._end("goto")
        old = live.conversation
        now = self._services.clock.now_ms()
        birth = Birth(live.birth.event, args, now)
        row = msgspec.structs.replace(
            old, dialog=dialog.name, version=dialog.version, epoch=old.epoch + 1, head=0
        )
        services = self._services.chat_services(birth.place)
        fresh = Live(dialog, row, birth, services, State(build=self._services.build))
        fresh.driver.outputs, live.driver.outputs = live.driver.outputs, ()
        for said in fresh.driver.outputs:
            said.epoch = said.epoch or old.epoch  # an edit's message is kept under its own epoch
        self._records.clear()
        self.writer.begins = True
        self.live = fresh
        self._span = self._begin()
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
        # Unless the event is in the birth or consumed, it goes to the mailbox, and the stored waits
        # are still the right ones.
        state = msgspec.structs.replace(live.state, error=text, gotos=0, claims=0)
        apology = self._services.apology
        said = [Said("", Send(Message(text=apology)), None)] if apology else []
        row = self.writer.row(live, FAILED, state, now, wake_ms=0)
        await self.writer.write(live, row, said, keep_event=not self.writer.consumed)
        log.error("conversation %s failed:\n%s", live.conversation.key, text)  # if it is still ours

    # -- committing -----------------------------------------------------------------------------

    async def _commit(
        self,
        status: str,
        *,
        final: bool = False,
        intents: tuple[str, ...] = (),
        said: int = 0,
        within: Within | None = None,
        wake_ms: int = 0,
        claims: int = 0,
    ) -> None:
        """Ends a segment. `status` "" = the conversation is over; `said` = things said since the
        last record, so that a Turn resumed from here does not say them again; `within` gives the
        records from inside the transaction; `wake_ms` is when others go on with it, if the Turn is not over;
        `claims` is how often it was taken up here.
        """
        live, now = self.live, self._services.clock.now_ms()
        outputs = [*self._retries, *live.driver.outputs]
        row, state = None, live.state
        if status:
            if status == WAITING:
                self._gotos = 0
                state = State(live.waits, build=self._services.build)
                wake_ms = _wake(state)
            else:
                build = self._services.build
                state = State((), said, "", intents, live.beside, self._gotos, claims, build)
                wake_ms = wake_ms or self._services.term.until_ms()
            row = self.writer.row(live, status, state, now, wake_ms)
        segment = journal.segment(self._records) if self._records else b""
        await self.writer.write(live, row, outputs, segment=segment, within=within, final=final)
        # Not before: where the write fails, nothing of it is lost, and `park` keeps what is stored.
        live.driver.outputs, self._retries = (), []
        live.state = state
        self._records.clear()
        if status == WAITING and wake_ms:
            self._services.term.alarm(live.conversation.key, wake_ms)


async def _ended(tasks: Collection[asyncio.Task[Record]]) -> None:
    """Cancels effects, and lets them come to their end, as far as the watchdog has patience with them. A Turn that is
    cut off itself waits for nothing.
    """
    for task in tasks:
        task.cancel()
    this = asyncio.current_task()
    if tasks and not (this is not None and this.cancelling()):
        await asyncio.wait(tasks)


def _wake(state: State) -> int:
    """The earliest deadline or reminder of a state, 0 if none."""
    earliest = 0
    for wait in state.waits:
        for time_ms in (wait.deadline_ms, wait.remind_ms):
            if time_ms and (not earliest or time_ms < earliest):
                earliest = time_ms
    return earliest
