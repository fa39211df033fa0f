"""Letters of a queue at work: one after another in a lane, lanes side by side.

    delivery -> decode -> its lane -> Turn -> Commit -> ack

A letter is acknowledged once its Turn is committed. What takes long, or is too much, goes into the store's
mailbox and is acknowledged then: a slow step holds up its own chat, and a person who writes ten thousand
messages their own, while the queue's prefetch stays free for everybody else.

Invariants:
- All mail of a lane is older than what waits for that lane in memory: so mail goes first, and if one letter
  of a lane goes into the mailbox, all do that wait there, in their order.
- A letter is never put back. It is tried again in its place, or another process gets it with all that
  follow.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection

import msgspec

from legato.abc.queue import Delivery, Letter, Take
from legato.app.knobs import FIRST_PAUSE_S, LONGEST_PAUSE_S
from legato.app.poison import TRIES
from legato.app.runtime import Runtime
from legato.app.seats import AT_ONCE, Seat, Seats
from legato.app.tasks import Task, cancelled
from legato.app.work import Source, Work
from legato.errors import StoreCorrupt, StoreError, Unavailable
from legato.model.events import AnyEvent
from legato.model.ordered import Ordered
from legato.model.records import Commit
from legato.outbox.leaving import until_left

log: logging.Logger = logging.getLogger("legato.worker")

_event = msgspec.json.Decoder(AnyEvent)

MOST_WAITING = 16
"""Letters that wait in memory for one lane; beyond it they go into the mailbox."""
LOOK_S = 0.25
"""How often it is looked for Turns that take long."""
DRAIN_LOOK_S, NEVER = 0.02, float("inf")

Ended = Callable[[int, int], Awaitable[object]]
"""Told that all letters of an old queue (generation, shard) are dealt with. May raise StoreError."""


class Actor:
    """Works for one lane, as long as there is something to do.

    Attributes:
        lane, slot: Which.
        waiting: Letters, oldest first.
        now: The one that is worked on.
        since: Since when; NEVER while it waits for a seat.
        mailed: There may be mail, which goes first.
        spill: Puts letters into the mailbox just now.
        task: Does the work.
    """

    __slots__ = ("lane", "mailed", "now", "since", "slot", "spill", "task", "waiting")

    def __init__(self, lane: str, slot: int) -> None:
        self.lane: str = lane
        self.slot: int = slot
        self.waiting: deque[Work] = deque()
        self.now: Work | None = None
        self.since: float = NEVER
        self.mailed: bool = False
        self.spill: Task | None = None
        self.task: Task | None = None


class Actors:
    """All actors of a worker, as many at work as there are seats. Belongs to one event loop.

    Args:
        runtime: Applies events; its share says for which lanes.
        ended: See Ended.
    """

    def __init__(self, runtime: Runtime, ended: Ended) -> None:
        self._runtime = runtime
        self._share = runtime.share
        self._clock = runtime.clock
        self._ended = ended
        self._lane_of = runtime.router.lane
        self._ack_after_s = runtime.settings.ack_after_s
        self._seats = Seats(self._clock, AT_ONCE)
        self._actors: dict[str, Actor] = {}
        self._tasks: Ordered[Task] = Ordered()
        self._looking: Task | None = None
        runtime.leftovers.told = self._has_mail
        self.stats: dict[str, int] = dict.fromkeys(("letters", "kept", "again", "dead"), 0)

    # -- in -----------------------------------------------------------------------------------

    def taker(self, source: Source) -> Take:
        """What takes the deliveries of a queue."""

        def take(delivery: Delivery) -> None:
            self.take(delivery, source)

        return take

    def take(self, delivery: Delivery, source: Source) -> None:
        """Takes one letter. Never waits."""
        letter = delivery.letter
        known = source.hand.get(letter.id)
        if known is not None:
            known.again.append(delivery)
            return
        if letter.kind == "end":
            _ = self._spawn(self._end(delivery, source))
            return
        if not self._share.owns(letter.slot):
            source.lost = True  # on its way here while the shard went to another process
            return
        self.stats["letters"] += 1
        if letter.kind == "event":
            try:
                event = _event.decode(letter.body)
            except (msgspec.DecodeError, RecursionError) as error:
                log.error("letter %s cannot be read (kept as dead): %s", letter.id, error)  # noqa: TRY400
            else:
                self._enqueue(Work(delivery, source, event))
                return
        _ = self._spawn(self._bury(delivery, letter))

    def _enqueue(self, work: Work) -> None:
        lane = self._lane_of(work.event)
        actor = self._actors.get(lane)
        if actor is None:
            actor = self._actors[lane] = Actor(lane, work.delivery.letter.slot)
            actor.waiting.append(work)
            self._start(actor)
            return
        actor.waiting.append(work)
        if len(actor.waiting) > MOST_WAITING:
            self._keep(actor)

    def _start(self, actor: Actor) -> None:
        actor.task = task = asyncio.get_running_loop().create_task(self._serve(actor))
        self._tasks.add(task)
        task.add_done_callback(self._over)
        if self._looking is None:
            self._looking = self._spawn(self._look())

    def _has_mail(self, lane: str) -> bool:
        """Lets the actor of a lane look into its mailbox; False if there is none."""
        actor = self._actors.get(lane)
        if actor is not None:
            actor.mailed = True
        return actor is not None

    # -- at work ------------------------------------------------------------------------------

    async def _serve(self, actor: Actor) -> None:
        try:
            while actor.spill is not None or actor.mailed or actor.waiting:
                if actor.spill is not None:
                    await asyncio.wait({actor.spill})
                    continue
                actor.since = NEVER
                async with Seat(self._seats):
                    if not (actor.spill or await self._work(actor)):
                        return
        finally:
            self._gone(actor)

    async def _work(self, actor: Actor) -> bool:
        """Does what comes next in a lane; False if that is for another process (now)."""
        if actor.mailed:
            if self._leaving(actor):
                return False  # the next owner reads it, and then what waits here
            actor.mailed = False
            actor.since = self._clock.monotonic()
            await self._runtime.leftovers.empty(actor.lane)
        elif actor.waiting:
            actor.now = work = actor.waiting.popleft()
            actor.since = self._clock.monotonic()
            if not await self._apply(work):
                return False
            actor.now = None
        return True

    async def _apply(self, work: Work) -> bool:
        """Applies an event until that is done; False if it is for another process (now)."""
        letter, observer = work.delivery.letter, self._runtime.services.observer
        pause_s, bugs = FIRST_PAUSE_S, 0
        while True:
            if not self._share.owns(letter.slot):
                return False
            began = observer.begin_update(letter.id, trace=letter.trace, at_ms=letter.at_ms)
            try:
                await self._once(work, refused=bugs >= TRIES)
            except StoreCorrupt:
                raise
            except (StoreError, Unavailable) as error:
                log.warning("update %s is tried again in %g s: %s", letter.id, pause_s, error)
            except Exception as error:
                bugs += 1
                work.error = error
                log.exception("update %s failed, outside of any dialog", letter.id)
            else:
                work.ack()
                return True
            finally:
                observer.end_update(began)
            self.stats["again"] += 1
            await self._clock.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _once(self, work: Work, *, refused: bool) -> None:
        """Applies an event, or puts it aside if that has failed too often."""
        place = work.event.place
        if self._runtime.adapters(place) is None:
            # A gateway knows of the bot already: whoever is started with it next does the work.
            raise Unavailable(
                f"no {place.platform} bot {place.bot} is set up here: give this process the token that the "
                "others have, or end it"
            )
        error = work.error
        if refused and error is not None:
            refuse = self._runtime.trials.refuse
            await self._runtime.lanes.run(
                self._lane_of(work.event), lambda: refuse(work.event, error)
            )
        else:
            await self._runtime.handle(work.event, suspect=work.delivery.redelivered)

    def _leaving(self, actor: Actor) -> bool:
        slots = self._share.slots
        return slots is not None and actor.slot not in slots

    def _gone(self, actor: Actor) -> None:
        """An actor has nothing to do any more, or lets go of what it has."""
        if self._actors.get(actor.lane) is actor:
            del self._actors[actor.lane]
        left = [*([actor.now] if actor.now is not None else []), *actor.waiting]
        for work in left:
            work.lose()

    # -- into the mailbox ---------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            before = self._clock.monotonic() - self._ack_after_s
            self._seats.give_away(before)
            for actor in list(self._actors.values()):
                if actor.now is not None and actor.since <= before and not actor.now.kept:
                    self._keep(actor)
                elif actor.waiting and actor.now is None and actor.since <= before:
                    self._keep(actor)  # mail, which is before it, takes long

    def _keep(self, actor: Actor) -> None:
        if actor.spill is None and not self._leaving(actor):
            actor.spill = self._spawn(self._spill(actor))

    async def _spill(self, actor: Actor) -> None:
        """Puts all letters of a lane into its mailbox, and acknowledges them."""
        now = [actor.now] if actor.now is not None and not actor.now.kept else []
        works = [*now, *actor.waiting]
        actor.waiting.clear()
        postbox, kept = self._runtime.postbox, 0
        try:
            for events in postbox.bundles([work.event for work in works]):
                await postbox.deposit(events)
                self._is_kept(actor, works[kept : kept + len(events)])
                kept += len(events)
        except (StoreError, Unavailable) as error:
            log.warning("letters of %s could not be put into its mailbox: %s", actor.lane, error)
        finally:
            actor.waiting.extendleft(reversed(works[max(kept, len(now)) :]))
            actor.spill = None

    def _is_kept(self, actor: Actor, works: list[Work]) -> None:
        """These lie in the mailbox now."""
        self.stats["kept"] += len(works)
        actor.mailed = True
        for work in works:
            if work.source.hand.get(work.delivery.letter.id) is work:
                work.ack()
            work.kept = True

    # -- other letters ------------------------------------------------------------------------

    async def _bury(self, delivery: Delivery, letter: Letter) -> None:
        """Keeps what cannot be read for the operator."""
        self.stats["dead"] += 1
        put = ("dead-update", letter.id, letter.body)
        await self._persist(
            lambda: self._runtime.store.commit(Commit(at_ms=self._clock.now_ms(), puts=(put,)))
        )
        delivery.ack()

    async def _end(self, delivery: Delivery, source: Source) -> None:
        """All letters of an old queue were handed out: it is drained once they are dealt with."""
        await source.done.wait()
        if source.lost:
            return
        await self._persist(lambda: self._ended(*source.name))
        delivery.ack()

    async def _persist(self, work: Callable[[], Awaitable[object]]) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await work()
            except (StoreError, Unavailable) as error:
                log.warning("the store cannot be written: %s; again in %g s", error, pause_s)
            else:
                return
            await self._clock.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    # -- a share that changes -----------------------------------------------------------------

    async def drained(self, slots: Collection[int], deadline_s: float) -> bool:
        """Waits until nothing of these slots is in hand; False if `deadline_s` was not enough."""
        return await until_left(
            lambda: [actor for actor in self._actors.values() if actor.slot in slots],
            lambda actor: self._actors.get(actor.lane) is actor,
            self._clock,
            deadline_s=deadline_s,
            look_s=DRAIN_LOOK_S,
        )

    def lose(self, slots: Collection[int]) -> None:
        """Lets go of what is in hand of these slots, as it is."""
        for actor in [a for a in self._actors.values() if a.slot in slots]:
            for task in (actor.task, actor.spill):
                if task is not None:
                    task.cancel()
            self._gone(actor)
            actor.waiting.clear()

    @property
    def busy(self) -> int:
        """Lanes in which something is worked on."""
        return len(self._actors)

    async def close(self) -> None:
        """Lets go of everything."""
        await cancelled([*self._tasks])

    def _spawn(self, work: Awaitable[None]) -> Task:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: Task) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a letter failed", exc_info=error)


__all__ = ["Actor", "Actors", "Source"]
