"""A store that holds conversations of bots which this process does not run."""

import msgspec

from legato import App, Chat
from legato.app import alarm
from legato.model.records import Commit, Mail
from tests.unit.app.kit import message, running


def adder() -> App:
    app = App("adder")

    @app.command("go")
    async def go(chat: Chat) -> None:
        await chat.ask("Well?", timeout=5)
        await chat.say("done")

    return app


async def test_a_strangers_conversation_and_mail_stay_where_they_are() -> None:
    async with running(adder()) as world:
        await world.receive(message("/go"))
        (row,) = await world.store.find()
        strange = msgspec.structs.replace(row, key="elsewhere:bot:1:1:", wake_ms=1)
        late = message("hello")
        place = msgspec.structs.replace(late.place, platform="elsewhere")
        mail = Mail(
            "m", "elsewhere", msgspec.json.encode(msgspec.structs.replace(late, place=place))
        )
        await world.store.commit(Commit(at_ms=1, key=strange.key, row=strange, deposit=(mail,)))

        await world.runtime.resume()
        assert await world.runtime.tick() == 0

        assert len(await world.store.find()) == 2
        assert len(await world.store.mail()) == 1


async def test_a_page_of_strangers_ends_the_tick() -> None:
    async with running(adder()) as world:
        await world.receive(message("/go"))
        (row,) = await world.store.find()
        for number in range(alarm.PAGE):
            key = f"elsewhere:bot:{number}:1:"
            strange = msgspec.structs.replace(row, key=key, wake_ms=1)
            await world.store.commit(Commit(at_ms=1, key=key, row=strange))

        assert await world.runtime.tick() == 0
