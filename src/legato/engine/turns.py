"""All Turns of one process: the cache of live conversations, conflicts, mismatches, timers.

The caller sees to it that no two of these run for one key at the same time (app/lanes.py); across
processes the fence does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from legato.engine import changes, journal
from legato.engine.cache import LiveCache
from legato.engine.changed import Changed, NotOurs
from legato.engine.commands import WaitFor
from legato.engine.dialog import Dialog
from legato.engine.outcomes import IGNORED, TAKEN, Handed, Outcome, Peeked
from legato.engine.services import Services
from legato.engine.term import Paused
from legato.engine.turn import Turn
from legato.engine.versions import Live, rebuild
from legato.engine.writer import Conflict, Duplicate, ReplySlot, Writer
from legato.errors import Mismatch, Unavailable
from legato.model.events import Again, AnyEvent, Signal
from legato.model.ids import aside_key
from legato.model.records import (
    FAILED,
    HELD,
    RUNNING,
    WAITING,
    Birth,
    Commit,
    Conversation,
    Loaded,
    State,
)
from legato.model.values import to_stored

MOST_CONFLICTS = 10
MOST_TIMERS = 100
MOST_MAIL = 1000

NO_ARGS: dict[str, object] = {}


class Turns:
    """Runs Turns.

    Args:
        services: The surroundings.
        cache: Live conversations kept in memory, least recently used go first; 0 replays always.

    Attributes:
        ours: Whether this process (still) works on a conversation. If not, and it was overtaken, it
            stops; else it sees to the end of what the other one began, which may have died.
    """

    def __init__(self, services: Services, cache: int = 2000) -> None:
        self._services = services
        self.cache: LiveCache = LiveCache(cache)
        self.see_to_end: Callable[[str], Awaitable[None]] = self.wake  # an unfinished Turn
        self.ours: Callable[[str], bool] = lambda key: True
        counted = ("turns", "conflicts", "cached", "replayed", "mismatches", "handed")
        self.stats: dict[str, int] = dict.fromkeys(counted, 0)
        self.changed: Changed = Changed(services, self._begin_anew, self.stats)

    # -- looking ----------------------------------------------------------------------------------

    def live(self, key: str) -> bool:
        """Whether the conversation is in memory: it waits then, and can look at events itself."""
        return self.cache.get(key) is not None

    async def peek(self, key: str) -> Peeked | None:
        """Row and waits of the conversation under `key`, without running its code."""
        if (live := self.cache.get(key)) is not None:
            return live.conversation, live.waits, None
        loaded = await self._services.store.load(key)
        if loaded is None:
            return None
        return loaded.conversation, journal.decode_state(loaded.conversation.state).waits, loaded

    async def repeated(self, key: str, update_id: str) -> Outcome:
        """What to answer to an update that was consumed before."""
        reply = await self._services.store.get("inbox", update_id)
        return await self._repeated(key, reply or b"")

    # -- the four ways a Turn begins ----------------------------------------------------------------

    async def begin(
        self,
        key: str,
        dialog: Dialog,
        event: AnyEvent,
        *,
        slot: ReplySlot | None = None,
        args: dict[str, Any] | None = None,
        aside: Conversation | None = None,
    ) -> Outcome:
        """Starts `dialog` under `key`, which must be free (or held by `aside`, which is parked
        under another key, never destroyed).
        """
        now = self._services.clock.now_ms()
        epoch = changes.new_epoch(now, event.id)
        stored = {name: to_stored(value) for name, value in args.items()} if args else NO_ARGS
        birth = Birth(event, stored, now)
        row = Conversation(key, dialog.name, dialog.version, epoch, 0, RUNNING, 0, b"", now)
        state = State(build=self._services.build)
        live = Live(dialog, row, birth, self._services.chat_services(event.place), state)
        writer = Writer(
            self._services,
            event,
            None if aside is None else (aside.epoch, aside.head),
            begins=True,
            slot=slot,
            aside="" if aside is None else aside_key(key, aside.epoch),
        )
        turn = Turn(self._services, live, writer)
        live.start()
        return await self._settle(turn)

    async def deliver(
        self, key: str, event: AnyEvent, *, slot: ReplySlot | None = None, was: Loaded | None = None
    ) -> Outcome:
        """Offers an event to what is (and just now `was`) under `key`; IGNORED if it is not for it."""
        for _ in range(MOST_CONFLICTS):
            remembered = self.live(key)
            try:
                live, was = await self._take(key, was), None
                if live is None:
                    return IGNORED
                if isinstance(live, Loaded):
                    return await self.changed.at_rest(live, event)
                if live.failure is not None:  # our code, in the replay
                    return await self._failed(live, live.failure, event)
                outcome = await self._deliver(live, event, slot=slot)
                if outcome is not IGNORED or not remembered or not await self._is_old(key):
                    return outcome
            except Mismatch as error:
                return await self.changed.settle(key, error, event)
            except Conflict:
                self.stats["conflicts"] += 1
        return await self._deposit(key, event)

    async def _is_old(self, key: str) -> bool:
        """Whether what was in memory is not what is stored: its refusal says nothing."""
        loaded = await self._services.store.load(key)
        return self.cache.refresh(key, None if loaded is None else loaded.conversation)

    async def _deliver(self, live: Live, event: AnyEvent, *, slot: ReplySlot | None) -> Outcome:
        if live.conversation.status == RUNNING:
            live = await self._finish(live)
            if live.conversation.status != WAITING or live.driver.done is not None:
                self.cache.keep(live)
                return await self.deliver(live.conversation.key, event)
        if changes.of_another_life(event, live.conversation):
            self.cache.keep(live)
            return IGNORED
        moment = changes.moment(event, self._services.clock.now_ms())
        if 0 < live.conversation.wake_ms < moment:
            await self._fire(live, moment - 1)
            return await self.deliver(live.conversation.key, event, slot=slot)
        turn = self._turn(live, event, slot=slot)
        try:
            taken = turn.offer(event)
        except Exception as error:  # noqa: BLE001  # a parser's bug: the answer is kept for the retry
            return await self._settle(turn, parked_with=error)
        if not taken:
            self.cache.keep(live)
            if isinstance(event, Signal):
                return await self._deposit(live.conversation.key, event)
            return IGNORED
        return await self._settle(turn)

    async def wake(self, key: str, moment_ms: int | None = None) -> None:
        """Brings an interrupted Turn to its end; then lets all deadlines and reminders happen that
        were due at `moment_ms` (now).
        """
        for _ in range(MOST_CONFLICTS):
            try:
                live = await self._take(key)
                if live is not None and not isinstance(live, Loaded):
                    row = live.conversation
                    if live.failure is not None and (
                        await self.changed.elsewhere(row, None, moment_ms)
                    ):
                        return
                    if row.status == RUNNING:
                        live = await self._finish(live)
                    now = self._services.clock.now_ms()
                    await self._fire(live, now if moment_ms is None else moment_ms)
            except Mismatch as error:
                with suppress(Conflict):  # whoever was faster has seen to it
                    await self.changed.settle(key, error, None, moment_ms=moment_ms)
            except Conflict:
                self.stats["conflicts"] += 1
                continue
            return

    async def _fire(self, live: Live, moment_ms: int) -> None:
        """Lets everything happen that was due by then, one by one; then puts it to rest."""
        if live.failure is not None and live.conversation.status == WAITING:  # else it is parked
            await self._settle(self._turn(live), parked_with=live.failure)
            return
        for _ in range(MOST_TIMERS):
            if live.conversation.status != WAITING or live.driver.done is not None:
                break
            turn = self._turn(live)
            alarm = 0 < live.conversation.wake_ms <= moment_ms  # if for nothing: it is put off
            if not turn.fire(moment_ms) and not alarm:
                break
            await self._go_on(turn)
            live = turn.live
        self.cache.keep(live)

    async def ask_again(self, event: Again) -> Outcome:
        """Shows the pending question again, after something else was said in between."""
        try:
            live = await self._take(event.key)
        except Mismatch:  # the next event finds out and says what is to be said
            live = await self._services.store.load(event.key)
        if live is None:
            return IGNORED
        if isinstance(live, Loaded) or live.failure is not None:
            return await self.changed.elsewhere(live.conversation, event) or IGNORED
        turn = self._turn(live, event)
        if turn.ask_again():
            return await self._settle(turn)
        self.cache.keep(live)
        return IGNORED

    async def handed(self, work: Handed) -> Outcome | None:
        """Does what an older build has handed over; None if the conversation is another build's by now, or somebody
        else is at it: to be decided anew.

        Raises:
            Unavailable, StoreError: It is not known to be done.
        """
        key, event = work.key, work.event
        self.changed.handed.add(key)
        try:
            if self.live(key):
                await self._is_old(key)
            if event is None:
                await self.wake(key, work.moment_ms)
                return TAKEN
            if isinstance(event, Again):
                return await self.ask_again(event)
            return await self.deliver(key, event)
        except (NotOurs, Conflict):
            return None
        finally:
            self.changed.handed.discard(key)

    def _turn(
        self, live: Live, event: AnyEvent | None = None, *, slot: ReplySlot | None = None
    ) -> Turn:
        row = live.conversation
        writer = Writer(self._services, event, (row.epoch, row.head), slot=slot)
        return Turn(self._services, live, writer)

    # -- in the middle ------------------------------------------------------------------------------

    async def _settle(self, turn: Turn, parked_with: BaseException | None = None) -> Outcome:
        """Runs a Turn to its end, then keeps or drops its conversation."""
        try:
            outcome = await self._run(turn, parked_with)
        except Paused:
            return TAKEN  # the first segment has consumed the event, and what is left is not lost
        if not outcome.duplicate:
            self.cache.keep(turn.live)
        return outcome

    async def _run(self, turn: Turn, parked_with: BaseException | None = None) -> Outcome:
        """Runs a Turn to its end. Its conversation is of no use after an error or a duplicate."""
        self.stats["turns"] += 1
        try:
            with turn:
                if parked_with is not None:
                    await turn.park(parked_with)
                else:
                    await turn.advance()
                    await self._find_signals(turn)
        except Duplicate as duplicate:
            turn.live.driver.evict()
            return await self._repeated(turn.live.conversation.key, duplicate.reply)
        except BaseException as error:
            turn.live.driver.evict()
            if isinstance(error, Conflict) and not self.ours(key := turn.live.conversation.key):
                raise Unavailable(f"another process works on {key} now") from None
            raise
        return Outcome(taken=True, reply=turn.writer.reply)

    async def _repeated(self, key: str, reply: bytes) -> Outcome:
        """A repeated update: its Turn is seen to its end, and its answer given again."""
        loaded = await self._services.store.load(key)
        if loaded is not None and changes.unfinished(loaded.conversation):
            handed = key in self.changed.handed  # its mail is for the build that runs now
            await (self.wake if handed else self.see_to_end)(key)
        return Outcome(taken=True, duplicate=True, reply=reply or None)

    async def _find_signals(self, turn: Turn) -> None:
        """Signals that came before the dialog reached its wait_for are in the mailbox."""
        for _ in range(MOST_MAIL):
            driver = turn.live.driver
            if driver.done is not None or turn.live.conversation.status != WAITING:
                return
            if not any(isinstance(p.op, WaitFor) for p in driver.pending.values()):
                return
            key = turn.live.conversation.key
            for mail in await self._services.store.mail(key=key, limit=MOST_MAIL):
                event = journal.decode_event(mail.payload)
                if changes.of_another_life(event, turn.live.conversation):
                    now = self._services.clock.now_ms()
                    await self._services.store.commit(Commit(at_ms=now, update_id=mail.id))
                elif isinstance(event, Signal):
                    turn.writer.take(event)
                    if turn.offer(event):
                        break
            else:
                turn.writer.take(None)
                return
            await turn.advance()

    async def _finish(self, live: Live) -> Live:
        """Resumes a Turn that a crash (or an operator's retry) left in the middle."""
        changes.check_left(live, self._services.clock.now_ms())
        try:
            await self._services.term.taken_up(live.conversation.key)
        except BaseException:
            live.driver.evict()
            raise
        turn = self._turn(live)
        await self._go_on(turn)
        return turn.live

    async def _go_on(self, turn: Turn) -> None:
        """Runs a Turn whose conversation is needed afterwards.

        Raises:
            Conflict: Another process consumed the same signal: this one's work is void.
        """
        if (await self._run(turn)).duplicate:
            raise Conflict

    # -- conversations that cannot run ----------------------------------------------------------------

    async def _deposit(self, key: str, event: AnyEvent) -> Outcome:
        deposit = changes.deposit(key, event, self._services.clock.now_ms())
        await self._services.store.commit(deposit)
        return TAKEN

    async def _failed(self, live: Live, error: BaseException, event: AnyEvent | None) -> Outcome:
        """Our code has failed in the replay: a newer build's journal is for that one."""
        outcome = await self.changed.elsewhere(live.conversation, event)
        return outcome or await self._settle(self._turn(live, event), parked_with=error)

    async def _begin_anew(
        self, live: Live, event: AnyEvent | None, fence: tuple[int, int]
    ) -> Outcome:
        turn = self._turn(live, event)
        turn.writer.begins = True
        turn.writer.expect = fence
        live.start()
        return await self._settle(turn)

    # -- the cache --------------------------------------------------------------------------------

    async def _take(self, key: str, was: Loaded | None = None) -> Live | Loaded | None:
        """The conversation ready to run; as stored if it is at rest; None if there is none.

        Raises:
            Mismatch: The code does not follow its journal.
        """
        if (live := self.cache.take(key)) is not None:
            self.stats["cached"] += 1
            return live
        loaded = was or await self._services.store.load(key)
        if loaded is None:
            return None
        row = loaded.conversation
        self.changed.check(row)
        if row.status in (FAILED, HELD):
            return loaded
        dialog = self._services.dialogs.get(row.dialog)
        if dialog is None:
            raise Mismatch("", row.dialog, "no dialog of this name")
        self.stats["replayed"] += 1
        birth = journal.decode_birth(loaded.birth)
        live = rebuild(loaded, dialog, self._services.chat_services(birth.place))
        self._services.observer.replayed(live.replayed)
        return live

    def close(self) -> None:
        """Evicts all live conversations; they go on where they are stored."""
        self.cache.clear()
        self._services.watchdog.close()


__all__ = ["IGNORED", "TAKEN", "Outcome", "Peeked", "Turns"]
