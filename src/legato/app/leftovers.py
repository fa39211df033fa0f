"""Takes up what was left behind: interrupted Turns, and mail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

import msgspec

from legato.abc import Clock, Store
from legato.app.dispatch import Dispatcher
from legato.app.knobs import FIRST_PAUSE_S, LONGEST_PAUSE_S
from legato.app.lanes import Lanes
from legato.app.poison import Trials
from legato.app.tasks import Task, raise_common
from legato.errors import StoreError, Unavailable
from legato.model.events import Address, AnyEvent
from legato.model.records import RUNNING, Conversation, Mail

log: logging.Logger = logging.getLogger("legato.runtime")

_event = msgspec.json.Decoder(AnyEvent)
PAGE = 500
LETTERS = 50
"""Of one lane's mail, read at once."""

Slots = Collection[int] | None
Spawn = Callable[[Coroutine[Any, Any, None], str], Task]


class Leftovers:
    """Invariant: what was left in a lane has its place there before anything that comes later.

    Args:
        store, clock: Where it lies, and how to wait.
        dispatcher, lanes: Who applies it, and in which order.
        ours: Whether this process runs the bot of a place.
        wake: Finishes the interrupted Turn of one conversation.
        spawn: Starts a task that the runtime knows of, for one lane.
        in_hand: Ids of mail that is worked on already.
        trials: Tries what may have ended the process that had it before.

    Attributes:
        told: Asked, for mail of a lane, whether somebody else will read it; it is told so by that.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        dispatcher: Dispatcher,
        lanes: Lanes,
        *,
        ours: Callable[[Address], bool],
        wake: Callable[[Conversation], Coroutine[Any, Any, None]],
        spawn: Spawn,
        in_hand: set[str],
        trials: Trials,
    ) -> None:
        self._store = store
        self._clock = clock
        self._dispatcher = dispatcher
        self._lanes = lanes
        self._ours = ours
        self._wake = wake
        self._spawn = spawn
        self._in_hand = in_hand
        self._trials = trials
        self._suspect: set[str] = set()  # lanes whose first mail may have ended a process
        self._begun: set[str] = (
            set()
        )  # lanes whose mail a task of ours applies, and ids of other such mail
        self._more: set[str] = (
            set()
        )  # lanes in which mail was seen while a task of ours applied theirs
        # Where the next look begins, and the one after it. Between them lies what the last look has read: it
        # is read again, for mail with a smaller number may be committed a little later.
        self._begin = self._seen = ""
        self.told: Callable[[str], bool] = lambda lane: False

    async def take_up(self, patience_s: float | None, slots: Slots = None) -> None:
        """Finishes interrupted Turns and applies mail, each conversation by itself.

        Args:
            patience_s: What takes longer (a slow step) goes on in the background: it holds up no
                other conversation. None waits for all of it.
            slots: Only of these; None: of all.

        Raises:
            StoreError: The store cannot be read.
        """
        self._trials.since_ms = self._clock.now_ms()
        after = ""
        while rows := await self._store.find(status=RUNNING, after=after, limit=PAGE, slots=slots):
            await _over([self._spawn(self._wake(row), row.key) for row in rows], patience_s)
            after = rows[-1].key
        last = await self._take_mail("", patience_s, slots, suspect=True)
        self._seen = self._seen or last

    async def look(self, patience_s: float, slots: Slots = None) -> None:
        """Applies mail that came since the last look but one: somebody else put it there. So what is
        committed within the time between two looks is found, whatever was numbered after it.

        Raises:
            StoreError: The store cannot be read.
        """
        last = await self._take_mail(self._begin, patience_s, slots)
        self._begin, self._seen = self._seen, last or self._seen

    def look_again(self) -> None:
        """The next look begins at the first mail: what was seen was not applied."""
        self._begin = self._seen = ""

    async def _take_mail(
        self, after: str, patience_s: float | None, slots: Slots, *, suspect: bool = False
    ) -> str:
        """The id of the last one, "" if there is none."""
        last = ""
        while mails := await self._store.mail(after=last or after, limit=PAGE, slots=slots):
            last = mails[-1].id
            if suspect:
                self._suspect.update(mail.key for mail in mails)
            await _over([task for mail in mails for task in self._taken(mail)], patience_s)
            if len(mails) < PAGE:
                break
        return last

    def _taken(self, mail: Mail) -> list[Task]:
        """The task that applies a mail, if there is to be one."""
        event = _opened(mail)
        if event is None or mail.id in self._in_hand or not self._ours(event.place):
            return []
        lane = self._dispatcher.router.lane(event)
        if mail.key != lane:
            if mail.id in self._begun:
                return []
            work = self._apply(lane, lambda: self._if_wanted(mail, event))
            return [self._start(mail.id, work, lane)]
        if lane in self._begun:
            self._more.add(lane)
            return []
        return [] if self.told(lane) else [self._start(lane, self.empty(lane), lane)]

    def _start(self, name: str, work: Coroutine[Any, Any, None], lane: str) -> Task:
        self._begun.add(name)
        task = self._spawn(work, lane)
        task.add_done_callback(lambda _: self._over(name))
        return task

    def _over(self, name: str) -> None:
        self._begun.discard(name)
        self._more.discard(name)

    async def empty(self, lane: str) -> None:
        """Applies all mail of a lane, in its order, before anything else of that lane."""
        await self._apply(lane, lambda: self._read(lane))

    async def _read(self, lane: str) -> None:
        await self._read_once(lane)
        while lane in self._more:
            self._more.discard(lane)
            await self._read_once(lane)

    async def _read_once(self, lane: str) -> None:
        last = ""
        while mails := await self._store.mail(key=lane, after=last, limit=LETTERS):
            for mail in mails:
                last = mail.id
                event = _opened(mail)
                if event is not None:
                    await self._if_wanted(mail, event)

    async def _apply(self, lane: str, work: Callable[[], Awaitable[None]]) -> None:
        await self._lanes.run(lane, lambda: self._persist(work))

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does it until the store can. No platform repeats what lies in a mailbox."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await work()
            except (StoreError, Unavailable) as error:
                log.warning("mail is tried again in %g s: %s", pause_s, error)
            else:
                return
            await self._clock.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _if_wanted(self, mail: Mail, event: AnyEvent) -> None:
        try:
            await self._tried(mail, event)
        except (StoreError, Unavailable):
            raise
        except Exception:  # a bug of ours: what lies behind it is not to blame
            log.exception("mail %s cannot be applied, and stays where it is", mail.id)

    async def _tried(self, mail: Mail, event: AnyEvent) -> None:
        if not await self._dispatcher.wanted(mail, event):
            return
        suspect = mail.key in self._suspect  # only the first of a lane can have been under way
        work = self._dispatcher.apply_mail
        await self._trials.event(event, lambda: work(event), suspect=suspect)
        self._suspect.discard(mail.key)


def _opened(mail: Mail) -> AnyEvent | None:
    """What a mail says; None if this version cannot read it: it stays, and holds up nobody."""
    try:
        event: AnyEvent = _event.decode(mail.payload)
    except (msgspec.DecodeError, RecursionError) as error:
        log.error("mail %s cannot be read, and stays where it is: %s", mail.id, error)  # noqa: TRY400
        return None
    return event


async def _over(tasks: list[Task], patience_s: float | None) -> None:
    """Waits for all. A bug in one is nobody else's concern: a process must start, and a worker take up its
    shards, whatever lies there.
    """
    if tasks:
        done, _ = await asyncio.wait(tasks, timeout=patience_s)
        raise_common(done)
