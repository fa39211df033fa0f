"""A letter that a bug of ours, or a bot that is not set up here, keeps from being applied."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from legato import App, Chat
from legato.abc import Delivery, Letter
from legato.app.actors import Actors, Source
from legato.app.runtime import Runtime
from legato.app.share import Part
from legato.engine import journal
from legato.model.events import Address, MessageReceived, User
from legato.model.records import FAILED, Commit
from legato.model.shards import SLOTS, slot_of
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork

app = App("bugs", apology="", help=False)


@app.command("start")
async def start(chat: Chat) -> None:
    await chat.say(f"Hello {await chat.ask('Name?')}")


class Counting(Delivery):
    __slots__ = ("acks",)

    def __init__(self, letter: Letter) -> None:
        self.letter, self.redelivered, self.acks = letter, False, 0

    def ack(self) -> None:
        self.acks += 1


class Desk:
    """A worker that has all slots, and one queue."""

    def __init__(self) -> None:
        self.clock, self.store, self.platform = FakeClock(), MemoryStore(), ScriptedPlatform()
        share = Part(self.clock)
        share.gain(range(SLOTS))
        share.last(1e6, self.clock.monotonic(), self.clock.now_ms())
        self.runtime = Runtime(
            app,
            store=self.store,
            platforms=[self.platform],
            clock=self.clock,
            http=NoNetwork(),
            share=share,
        )
        self.actors = Actors(self.runtime, self.ended)
        self.source = Source(1, 0)
        self.count = 0

    async def ended(self, generation: int, shard: int) -> None:
        raise AssertionError("no queue ends here")

    def take(self, text: str, bot: str = "") -> Counting:
        self.count += 1
        place = Address(self.platform.name, bot or self.platform.bot, "1", "1")
        word = text[1:] if text.startswith("/") else ""
        event = MessageReceived(
            id=f"u{self.count}", place=place, user=User("1"), text=text, command=word, private=True
        )
        delivery = Counting(Letter(event.id, slot_of(place), journal.encode(event)))
        self.actors.take(delivery, self.source)
        return delivery

    async def until(self, true: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(10):
            while not await true():
                await asyncio.sleep(0)
                self.clock.advance(0.05)

    async def acked(self, *deliveries: Counting) -> None:
        async def all_of_them() -> bool:
            return all(delivery.acks for delivery in deliveries)

        await self.until(all_of_them)

    async def rests(self) -> bool:
        return not self.actors.busy

    @property
    def said(self) -> list[str]:
        return [shown.message.text for shown in self.platform.shown]


@asynccontextmanager
async def working() -> AsyncIterator[Desk]:
    desk = Desk()
    await desk.runtime.start(loops=False)
    try:
        yield desk
    finally:
        await desk.actors.close()
        await desk.runtime.stop()


async def test_what_a_bug_keeps_from_being_applied_is_put_aside_and_what_follows_goes_on(
    monkeypatch,
) -> None:
    async with working() as desk:
        await desk.acked(desk.take("/start"))
        dispatch = desk.runtime.dispatcher.dispatch

        async def buggy(event, **options):
            if getattr(event, "text", "") == "boom":
                raise ValueError("a bug of ours")
            return await dispatch(event, **options)

        monkeypatch.setattr(desk.runtime.dispatcher, "dispatch", buggy)
        await desk.acked(desk.take("boom"), desk.take("Ann"))

        async def parked() -> bool:
            return bool(await desk.store.find(status=FAILED))

        await desk.until(parked)
        await desk.until(desk.rests)
        (row,) = await desk.store.find()
        assert "a bug of ours" in journal.decode_state(row.state).error
        kept = [
            getattr(journal.decode_event(m.payload), "text", "") for m in await desk.store.mail()
        ]
        assert kept == ["boom", "Ann"]
        assert not desk.source.lost


async def test_a_letter_for_a_conversation_that_cannot_be_read_is_kept_as_dead() -> None:
    async with working() as desk:
        await desk.acked(desk.take("/start"))
        (row,) = await desk.store.find()
        broken = replace(row, state=b"{", head=row.head + 1)
        await desk.store.commit(
            Commit(at_ms=0, key=row.key, expect=(row.epoch, row.head), row=broken)
        )
        desk.runtime.turns.cache.clear()
        await desk.acked(desk.take("Ann"))

        async def kept() -> bool:
            return await desk.store.get("dead-update", "u2") is not None

        await desk.until(kept)
        await desk.until(desk.rests)
        assert await desk.store.mail() == []
        assert not desk.source.lost


async def test_a_letter_for_a_bot_that_is_not_set_up_here_waits_in_the_mailbox() -> None:
    async with working() as desk:
        delivery = desk.take("/start", bot="newer")
        await desk.acked(delivery)
        (mail,) = await desk.store.mail()
        assert mail.id == delivery.letter.id
        assert desk.said == []
