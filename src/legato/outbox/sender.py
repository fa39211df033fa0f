"""Makes a try with a lane's head, and does what follows from the verdict.

Invariants:
- An item leaves memory only once its fate (sent, dead, unknown) is handed to the settler, and the
  settler forgets it only once the store has it. So a crash at any line leaves the item either in
  the store, to be sent (again), or settled.
- One send per lane at a time, and no lane holds up another (see `dispatch`).
- What is known here to be sent is never sent again by this process, however the store fares.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from legato.abc import Clock, HttpClient, Platform, Store, Verdict
from legato.abc.observer import NOBODY, Observer
from legato.abc.redaction import ERROR_CHARS, redacted
from legato.errors import StoreError
from legato.model.events import Address
from legato.model.records import DEAD, QUEUED, SENDING, SENT, Call, Commit, OutboxItem, Settled
from legato.outbox.backoff import Backoff
from legato.outbox.bots import Bot
from legato.outbox.dispatch import Dispatcher
from legato.outbox.lanes import Asked, Lane
from legato.outbox.notice import Notice
from legato.outbox.ours import Ours, abandon, claimed, lost
from legato.outbox.pacing import Pacing, Window
from legato.outbox.settings import RelaySettings, RelayStats
from legato.outbox.settler import Settler
from legato.outbox.targets import filled, readdressed, without_target
from legato.outbox.verdicts import Fate, careful, judge

log: logging.Logger = logging.getLogger("legato.relay")

KEPT = 10_000
"""Moved chats and told conversations remembered; beyond it the oldest are forgotten."""

OnGone = Callable[[OutboxItem, Verdict], Awaitable[None]]
Lookup = Callable[[Address], Platform | None]


class Sender:
    """Sends what stands in lanes. See the module's invariants.

    Args:
        store: Where items are settled, and sent messages remembered.
        lookup: From a place to the adapter of its bot, None if it is not set up.
        http: What the adapters send with.
        clock: Time.
        on_gone: See `Relay`.
        on_idle: Called whenever there may be nothing left to do.
        settings: Knobs.
    """

    __slots__ = (
        "_backoff",
        "_bots",
        "_clock",
        "_http",
        "_lookup",
        "_moved",
        "_notice",
        "_on_gone",
        "_on_idle",
        "_settings",
        "_store",
        "_told",
        "dispatch",
        "observer",
        "ours",
        "pacing",
        "settler",
        "stats",
        "telling",
    )

    def __init__(
        self,
        store: Store,
        lookup: Lookup,
        http: HttpClient,
        clock: Clock,
        *,
        on_gone: OnGone,
        on_idle: Callable[[], None],
        settings: RelaySettings,
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._http = http
        self._clock = clock
        self._on_gone = on_gone
        self._on_idle = on_idle
        self._settings = settings
        seed = int(clock.monotonic() * 1e6)
        self._backoff = Backoff(settings.backoff_base_s, settings.backoff_cap_s, seed)
        self.pacing: Pacing = Pacing(store, clock)
        self._bots: dict[tuple[str, str], Bot] = {}
        self._moved: dict[str, str] = {}
        self._told: dict[tuple[str, int], None] = {}
        self._notice: Notice = Notice(clock)
        self.stats: RelayStats = RelayStats()
        self.observer: Observer = NOBODY
        self.ours: Ours | None = None  # everything is
        self.settler: Settler = Settler(store, clock, self._backoff, settings.recent)
        self.dispatch: Dispatcher = Dispatcher(
            clock, self._deliver, self.settler, on_idle=on_idle, concurrency=settings.concurrency
        )
        self.telling: set[int] = set()
        """Dead items that are settled once `on_gone` returned."""

    # -- one try -----------------------------------------------------------------------------

    async def _deliver(self, lane: Lane, entry: OutboxItem | Asked) -> None:
        """One try with the lane's head: afterwards it is popped, or the lane is parked, or (its
        chat moved) it is to be tried again at once.
        """
        item = entry if isinstance(entry, OutboxItem) else entry.item
        # It is another process's now, or who asked is gone.
        if lane.dropped or (isinstance(entry, Asked) and entry.answer.done()):
            lane.pop()
            return
        bot = self.bot(item.place)
        if bot is None:
            reason = f"no {item.place.platform} bot {item.place.bot} is set up; retry once it is"
            self._finish(lane, Fate(DEAD, error=reason), Verdict("refused", error=reason))
            return
        call = item.call
        if (item.not_before_ms or call.expires_ms) and not self._timely(lane, item):
            return
        if call.target:
            aimed = await self._aimed(lane, item, call)
            if aimed is None:
                return
            call = aimed
        place = item.place
        window = bot.platform.limit(call, place)
        if not await self._admitted(bot, lane, item, window):
            return
        if self._moved and (chat := self._moved.get(place.lane)):
            call = readdressed(call, place.chat, chat)
            place = replace(place, chat=chat)
        if not await self._safe_to_send(lane, item, call):
            return
        began = self.observer.begin_send(item)
        lane.sending = True
        verdict = await bot.send(call, place, self._http)
        lane.sending = False
        self.observer.end_send(began, item, verdict)
        if window is not None:
            self.pacing.landed(item.place.lane)
        if verdict.outcome == "sent":
            self._sent(lane, verdict)
        else:
            self._failed(bot, lane, item, verdict)

    async def _safe_to_send(self, lane: Lane, item: OutboxItem, call: Call) -> bool:
        """Returns once a crash in the send would leave no more in doubt than that one message; False
        if it is not ours to send (any more).
        """
        if not await claimed(self.ours, lane):
            return False
        if item.id and self.settler.unsettled(lane.name):
            self.dispatch.settle_soon()
            await self.settler.settled(lane.name)
        if item.id and careful(item, call):
            await self.dispatch.durably(Settled(item.id, SENDING, item.attempts))
        return not lost(self.ours, lane)

    async def _admitted(
        self, bot: Bot, lane: Lane, item: OutboxItem, window: Window | None
    ) -> bool:
        """Whether the limits let the head through; if not, the lane is parked."""
        limits, place = bot.limits, item.place
        if not limits.none and not self.dispatch.admit(limits, bot.pace(place), lane, item):
            return False
        if window is None:
            return True
        ready_at = await self.pacing.admit(place.lane, window)
        if ready_at:
            self.dispatch.park(lane, ready_at)
        return not ready_at

    def _timely(self, lane: Lane, item: OutboxItem) -> bool:
        """Whether the head may be sent now; if not, it is parked or dropped."""
        now_ms = self._clock.now_ms()
        expires_ms = item.call.expires_ms
        if 0 < expires_ms <= now_ms:
            self.stats.expired += 1
            state = SENT if item.call.idempotent else DEAD  # a late typing sign is nobody's worry
            error = "expired before it could be sent"
            self._finish(lane, Fate(state, error=error), Verdict("refused", error=error))
            return False
        wait_s = (item.not_before_ms - now_ms) / 1000
        if wait_s <= 0:
            return True
        lane.queue[0] = replace(item, not_before_ms=0)
        # a clock that was wrong when this was written must not silence a chat for years
        wait_s = min(wait_s, self._settings.give_up_after_s)
        self.dispatch.park(lane, self._clock.monotonic() + wait_s)
        return False

    async def _aimed(self, lane: Lane, item: OutboxItem, call: Call) -> Call | None:
        """The call with its target's message id; None if the head was parked or given up."""
        target = call.target
        if not target.startswith("ref:"):
            return filled(call, target)
        try:
            message_id = await self.settler.message_id(f"{item.key}|{item.epoch}|{target}")
        except StoreError as failure:
            log.warning("the store did not tell a message's id: %s", failure)
            self.dispatch.park(lane, self._clock.monotonic() + self._backoff.after(2))
            return None
        if message_id:
            return filled(call, message_id)
        if not call.idempotent:  # a message of its own, that answers one which was never sent
            return without_target(call)
        error = f"{call.method}: the message it is about ({target}) was never sent"
        self._finish(lane, Fate(DEAD, error=error), Verdict("refused", error=error))
        return None

    # -- after a try --------------------------------------------------------------------------

    def _sent(self, lane: Lane, verdict: Verdict) -> None:
        self.stats.sent += 1
        entry = lane.queue[0]
        if not isinstance(entry, OutboxItem):
            entry.tell(verdict)
            lane.pop()
            return
        marked = "" if entry.call.idempotent else lane.name
        if entry.ref and verdict.message_id:
            self.settler.put(
                Settled(
                    entry.id,
                    SENT,
                    key=entry.key,
                    epoch=entry.epoch,
                    ref=entry.ref,
                    message_id=verdict.message_id,
                ),
                marked,
            )
        else:
            self.settler.put(Settled(entry.id, SENT), marked)
        lane.pop()

    def _failed(self, bot: Bot, lane: Lane, item: OutboxItem, verdict: Verdict) -> None:
        if (
            lane.dropped
        ):  # whoever owned it since may have sent it: it is asked for anew, with all behind it
            abandon(lane, all_=True)
            return
        verdict = replace(verdict, error=redacted(verdict.error, bot.platform.secrets, ERROR_CHARS))
        settings = self._settings
        patience_s = settings.give_up_after_s if item.id else settings.call_give_up_s
        now_ms = self._clock.now_ms()
        fate = judge(
            item,
            verdict,
            now_ms=now_ms,
            give_up_ms=(item.created_ms or now_ms) + int(patience_s * 1000),
            moves=lane.moves,
            wait_s=self._backoff.after(item.attempts + 1),
        )
        if verdict.retry_after_s:
            self._limited(bot, item.place, verdict)
        if fate.moved:
            lane.moves += 1
            self.stats.retried += 1
            self._follow(item.place.lane, verdict.moved_to)
        elif fate.state == QUEUED:
            self._notice.again(item, verdict)
            self._again(lane, item, fate, now_ms)
        elif verdict.outcome == "gone":
            self._gone(lane, item, fate, verdict)
        else:
            if fate.state == DEAD:
                log.warning("%s to %s is dead: %s", item.call.method, item.lane, fate.error)
            self._finish(lane, fate, verdict)

    def _limited(self, bot: Bot, place: Address, verdict: Verdict) -> None:
        self.stats.limited_429 += 1
        now = self._clock.monotonic()
        # an absurd time must not silence a chat for ever: it is asked again after a day
        until = now + min(verdict.retry_after_s, self._settings.give_up_after_s)
        if verdict.whole_bot:
            bot.limits.block(until)
        else:
            bot.limits.block_chat(place.chat, until, bot.pace(place), now)

    def _again(self, lane: Lane, item: OutboxItem, fate: Fate, now_ms: int) -> None:
        """Parks the lane; its head is tried again later."""
        self.stats.retried += 1
        item = replace(item, attempts=item.attempts + 1, error=fate.error)
        entry = lane.queue[0]
        if isinstance(entry, OutboxItem):
            lane.queue[0] = item
            # an at_most_once item stands as "sending" in the store: it certainly was not sent
            if fate.wait_s > self._settings.persist_over_s or careful(item, item.call):
                until_ms = now_ms + int(fate.wait_s * 1000)
                self.settler.put(Settled(item.id, QUEUED, item.attempts, until_ms, fate.error))
                self.dispatch.settle_soon()
        else:
            entry.item = item
        self.dispatch.park(lane, self._clock.monotonic() + fate.wait_s)

    def _finish(self, lane: Lane, fate: Fate, verdict: Verdict) -> None:
        """The head is done with, without having been sent."""
        entry = lane.queue[0]
        if isinstance(entry, OutboxItem):
            self.settler.put(self._buried(entry, fate))
        else:
            self._count(fate)
            outcome = verdict.outcome if verdict.outcome in ("unknown", "gone") else "refused"
            entry.tell(replace(verdict, outcome=outcome, error=fate.error))
        lane.pop()

    def _buried(self, item: OutboxItem, fate: Fate) -> Settled:
        self._count(fate)
        return Settled(item.id, fate.state, item.attempts + 1, error=fate.error)

    def _count(self, fate: Fate) -> None:
        if fate.state == DEAD:
            self.stats.dead += 1
        elif fate.state != SENT:
            self.stats.unknown += 1

    def _gone(self, lane: Lane, item: OutboxItem, fate: Fate, verdict: Verdict) -> None:
        """Nothing of this conversation can be delivered any more: says so, then settles."""
        if not item.key:
            self._finish(lane, fate, verdict)
            return
        dead: list[Settled] = []
        kept: list[OutboxItem | Asked] = []
        for entry in lane.queue:
            if isinstance(entry, OutboxItem):
                if (entry.key, entry.epoch) == (item.key, item.epoch):
                    dead.append(self._buried(entry, fate))
                else:
                    kept.append(entry)
            elif entry.item.key == item.key:
                self._count(fate)
                entry.tell(replace(verdict, error=fate.error))
            else:
                kept.append(entry)
        lane.replace(kept)
        self.telling.update(settled.id for settled in dead)
        self.dispatch.spawn(self._tell_gone(item, verdict, dead))

    async def _tell_gone(self, item: OutboxItem, verdict: Verdict, dead: list[Settled]) -> None:
        told = (item.key, item.epoch)
        failures = 0
        while told not in self._told:
            try:
                await self._on_gone(item, verdict)
            except StoreError as error:
                failures += 1
                log.warning("%s is gone, which the store does not take: %s", item.key, error)
                await self._clock.sleep(self._backoff.after(failures))
                continue
            except Exception:
                log.exception("on_gone failed for %s", item.key)
            self.stats.gone += 1
            self._told[told] = None
            if len(self._told) > KEPT:
                del self._told[next(iter(self._told))]
        for settled in dead:
            self.settler.put(settled)
            self.telling.discard(settled.id)
        await self.settler.drain()
        self._on_idle()

    def _follow(self, lane: str, chat: str) -> None:
        """From now on what is for `lane` goes to `chat`."""
        self._moved[lane] = chat
        if len(self._moved) > KEPT:
            del self._moved[next(iter(self._moved))]
        self.dispatch.spawn(self._remember_move(lane, chat))

    async def _remember_move(self, lane: str, chat: str) -> None:
        puts = (("alias", lane, chat.encode()),)
        try:
            await self._store.commit(Commit(at_ms=self._clock.now_ms(), puts=puts))
        except StoreError as error:  # the platform tells it again when it is asked again
            log.warning("the store did not take that %s moved: %s", lane, error)

    def bot(self, place: Address) -> Bot | None:
        """The bot that sends there, None if it is not set up."""
        name = (place.platform, place.bot)
        bot = self._bots.get(name)
        if bot is None:
            platform = self._lookup(place)
            if platform is not None:
                bot = self._bots[name] = Bot(platform)
        return bot
