"""Joins the parts: updates in, Turns in order, timers, deliveries; start, drain, stop.

    receive(platform, body) -> parse -> acks -> lane -> route -> Turn -> Store.commit -> Relay

Whoever calls `receive` may acknowledge the update once it returns: its Turns are committed, or
the update lies in its conversation's mailbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any

from legato.abc import Clock, HttpClient, Platform, Store, Verdict
from legato.app.adapters import Adapters
from legato.app.alarm import ALL, Alarm
from legato.app.app import App
from legato.app.dispatch import Dispatcher
from legato.app.files import download
from legato.app.knobs import KEEP_IDS_MS, PURGE_EVERY_S, RESCAN_PAGES, RuntimeSettings
from legato.app.lanes import Lanes
from legato.app.leftovers import Leftovers
from legato.app.outside import Outside, nonce
from legato.app.patience import unfinished
from legato.app.poison import Trials
from legato.app.postbox import Postbox
from legato.app.received import Received
from legato.app.router import Router
from legato.app.share import WHOLE, Share
from legato.app.tasks import Task, Tasks, cancelled
from legato.engine.services import Services
from legato.engine.turns import TAKEN, Outcome, Turns
from legato.engine.writer import ReplySlot
from legato.errors import Malformed, StoreCorrupt, StoreError, Unavailable
from legato.model.events import Address, AnyEvent
from legato.model.ids import place_of
from legato.model.records import Commit, Conversation, OutboxItem
from legato.model.shards import slot_of_key
from legato.outbox.relay import Relay

log: logging.Logger = logging.getLogger("legato.runtime")


class Runtime:
    """One running App. All methods belong to one event loop.

    Args:
        app: The bot.
        store, clock, http: The parts; the runtime opens and closes the store.
        platforms: One adapter per bot.
        settings: Knobs.
        share: Which part of the bot's chats is worked on here.
    """

    def __init__(
        self,
        app: App,
        *,
        store: Store,
        platforms: Sequence[Platform],
        clock: Clock,
        http: HttpClient,
        settings: RuntimeSettings | None = None,
        share: Share = WHOLE,
    ) -> None:
        app.finish()
        self.app: App = app
        self.store: Store = store
        self.clock: Clock = clock
        self.http: HttpClient = http
        self.settings: RuntimeSettings = settings or RuntimeSettings()
        self.adapters: Adapters = Adapters(platforms, app.triggers.offered())
        self.share: Share = share
        self.tasks: Tasks = Tasks()
        self.relay: Relay = self._relay()
        services = self._services()
        self.services: Services = services
        self.turns: Turns = Turns(services, self.settings.cache)
        self.router: Router = Router(app.triggers, app.dialogs)
        self.dispatcher: Dispatcher = Dispatcher(
            self.router, self.turns, store, clock, services.observer
        )
        if share is not WHOLE:
            self.turns.ours = share.owns_key
        self.lanes: Lanes = Lanes()
        self.trials: Trials = Trials(store, clock, self.router)
        self.postbox: Postbox = Postbox(store, clock, self.dispatcher, self.lanes, self.tasks)
        self._outside = Outside(store, clock, self.turns, share, self.handle)
        self.stats: dict[str, int] = {"updates": 0, "ignored": 0, "malformed": 0, "duplicates": 0}
        self._loops: list[Task] = []
        self._alarm = Alarm(
            store,
            clock,
            lambda row: self._runs(place_of(row.key)),
            lambda row: self._spawn(self._wake(row), row.key),
            self.settings.ack_after_s,
            share=share,
        )
        self.leftovers: Leftovers = Leftovers(
            store,
            clock,
            self.dispatcher,
            self.lanes,
            ours=self._runs,
            wake=self._wake,
            spawn=self._spawn,
            in_hand=self.postbox.in_hand,
            trials=self.trials,
        )
        self._draining = False

    def _relay(self) -> Relay:
        relay = Relay(
            self.store,
            self.adapters,
            self.http,
            self.clock,
            on_gone=self._gone,
            settings=self.settings.relay,
            ours=None if self.share is WHOLE else self.share,
        )
        relay.watch(self.settings.observer)
        return relay

    def _services(self) -> Services:
        return Services(
            store=self.store,
            relay=self.relay,
            clock=self.clock,
            dialogs=self.app.dialogs,
            platform=self.platform,
            apology=self.app.apology,
            step_timeout_s=self.settings.limit_s(self.app.step_timeout_s),
            observer=self.settings.observer,
            term=self.settings.term,
            build=self.settings.build,
            elsewhere=self.settings.elsewhere,
            download=lambda place, file, path: download(
                self.platform(place), self.http, place, file, path
            ),
        )

    def platform(self, place: Address) -> Platform:
        """The adapter of a place.

        Raises:
            KeyError: This process does not run that bot.
        """
        found = self.adapters(place)
        if found is None:
            raise KeyError((place.platform, place.bot))
        return found

    @property
    def platforms(self) -> dict[tuple[str, str], Platform]:
        """The adapters by (platform, bot)."""
        return self.adapters.by_bot

    # -- life -------------------------------------------------------------------------------------

    async def start(self, *, loops: bool = True) -> None:
        """Opens the store, finishes what an earlier process left, and starts the timers.

        Args:
            loops: False for shells that call `tick` themselves (functions, tests).
        """
        await self.store.open()
        self.app.attach(self)
        await self.relay.recover()
        if loops:
            await self.resume(self.settings.ack_after_s)
            self._loops = [
                asyncio.create_task(self._every(self.settings.tick_s, self.tick)),
                asyncio.create_task(self._every(self.settings.rescan_s, self.rescan)),
                asyncio.create_task(self._every(PURGE_EVERY_S, self.purge)),
            ]

    async def resume(self, patience_s: float | None = None) -> None:
        """Finishes interrupted Turns and applies the mail of an earlier process; what takes longer
        than `patience_s` goes on in the background.
        """
        await self.leftovers.take_up(patience_s, self.share.slots)

    async def stop(self, deadline_s: float = 10.0) -> int:
        """Ends its Turns, delivers what it can; returns how many items the store has left. Idempotent."""
        self._draining = True
        await cancelled(self._loops)
        await self.tasks.wait(deadline_s)
        left = await self.relay.flush(deadline_s)
        await self.tasks.close()
        await self.trials.close()
        await self.relay.close()
        await self.share.give_up()
        self.turns.close()
        await self.store.close()
        self.app.detach(self)
        return left

    async def abandon(self) -> None:
        """Stops as a crash would, without finishing anything; the store stays open."""
        await cancelled([*self._loops, *self.tasks.running])
        await self.relay.close()
        self.turns.close()
        self.app.detach(self)

    @property
    def busy(self) -> int:
        """Updates being worked on."""
        return len(self.tasks.running)

    # -- a share that changes -----------------------------------------------------------------------

    async def gain(self, slots: Collection[int]) -> None:
        """Takes over what other processes left in these slots, which the share has gained. What waits
        in their mailboxes has its place in the lanes when this returns, before any new letter.

        Raises:
            StoreError: The store cannot be read; harmless to be called again.
        """
        self.turns.cache.drop(lambda key: slot_of_key(key) in slots)
        await self.relay.recover(slots=slots)
        await self.leftovers.take_up(self.settings.ack_after_s, slots)

    def lose(self, slots: Collection[int]) -> None:
        """Lets go of these slots, which the share has lost: nothing of them is finished or sent."""
        self.tasks.cancel(slots)
        self.relay.drop(slots)
        self.turns.cache.drop(lambda key: slot_of_key(key) in slots)

    # -- in -----------------------------------------------------------------------------------------

    async def receive(
        self, platform: Platform, body: bytes, *, may_reply: bool = False
    ) -> Received:
        """Takes one raw update. When this returns, it may be acknowledged.

        Raises:
            Unavailable: Nothing durable was made of it; it must be sent again.
        """
        if self._draining:
            raise Unavailable("shutting down", retry_after_s=2)
        self.stats["updates"] += 1
        try:
            parsed = platform.parse(body)
        except Malformed as error:
            await self._dead_letter(platform, body, error)
            return Received()
        await self._remember(platform)
        events = parsed.events
        if parsed.acks:
            place = events[0].place if events else Address(platform.name, platform.bot, "")
            for ack in parsed.acks:
                self.relay.ack(ack, place)
        if not events:
            self.stats["ignored"] += 1
            return Received(parsed.reply, reply_type=parsed.reply_type)
        slot = None
        if may_reply and self.settings.webhook_reply and len(events) == 1:
            slot = ReplySlot(last=self.settings.reply_last)
        try:
            outcomes = await self._all(events, slot)
        except BaseException:
            if slot is not None:
                slot.over(self.relay.release)
            raise
        lane = events[0].place.lane
        release = None if slot is None else slot.after(self.relay.release)
        again = any(outcome.duplicate for outcome in outcomes)
        if parsed.reply is not None or slot is None or not outcomes:
            return Received(parsed.reply, release, lane, parsed.reply_type, again)
        return Received(outcomes[0].reply, release, lane, duplicate=again)

    async def _all(self, events: Sequence[Any], slot: ReplySlot | None) -> list[Outcome]:
        """Hands all events to their lanes, in order; waits for each, but not for slow steps."""
        tasks = [self._spawn(self.handle(event, slot=slot)) for event in events]
        slow = await unfinished(tasks, self.settings.ack_after_s)
        if slow and slot is not None and not slot.close():
            # The answer is in the very commit that is under way: it is not lost now.
            slow = (await asyncio.wait(tasks))[1]
        try:
            if slow:
                await self.postbox.take(
                    [(e, task) for e, task in zip(events, tasks, strict=True) if task in slow]
                )
            return [task.result() for task in tasks if task not in slow]
        except StoreError as error:
            raise Unavailable(str(error)) from error

    def _spawn(self, work: Any, key: str = "") -> Task:
        """Runs work, which is done for a conversation or a lane if one is named."""
        slotted = key and self.share is not WHOLE
        task = self.tasks.spawn(work, slot_of_key(key) if slotted else -1)
        if key:
            task.set_name(key)
        return task

    async def handle(
        self, event: AnyEvent, *, slot: ReplySlot | None = None, suspect: bool = False
    ) -> Outcome:
        """Applies one event, after all earlier ones of its lane, or puts aside what is too suspect."""
        work = partial(self.dispatcher.dispatch, event, slot=slot)
        tried = partial(self.trials.event, event, work, suspect=suspect)
        outcome = await self.lanes.run(self.router.lane(event), tried) or TAKEN
        if outcome.duplicate:
            self.stats["duplicates"] += 1
        elif not outcome.taken:
            self.stats["ignored"] += 1
        return outcome

    # -- from outside ---------------------------------------------------------------------------------

    async def signal(self, key: str, name: str, value: Any, *, id: str = "") -> bool:
        """See `App.signal`."""
        return await self._outside.signal(key, name, value, id=id)

    async def cancel(self, key: str, reason: str = "operator") -> bool:
        """Cancels a conversation (also a failed or held one). False if there is none."""
        return await self._outside.cancel(key, reason)

    async def _gone(self, item: OutboxItem, verdict: Verdict) -> None:
        """The relay found out that a user is gone."""
        if item.key:
            self._spawn(self._outside.gone(item), item.key).set_name(f"{item.key} (user gone)")

    async def _dead_letter(self, platform: Platform, body: bytes, error: Malformed) -> None:
        """Authentic but unreadable: kept for the operator and acknowledged, or the platform
        would send it again for a day.
        """
        self.stats["malformed"] += 1
        log.error("%s sent an unreadable update (kept as dead): %s", platform.name, error)
        name = f"{platform.name}:{platform.bot}:{self.clock.now_ms()}-{nonce()}"
        try:
            put = ("dead-update", name, body[:65536])
            await self.store.commit(Commit(at_ms=self.clock.now_ms(), puts=(put,)))
        except StoreError as failure:
            raise Unavailable(str(failure)) from failure

    # -- time ---------------------------------------------------------------------------------------

    async def tick(self, most: int = ALL, **limits: Any) -> int:
        """Fires what is due; returns how many conversations were woken. See `Alarm.ring`."""
        return await self._alarm.ring(most, **limits)

    def _runs(self, place: Address) -> bool:
        """Whether this process runs the bot of a place; a store outlives the choice of platforms."""
        return self.adapters(place) is not None

    async def _wake(self, row: Conversation) -> None:
        key = row.key
        if not self._runs(place_of(key)):
            return
        lane = self.router.lane_of(key)
        try:
            await self.lanes.run(
                lane, lambda: self.trials.turn(row, lambda: self.dispatcher.wake(key, row))
            )
        except StoreCorrupt:
            raise  # this row is damaged: it is left alone for a while
        except (StoreError, Unavailable) as error:
            log.warning("conversation %s could not be woken: %s", key, error)

    async def rescan(self) -> None:
        """Takes over deliveries that an operator queued again, and mail that somebody put there."""
        await self.relay.recover(pages=RESCAN_PAGES)
        await self.leftovers.look(self.settings.ack_after_s, self.share.slots)
        for platform in self.platforms.values():
            await self._remember(platform)

    async def _remember(self, platform: Platform) -> None:
        """Lets a platform keep what it has learned of chats; if it cannot, it does so the next time."""
        try:
            await platform.remember(self.store)
        except StoreError as error:
            log.debug("%s could not keep what it learned: %s", platform.name, error)

    async def purge(self) -> None:
        """Forgets update ids that no platform repeats any more."""
        now = self.clock.now_ms()
        await self.store.commit(Commit(at_ms=now, purge_ms=now - KEEP_IDS_MS))

    async def _every(self, seconds: float, work: Callable[[], Awaitable[Any]]) -> None:
        while True:
            await self.clock.sleep(seconds)
            try:
                await work()
            except StoreError as error:
                log.warning("%s: %s", getattr(work, "__name__", "a timer"), error)
            except Exception:
                log.exception("%s failed", getattr(work, "__name__", "a timer"))

    async def drained(self) -> None:
        """Waits until no update is being worked on."""
        await self.tasks.drained()


__all__ = ["TAKEN", "Received", "Runtime", "RuntimeSettings"]
