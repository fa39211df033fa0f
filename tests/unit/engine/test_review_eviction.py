"""Leaving memory: dialogs that refuse to go, and what runs on the way out."""

import pytest

from legato import App, Chat
from legato.engine import replay

app = App("stubborn")


@app.command("all")
async def swallows_all(chat: Chat) -> None:
    while True:
        try:
            number = await chat.ask("Number?", int)
        except BaseException:  # noqa: BLE001  # what users do write
            continue
        await chat.say(f"Fine: {number}")


@app.command("fork")
async def swallows_around_a_fork(chat: Chat) -> None:
    while True:
        try:
            number, _ = await chat.gather(chat.ask("Number?", int), chat.wait_for("x", int))
        except BaseException:  # noqa: BLE001
            continue
        await chat.say(f"Fine: {number}")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("command", ["all", "fork"])
async def test_a_dialog_that_swallows_everything_cannot_hang_an_eviction(bot, command):
    before = len(replay.ZOMBIES)
    ann = bot.user("Ann")
    await ann.says(f"/{command}")
    bot.expect("Number?")
    await bot.crash()
    assert len(replay.ZOMBIES) > before
    await ann.says("2")
    if command == "fork":
        assert await bot.signal(ann, "x", 1)
    bot.expect("Fine: 2", "Number?")
