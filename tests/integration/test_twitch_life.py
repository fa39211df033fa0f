"""A bot on Twitch, by every transport."""

import pytest

from legato import App, Chat
from legato.testing.fake_twitch import FakeTwitch
from tests.integration.twitch_bot import TRANSPORTS, connected, running

app = App("adder")


@app.command("start")
async def add(chat: Chat) -> None:
    first = await chat.ask("First number?", int, retry="That is not a number.")
    second = await chat.ask("Second number?", int, retry="That is not a number.")
    await chat.say(f"Sum: {first + second}")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_two_viewers_add_at_the_same_time(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        ann, bob = twitch.viewer("Ann"), twitch.viewer("Bob")
        async with running(app, twitch, transport) as bot:
            await connected(twitch, transport)
            for viewer, command in ((ann, "!start"), (bob, "/start")):
                viewer.says(command)
                await viewer.gets("First number?")
            ann.says("1")
            bob.says("ten")
            await ann.gets("Second number?")
            await bob.gets("That is not a number.")
            bob.says("10")
            await bob.gets("Second number?")
            ann.says("2")
            bob.says("20")
            await ann.gets("Sum: 3")
            await bob.gets("Sum: 30")
            assert bot.failures == []
        assert twitch.violations == []
