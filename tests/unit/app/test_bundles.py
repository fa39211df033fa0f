"""A store that takes only so much at once: a long request, or a full lane, is kept in several commits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from legato import App, Chat
from legato.abc import Delivery, Letter, Parsed
from legato.app.actors import Actors, Source
from legato.app.postbox import BYTES_AT_ONCE, bundled
from legato.app.share import Part
from legato.engine import journal
from legato.errors import StoreTooMuch, StoreUnavailable, Unavailable
from legato.model.events import AnyEvent, MessageReceived
from legato.model.records import Commit, Committed
from legato.model.shards import SLOTS, slot_of
from legato.stores.memory import MemoryStore
from legato.testing.platform import ScriptedPlatform
from tests.unit.app.kit import World, message, place
from tests.unit.app.test_runtime_mail import SOON

AT_ONCE = 25
MANY = 2 * AT_ONCE + 3
_events = msgspec.json.Decoder(list[AnyEvent])


class Narrow(MemoryStore):
    """Takes 100 items at once, of which a letter is two, as DynamoDB does.

    Attributes:
        plan: What becomes of the coming deposits: "" = kept, "no" = refused, "stuck" = never ends.
        stuck: Set when one is.
    """

    def __init__(self, *plan: str) -> None:
        super().__init__()
        self.plan = list(plan)
        self.stuck = asyncio.Event()

    @property
    def mail_at_once(self) -> int:
        """See Store.mail_at_once."""
        return AT_ONCE

    async def commit(self, commit: Commit) -> Committed:
        """See Store.commit."""
        if 2 * len(commit.deposit) > 100:
            raise StoreTooMuch(f"{2 * len(commit.deposit)} items")
        fate = self.plan.pop(0) if commit.deposit and self.plan else ""
        if fate == "no":
            raise StoreUnavailable("out of reach")
        if fate == "stuck":
            self.stuck.set()
            await asyncio.Event().wait()
        return await super().commit(commit)


class Crowded(ScriptedPlatform):
    """Its requests hold several events."""

    def parse(self, body: bytes) -> Parsed:
        return Parsed(tuple(_events.decode(body)), kind="event")


class Desk:
    """A bot that notes what it is told, after work that takes as long as the test likes."""

    def __init__(self) -> None:
        self.door = asyncio.Event()
        self.app = App("desk")
        self.app.command("note")(self.note)

    async def note(self, chat: Chat) -> None:
        await chat.run(self.door.wait)
        noted = [await chat.ask("?") for _ in range(MANY)]
        await chat.say(" ".join(noted))


class Busy(World):
    """A world whose platform puts several events into one request."""

    def __init__(self, desk: Desk, store: Narrow) -> None:
        super().__init__(desk.app, store, SOON)
        self.desk = desk
        self.platform = Crowded()
        self.runtime = self.process()
        self.words = [message(str(number)) for number in range(MANY)]

    async def request(self, events: Sequence[MessageReceived]) -> None:
        """One request."""
        received = await self.runtime.receive(self.platform, msgspec.json.encode(events))
        assert received.reply is None

    async def begin(self) -> None:
        """The first process has begun with the work."""
        await self.runtime.start(loops=False)
        await self.request([message("/note")])

    async def end(self) -> None:
        """The work is done; everything was noted once, in its order."""
        self.desk.door.set()
        await self.rest()
        assert self.said[-1] == " ".join(map(str, range(MANY)))
        assert await self.store.mail() == []
        await self.runtime.stop()


async def test_a_long_request_is_kept_in_bundles() -> None:
    world = Busy(Desk(), Narrow())
    await world.begin()
    await world.request(world.words)
    assert [mail.id for mail in await world.store.mail()] == [word.id for word in world.words]
    await world.end()


@pytest.mark.parametrize("fates", [("no",), ("", "no"), ("", "", "no"), ("", "no", "", "no")])
async def test_what_was_kept_in_part_comes_again_and_counts_once(fates: tuple[str, ...]) -> None:
    store = Narrow()
    world = Busy(Desk(), store)
    await world.begin()
    store.plan = list(fates)
    for _ in range(fates.count("no")):
        with pytest.raises(Unavailable):
            await world.request(world.words)
    await world.request(world.words)
    await world.end()


@pytest.mark.parametrize("bundles", [0, 1, 2])
@pytest.mark.parametrize("comes", ["at once", "when all is done"])
async def test_a_process_that_dies_between_two_bundles_loses_nothing_and_keeps_the_order(
    bundles: int, comes: str
) -> None:
    store = Narrow()
    world = Busy(Desk(), store)
    await world.begin()
    store.plan = [*[""] * bundles, "stuck"]
    dies = asyncio.create_task(world.request(world.words))
    await store.stuck.wait()
    await world.runtime.abandon()
    dies.cancel()
    await asyncio.wait({dies})
    kept = [mail.id for mail in await store.mail()]
    assert kept == [word.id for word in world.words[: bundles * AT_ONCE]]

    world.runtime = world.process()
    await world.runtime.start(loops=False)
    takes_up = asyncio.create_task(world.runtime.resume())
    if comes == "when all is done":
        world.desk.door.set()
        await takes_up
        await world.rest()
    await world.request(world.words)  # the platform had no answer
    await world.end()
    await takes_up


async def test_what_nobody_wants_is_thrown_away_though_the_rest_was_not_kept() -> None:
    """Or it would answer a later question."""
    desk = Desk()

    @desk.app.command("short")
    async def short(chat: Chat) -> None:
        await chat.run(desk.door.wait)

    @desk.app.command("later")
    async def later(chat: Chat) -> None:
        await chat.say(await chat.ask("Well?"))

    store = Narrow()
    world = Busy(desk, store)
    await world.runtime.start(loops=False)
    await world.request([message("/short")])
    store.plan = ["", "no"]
    with pytest.raises(Unavailable):
        await world.request(world.words)
    desk.door.set()
    await world.rest()
    await world.request(world.words)
    await world.rest()
    await world.request([message("/later")])
    await world.crash()
    await world.rest()
    assert world.said == ["Well?"]
    await world.runtime.stop()


def test_bundles_are_of_so_many_letters_and_bytes() -> None:
    def sizes(*lengths: int) -> list[int]:
        return [len(one) for one in bundled([message("x" * length) for length in lengths], AT_ONCE)]

    assert sizes() == []
    assert sizes(*[1] * (AT_ONCE + 1)) == [AT_ONCE, 1]
    long = BYTES_AT_ONCE * 2 // 3
    assert sizes(long, long, 1, BYTES_AT_ONCE + 1, 1) == [1, 2, 1, 1]


# -- letters of a queue ---------------------------------------------------------------------------


class Counting(Delivery):
    __slots__ = ("acks",)

    def __init__(self, letter: Letter) -> None:
        self.letter, self.redelivered, self.acks = letter, False, 0

    def ack(self) -> None:
        self.acks += 1


@pytest.mark.parametrize("fates", [(), ("no",), ("", "no"), ("", "no", "no", "", "no")])
async def test_a_full_lane_goes_into_its_mailbox_in_bundles(fates: tuple[str, ...]) -> None:
    desk = Desk()
    world = World(desk.app, Narrow(*fates), SOON)
    share = Part(world.clock)
    share.gain(range(SLOTS))
    share.last(100, world.clock.monotonic(), world.clock.now_ms())
    world.runtime.share = share
    await world.runtime.start(loops=False)

    async def ended(generation: int, shard: int) -> None:
        raise AssertionError("no queue ends here")

    actors, source = Actors(world.runtime, ended), Source(1, 0)
    words = [message("/note"), *(message(str(number)) for number in range(MANY))]
    deliveries = [
        Counting(Letter(word.id, slot_of(place()), journal.encode(word))) for word in words
    ]
    for delivery in deliveries:
        actors.take(delivery, source)
    while not all(delivery.acks for delivery in deliveries):
        await asyncio.sleep(0)
        world.clock.advance(0.25)
        share.last(100, world.clock.monotonic(), world.clock.now_ms())
    assert len(await world.store.mail()) >= MANY
    desk.door.set()
    await source.done.wait()
    while actors.busy:  # noqa: ASYNC110 # nothing tells that it is idle
        await asyncio.sleep(0)
    await world.rest()
    assert world.said[-1] == " ".join(map(str, range(MANY)))
    assert [delivery.acks for delivery in deliveries] == [1] * (MANY + 1)
    await actors.close()
    await world.runtime.stop()
