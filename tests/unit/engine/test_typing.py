"""`async with chat.typing()`: the sign stays as long as a step runs."""

import asyncio

import pytest

from legato import App, Chat
from legato.engine import turn
from tests.unit.app.kit import World, running

app = App("slow")


async def until_shown(world: World, count: int) -> int:
    async with asyncio.timeout(60):
        while shown(world) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    return count


def shown(world: World) -> int:
    return sum(call.method == "typing" for call in world.platform.calls)


worlds: list[World] = []


async def think(count: int) -> int:
    return await until_shown(worlds[-1], count)


async def quick() -> int:
    return 0


@app.command("go")
async def go(chat: Chat) -> None:
    await chat.say("Thinking.")
    async with chat.typing():
        await chat.run(think, 3)
        await chat.gather(chat.run(think, 5), chat.run(quick))
    await chat.run(quick, key="quiet")
    await chat.say("Done.")


@app.command("many")
async def many(chat: Chat) -> None:
    async with chat.typing():
        for _ in range(10):
            await chat.run(quick)
    await chat.say("Done.")


async def test_the_sign_is_renewed_while_steps_run_and_not_after(monkeypatch):
    monkeypatch.setattr(turn, "TYPING_EVERY_S", 0.01)
    async with running(app) as world:
        worlds.append(world)
        await world.says("/go")
        assert world.said == ["Thinking.", "Done."]
        count = shown(world)
        assert count >= 5
        await asyncio.sleep(0.05)
        assert shown(world) == count
        methods = [call.method for call in world.platform.calls]
        assert methods.index("typing") == 1  # after what was said before


async def test_quick_steps_show_it_once():
    async with running(app) as world:
        worlds.append(world)
        await world.says("/many")
        assert shown(world) == 1


@pytest.mark.legato_modes("warm", "cold", "crash")
async def test_a_platform_without_one_shows_none(bot):
    from msgspec.structs import replace

    bot.platform.capabilities = replace(bot.platform.capabilities, typing=False)
    await bot.user().says("/many")
    bot.expect("Done.")
    assert not [call for call in bot.platform.calls if call.method == "typing"]


async def test_a_question_in_the_block_shows_none(bot):
    new = App("new")

    @new.command("go")
    async def ask(chat: Chat) -> None:
        async with chat.typing():
            await chat.ask("Well?")
            await chat.run(quick)
        await chat.say("Done.")

    await bot.replace_app(new)
    ann = bot.user()
    await ann.says("/go")
    assert [call.method for call in bot.platform.calls] == ["send"]
    await ann.says("x")
    bot.expect("Well?", "Done.")
    assert "typing" in [call.method for call in bot.platform.calls]
