"""What one process of a simulated cluster sees of store, platform, broker and time: its own network, and
whether it lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from legato.abc import Clock, HttpClient, HttpRequest, Parsed, Platform, Store, Verdict
from legato.abc.queue import Delivery
from legato.app.share import Part
from legato.errors import StoreUnavailable
from legato.model.events import Address
from legato.model.messages import Outgoing, Send
from legato.model.records import (
    COMMITTED,
    SENT,
    Call,
    Commit,
    Committed,
    Conversation,
    Loaded,
    Mail,
    OutboxItem,
    Settled,
)
from legato.model.shards import slot_of

if TYPE_CHECKING:
    from tests.property.cluster_world import Worker

LATENCY_S = 0.002


class Life:
    """Whether a process lives, is stopped, or is dead."""

    def __init__(self) -> None:
        self.dead = False
        self.stops = 0
        self._awake = asyncio.Event()
        self._awake.set()

    @property
    def stopped(self) -> bool:
        return not self._awake.is_set()

    def stop(self) -> None:
        """SIGSTOP."""
        self.stops += 1
        self._awake.clear()

    def wake(self) -> None:
        """SIGCONT."""
        self._awake.set()

    async def awake(self) -> bool:
        """Waits until it is awake or dead: whether it lives."""
        while self.stopped and not self.dead:
            await self._awake.wait()
        return not self.dead

    async def go_on(self) -> None:
        """Returns if it lives, once it is awake."""
        if not await self.awake():
            raise asyncio.CancelledError


class OwnClock(Clock):
    """The time, as a process sees it that may be stopped."""

    def __init__(self, life: Life, inner: Clock) -> None:
        self._life = life
        self._inner = inner

    def now_ms(self) -> int:
        return self._inner.now_ms()

    def monotonic(self) -> float:
        return self._inner.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
        await self._life.go_on()


class OwnStore(Store):
    """The store over the network of one process. Calls take a moment, and may find it away."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.world = worker.world
        self.inner = worker.world.store

    async def _there(self) -> None:
        await self.worker.life.go_on()
        await asyncio.sleep(self.world.delay(LATENCY_S))
        await self.worker.life.go_on()
        if self.world.store_away:
            raise StoreUnavailable("the store is away")

    @property
    def mail_at_once(self) -> int:
        return self.inner.mail_at_once

    async def open(self) -> None:
        await self._there()

    async def close(self) -> None:
        """It outlives its processes."""

    async def commit(self, commit: Commit) -> Committed:
        await self._there()
        await self.worker.point("commit")
        if not self.world.fence and commit.key:
            commit = await self._forced(commit)
        done = await self.inner.commit(commit)
        if done.result == COMMITTED:
            for number, item in zip(done.ids, commit.outbox, strict=True):
                self.world.queued[number] = told(item.call, item.place)
        await self.worker.point("committed")
        await self._there_after()
        return done

    async def _there_after(self) -> None:
        await asyncio.sleep(self.world.delay(LATENCY_S))
        await self.worker.life.go_on()

    async def _forced(self, commit: Commit) -> Commit:
        loaded = await self.inner.load(commit.key)
        row = None if loaded is None else loaded.conversation
        expect = None if row is None else (row.epoch, row.head)
        if commit.row is None and row is None:
            return msgspec.structs.replace(commit, key="", update_id="")
        return msgspec.structs.replace(commit, expect=expect, update_id="")

    async def settle(self, settled: Sequence[Settled]) -> None:
        if self.worker.life.dead:  # whoever ends it waits for this, and must go on
            raise StoreUnavailable("dead")
        await self._there()
        await self.worker.point("settle")
        await self.inner.settle(settled)
        for one in settled:
            if one.state == SENT:
                self.world.marked[self.world.queued.get(one.id, "")] += 1
        await self._there_after()

    async def load(self, key: str) -> Loaded | None:
        await self._there()
        return await self.inner.load(key)

    async def due(self, *asked: Any, **more: Any) -> list[Conversation]:
        await self._there()
        return await self.inner.due(*asked, **more)

    async def outbox(self, **asked: Any) -> list[OutboxItem]:
        await self._there()
        return await self.inner.outbox(**asked)

    async def mail(self, **asked: Any) -> list[Mail]:
        await self._there()
        return await self.inner.mail(**asked)

    async def find(self, **asked: Any) -> list[Conversation]:
        await self._there()
        return await self.inner.find(**asked)

    async def get(self, space: str, name: str) -> bytes | None:
        await self._there()
        return await self.inner.get(space, name)

    async def hold(self, holder: str, names: Collection[str], ttl_s: float) -> frozenset[str]:
        await self._there()
        held = await self.inner.hold(holder, names, ttl_s)
        await self._there_after()
        return held

    async def release(self, holder: str, names: Collection[str]) -> None:
        await self._there()
        await self.inner.release(holder, names)

    async def holders(self, prefix: str) -> Any:
        await self._there()
        return await self.inner.holders(prefix)


class OwnPlatform(Platform):
    """The platform over the network of one process."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.inner = worker.world.platform
        self.name, self.bot = self.inner.name, self.inner.bot
        self.capabilities, self.limits = self.inner.capabilities, self.inner.limits
        self.secrets = ()

    def verify(self, request: HttpRequest) -> None:
        self.inner.verify(request)

    def parse(self, body: bytes) -> Parsed:
        return self.inner.parse(body)

    def render(self, out: Outgoing, place: Address) -> list[Call]:
        return self.inner.render(out, place)

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        life, world = self.worker.life, self.worker.world
        stops, stopped = life.stops, life.stopped
        await asyncio.sleep(world.delay(world.sending_s))
        await life.go_on()
        lost = not self.worker.runtime.share.may_send(slot_of(place))
        if stopped or life.stops != stops or lost:
            world.excused[told(call, place)] += 1  # it had been asked for before that
        verdict = await self.inner.send(call, place, http)
        if verdict.outcome == "sent":
            world.say(told(call, place), self.worker)
        await self.worker.point("sent")
        await asyncio.sleep(world.delay(world.sending_s))
        await life.go_on()
        return verdict


class OwnQueue:
    """Deliveries wait while the process is stopped."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._inner = worker.queue

    async def consume(self, generation: int, shard: int, take: Any) -> Any:
        life = self._worker.life
        waiting: list[Delivery] = []

        async def later() -> None:
            if await life.awake():
                for delivery in waiting:
                    take(delivery)
                waiting.clear()

        def taken(delivery: Delivery) -> None:
            if delivery.letter.kind == "event" and not self._worker.world.commits_first:
                delivery.ack()
            if not life.stopped:
                take(delivery)
                return
            waiting.append(delivery)
            if len(waiting) == 1:
                _ = self._worker.world.spawn(later())

        return await self._inner.consume(generation, shard, taken)


class Careless(Part):
    """Sabotage: whatever was ours once may be sent for ever."""

    def may_send(self, slot: int) -> bool:
        return True

    def owns(self, slot: int) -> bool:
        return True

    def good(self) -> bool:
        return True


def told(call: Call, place: Address) -> str:
    """What a call shows, and to whom."""
    out = msgspec.convert(call.params["out"], type=Outgoing)
    text = out.message.text if isinstance(out, Send) else call.method
    return f"{place.chat}: {text}"
