"""How updates come in: what is acknowledged, answered in the request, kept as dead, or only counted."""

import asyncio
from typing import Any

import msgspec
import pytest

from legato import App, Chat, MessageEdited, UserGone
from legato.abc import Parsed, Verdict
from legato.app.runtime import RuntimeSettings
from legato.errors import StoreUnavailable, Unavailable
from legato.model.events import Address, MessageReceived
from legato.model.messages import Send
from legato.model.records import Call, Commit, Committed
from legato.stores.memory import MemoryStore
from legato.testing.platform import ScriptedPlatform
from tests.unit.app.kit import World, edited, message, place, running

app = App("x")


@app.command("hi")
async def hi(chat: Chat) -> None:
    await chat.say("one")
    await chat.say("two")
    await chat.say("three")


@app.command("one")
async def one(chat: Chat) -> None:
    await chat.say("only")


@app.command("held")
async def held(chat: Chat) -> None:
    message = await chat.say("will be edited")
    await chat.ask("Edit?")
    await message.edit("edited")


@app.command("ask")
async def ask(chat: Chat) -> None:
    try:
        await chat.ask("Well?")
    except UserGone:
        await chat.run(gone.append, "gone")


gone: list[str] = []


class Two(ScriptedPlatform):
    """Two updates in one body, and an acknowledgement."""

    def parse(self, body: bytes) -> Parsed:
        if body == b"challenge":
            return Parsed(reply=b"response", kind="challenge")
        if body == b"nothing":
            return Parsed(kind="poll_answer")
        events = msgspec.json.decode(body, type=list[MessageReceived])
        ack = Call("typing", {"out": {"type": "typing"}}, idempotent=True)
        return Parsed(tuple(events), acks=(ack,), kind="batch")


async def raw(world: World, body: bytes, **options: Any) -> bytes | None:
    received = await world.runtime.receive(world.platform, body, **options)
    assert received.release is None
    return received.reply


# -- what is no event ------------------------------------------------------------------------------


async def test_an_unreadable_update_is_kept_as_dead_and_acknowledged() -> None:
    kept: list[Commit] = []

    class Noting(MemoryStore):
        async def commit(self, commit: Commit) -> Committed:
            kept.append(commit)
            return await super().commit(commit)

    async with running(app, Noting()) as world:
        body = b'{"type": "message"' + b" " * 100_000
        assert await raw(world, body, may_reply=True) is None
        assert world.runtime.stats["malformed"] == 1
        ((space, name, value),) = kept[0].puts
        assert space == "dead-update"
        assert name.startswith("test:bot:")
        assert value == body[:65536]
        assert await world.store.get(space, name) == value


async def test_an_unreadable_update_that_cannot_be_kept_is_sent_again() -> None:
    class Down(MemoryStore):
        async def commit(self, commit: Commit) -> Committed:
            raise StoreUnavailable("out of reach")

    async with running(app, Down()) as world:
        with pytest.raises(Unavailable):
            await raw(world, b"{")


async def test_unknown_updates_are_counted_and_challenges_answered() -> None:
    async with running(app) as world:
        world.platform.__class__ = Two
        assert await raw(world, b"nothing") is None
        assert world.runtime.stats["ignored"] == 1
        assert await raw(world, b"challenge") == b"response"


async def test_messages_of_one_body_keep_their_order_and_acks_go_out_beside_them() -> None:
    async with running(app) as world:
        world.platform.__class__ = Two
        events = [
            message("/ask"),
            message("first"),
            message("/hi"),
            message("/one", place("9", "9")),
        ]
        assert await raw(world, msgspec.json.encode(events), may_reply=True) is None
        await world.rest()
        of_one = [shown.message.text for shown in world.platform.shown if shown.place.chat == "1"]
        assert of_one == ["Well?", "one", "two", "three"]
        assert "typing" in [call.method for call in world.platform.calls]
        assert len(world.said) == 5


async def test_what_nobody_wants_is_counted() -> None:
    async with running(app) as world:
        for event in (message("hello"), edited("hello")):
            await world.receive(event)
        assert world.runtime.stats["ignored"] == 2
        assert isinstance(edited("x"), MessageEdited)


# -- the answer to a webhook request ---------------------------------------------------------------


def text_of(reply: bytes | None) -> str:
    """What a call in a webhook's answer says."""
    assert reply is not None
    out = msgspec.convert(msgspec.json.decode(reply, type=Call).params["out"], type=Send)
    return out.message.text


async def test_a_message_rides_in_the_answer_and_later_ones_follow_it() -> None:
    async with running(app) as world:
        body = msgspec.json.encode(message("/one"))
        received = await world.runtime.receive(world.platform, body, may_reply=True)
        assert text_of(received.reply) == "only"
        await world.receive(message("/hi"), may_reply=True)
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.said == []  # not before the answer is written
        assert received.release is not None
        received.release()
        await world.rest()
        assert world.said == ["one", "two", "three"]


async def test_the_first_of_several_does_not_ride() -> None:
    async with running(app) as world:
        assert await world.receive(message("/hi"), may_reply=True) is None
        await world.rest()
        assert world.said == ["one", "two", "three"]


async def test_a_repeated_update_gets_the_same_answer_again() -> None:
    async with running(app) as world:
        event = message("/one")
        first = await world.receive(event, may_reply=True)
        await world.rest()
        assert text_of(first) == "only"
        assert await world.receive(event, may_reply=True) == first
        await world.crash()
        assert await world.receive(event, may_reply=True) == first
        await world.rest()
        assert world.said == []


async def test_a_repeated_answer_lets_nothing_go_before_the_first() -> None:
    async with running(app) as world:
        event = message("/one")
        body = msgspec.json.encode(event)
        first = await world.runtime.receive(world.platform, body, may_reply=True)
        await world.receive(event, may_reply=True)  # its answer is written at once
        await world.receive(message("/hi"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.said == []
        assert first.release is not None
        first.release()
        await world.rest()
        assert world.said == ["one", "two", "three"]


async def test_nothing_rides_while_earlier_messages_are_on_their_way() -> None:
    async with running(app) as world:
        world.platform.answer = lambda call, at: Verdict("retry", retry_after_s=5)
        assert await world.receive(message("/one")) is None
        assert await world.receive(message("/one"), may_reply=True) is None
        world.platform.answer = lambda call, at: None
        world.clock.advance(5)
        await world.rest()
        assert world.said == ["only", "only"]


async def test_a_message_that_is_edited_later_does_not_ride() -> None:
    async with running(app) as world:
        assert await world.receive(message("/held"), may_reply=True) is None
        await world.rest()
        assert text_of(await world.receive(message("/one"), may_reply=True)) == "only"


async def test_without_room_or_by_setting_nothing_rides() -> None:
    async with running(app) as world:
        assert await world.receive(message("/one")) is None
    async with running(app, settings=RuntimeSettings(webhook_reply=False)) as world:
        assert await world.receive(message("/one"), may_reply=True) is None
        await world.rest()
        assert world.said == ["only"]


async def test_a_repeat_without_room_says_nothing_twice() -> None:
    async with running(app) as world:
        event = message("/one")
        assert text_of(await world.receive(event, may_reply=True)) == "only"
        assert await world.receive(event) is None
        await world.rest()
        assert world.said == []


# -- who is gone -----------------------------------------------------------------------------------


async def test_a_gone_user_ends_the_waiting_dialog_and_a_later_one_is_not_touched() -> None:
    gone.clear()
    async with running(app) as world:
        await world.says("/ask")
        world.platform.answer = lambda call, at: Verdict("gone", error="blocked")
        await world.receive(
            message("/one", place("1", "1"))
        )  # ends it, and learns that she is gone
        await world.rest()
        assert gone == []
        assert await world.store.find() == []
        await world.receive(message("/ask"))
        await world.rest()
        assert gone == ["gone"]
        assert await world.store.find() == []
        world.platform.answer = lambda call, at: None
        await world.says("/ask")
        assert world.said == ["Well?", "Well?"]
        assert len(await world.store.find()) == 1


# -- life ------------------------------------------------------------------------------------------


async def test_two_bots_of_one_platform_do_not_meet() -> None:
    async with running(app) as world:
        other = ScriptedPlatform("other")
        world.runtime.platforms["test", "other"] = other
        at = Address("test", "other", "1", "1")
        await world.says("/ask")
        await world.runtime.receive(other, msgspec.json.encode(message("/one", at)))
        await world.rest()
        assert world.said == ["Well?"]
        assert [shown.message.text for shown in other.shown] == ["only"]
        assert len(await world.store.find()) == 1


async def test_consumed_ids_are_forgotten_after_eight_days() -> None:
    async with running(app) as world:
        event = await world.says("/one")
        world.clock.advance(7 * 86_400)
        await world.runtime.purge()
        assert await world.store.get("inbox", event.id) is not None
        world.clock.advance(86_400 + 1)
        await world.runtime.purge()
        assert await world.store.get("inbox", event.id) is None
