"""A shell that delivers everything before it answers gives the last call to the answer."""

import msgspec

from legato import App, Chat
from legato.app.runtime import RuntimeSettings
from legato.model.messages import Send
from legato.model.records import Call
from tests.unit.app.kit import World, message, running

LAST = RuntimeSettings(reply_last=True)


def counter() -> App:
    app = App("counter")

    @app.command("count")
    async def count(chat: Chat) -> None:
        for word in chat.args.split():
            await chat.say(word)

    @app.command("edited")
    async def edited(chat: Chat) -> None:
        said = await chat.say("one")
        await said.edit("two")
        await chat.ask("three?")

    return app


async def answered(world: World, text: str) -> str | None:
    """The text in the answer, once all else is delivered."""
    reply = await world.receive(message(text), may_reply=True)
    await world.rest()
    if reply is None:
        return None
    out = msgspec.convert(msgspec.json.decode(reply, type=Call).params["out"], type=Send)
    return out.message.text


async def test_the_last_message_rides_after_the_others_were_delivered() -> None:
    async with running(counter(), settings=LAST) as world:
        assert await answered(world, "/count one two three") == "three"
        assert world.said == ["one", "two"]


async def test_a_single_message_rides_and_nothing_is_sent() -> None:
    async with running(counter(), settings=LAST) as world:
        assert await answered(world, "/count one") == "one"
        assert world.said == []


async def test_a_repeated_update_gets_the_same_answer() -> None:
    async with running(counter(), settings=LAST) as world:
        event = message("/count one two")
        first = await world.receive(event, may_reply=True)

        assert await world.receive(event, may_reply=True) == first
        await world.rest()
        assert world.said == ["one"]


async def test_the_answer_that_ended_a_conversation_is_given_again_too() -> None:
    app = App("asker")

    @app.command("go")
    async def go(chat: Chat) -> None:
        await chat.ask("Well?")
        await chat.say("Bye.")

    async with running(app, settings=LAST) as world:
        await world.receive(message("/go"), may_reply=True)
        last = message("well")
        first = await world.receive(last, may_reply=True)

        assert first is not None
        assert await world.receive(last, may_reply=True) == first
        assert await world.receive(message("more"), may_reply=True) is None


async def test_what_others_still_refer_to_is_delivered_first() -> None:
    async with running(counter(), settings=LAST) as world:
        assert await answered(world, "/edited") == "three?"
        assert world.said == ["two"]
