"""A letter that stands in its queue twice leaves it twice."""

from legato import App, Chat
from legato.abc import Delivery, Letter
from legato.app.actors import Actors, Source
from legato.app.runtime import Runtime
from legato.app.share import Part
from legato.engine import journal
from legato.model.events import Address, MessageReceived, User
from legato.model.shards import SLOTS, slot_of
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork

app = App("twice")


@app.message()
async def echo(chat: Chat) -> None:
    await chat.say("yes")


class Counting(Delivery):
    __slots__ = ("acks",)

    def __init__(self, letter: Letter) -> None:
        self.letter, self.redelivered, self.acks = letter, False, 0

    def ack(self) -> None:
        self.acks += 1


async def test_a_letter_that_the_platform_repeated_is_acknowledged_each_time():
    clock = FakeClock()
    share = Part(clock)
    share.gain(range(SLOTS))
    share.last(100, clock.monotonic(), clock.now_ms())
    platform = ScriptedPlatform()
    runtime = Runtime(
        app, store=MemoryStore(), platforms=[platform], clock=clock, http=NoNetwork(), share=share
    )
    await runtime.start(loops=False)

    async def ended(generation: int, shard: int) -> None:
        raise AssertionError("no queue ends here")

    actors = Actors(runtime, ended)
    place = Address(platform.name, platform.bot, "1", "1")
    event = MessageReceived(id="u1", place=place, user=User("1"), text="hello")
    letter = Letter("u1", slot_of(place), journal.encode(event))
    source = Source(1, 0)
    twice = [Counting(letter), Counting(letter)]
    for delivery in twice:
        actors.take(delivery, source)
    await source.done.wait()
    assert [delivery.acks for delivery in twice] == [1, 1]
    assert not source.hand
    await actors.close()
    await runtime.stop()
    assert [shown.message.text for shown in platform.shown] == ["yes"]
