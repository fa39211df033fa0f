"""tmi.js, a client that bots use, finds in the fake the Twitch that it was written for."""

from pathlib import Path

import pytest

from legato.testing.fake_twitch import FakeTwitch
from tests.integration.twitch_kit import Tmi, tmi, tmi_path


@pytest.fixture(scope="module")
def path() -> Path:
    return tmi_path()


async def test_tmi_logs_in_joins_and_talks(path: Path) -> None:
    async with FakeTwitch() as twitch:
        channel, other = twitch.channel("Ronni"), twitch.channel("Dallas")
        ann = twitch.viewer("Ann")
        channel.gives("moderator", ann)
        async with tmi(path, twitch) as bot:
            await bot.until("connected")
            await twitch.wait_for(lambda: len(twitch.irc.joined("fakebot")) == 2)
            said = ann.says("hi; it's \\me Kappa :)", to=channel)
            _, room, tags, text, own = await bot.until("message")
            assert (room, text, own) == ("#ronni", "hi; it's \\me Kappa :)", False)
            assert tags["emotes"] == {"25": ["13-17"], "1": ["19-20"]}
            assert tags["badges"] == {"moderator": "1"}
            assert (tags["id"], tags["user-id"], tags["room-id"]) == (said.id, ann.id, channel.id)
            assert (tags["display-name"], tags["mod"]) == ("Ann", True)
            assert int(tags["tmi-sent-ts"]) == said.at_ms

            await bot.does("say", "#dallas", "@Ann hello")
            await bot.until("done", "say")
            await ann.gets("hello", to=other)
            await bot.does("action", "#dallas", "waves")
            await bot.until("done", "action")
            assert (await other.gets("@Ann hello")).action is False
            assert (await other.gets("waves")).action is True
        assert twitch.violations == []


async def test_tmi_is_the_other_user_in_the_room(path: Path) -> None:
    async with FakeTwitch() as twitch:
        channel = twitch.channel()
        ann = twitch.viewer("Ann")
        async with tmi(path, twitch, ann.account) as client, tmi(path, twitch) as bot:
            await client.until("roomstate")
            await bot.until("roomstate")
            await client.does("say", "#ronni", "!start")
            message = (await bot.until("message"))[2]
            assert message["user-id"] == ann.id
            await bot.does("reply", "#ronni", "First number?", message["id"])
            answer = (await client.until("message", "#ronni"))[2:]
            if answer[2]:  # tmi.js shows its own messages, too
                answer = (await client.until("message", "#ronni"))[2:]
            assert answer[1] == "@Ann First number?"
            assert answer[0]["reply-parent-msg-id"] == message["id"]
            assert answer[0]["reply-parent-msg-body"] == "!start"
            await ann.gets("First number?")
            assert channel.transcript == ["Ann: !start", "FakeBot: @Ann First number?"]


async def test_tmi_is_told_that_its_token_is_no_good(path: Path) -> None:
    async with FakeTwitch() as twitch:
        client = await Tmi.start(path, twitch, username="fakebot", password="oauth:nonsense")
        try:
            assert "Login authentication failed" in str(await client.until("failed"))
        finally:
            await client.close()


async def test_tmi_learns_what_moderators_do(path: Path) -> None:
    async with FakeTwitch() as twitch:
        channel = twitch.channel()
        ann = twitch.viewer("Ann")
        async with tmi(path, twitch) as bot:
            await bot.until("roomstate")
            message = ann.says("rude")
            channel.deletes(message)
            _, room, login, text, tags = await bot.until("messagedeleted")
            assert (room, login, text) == ("#ronni", "ann", "rude")
            assert tags["target-msg-id"] == message.id
            channel.bans(ann, 60)
            assert (await bot.until("timeout"))[1:5] == ["#ronni", "ann", None, 60]
            channel.bans(ann)
            assert (await bot.until("ban"))[1:3] == ["#ronni", "ann"]
            channel.clears()
            await bot.until("clearchat", "#ronni")
            channel.drops("msg_slowmode", "This room is in slow mode.")
            await bot.does("say", "#ronni", "too fast")
            assert (await bot.until("notice", "#ronni"))[2] == "msg_slowmode"
            assert channel.texts == []


async def test_tmi_answers_pings_and_connects_anew_when_it_is_told(path: Path) -> None:
    async with FakeTwitch() as twitch:
        twitch.channel()
        ann = twitch.viewer("Ann")
        async with tmi(path, twitch) as bot:
            await bot.until("roomstate")
            twitch.irc.pings()
            await twitch.wait_for(lambda: twitch.irc.sessions[0].pongs == 1)
            twitch.irc.reconnects()
            await twitch.wait_for(lambda: twitch.irc.connections == 2)
            await bot.until("roomstate")
            ann.says("still there?")
            assert (await bot.until("message"))[3] == "still there?"
            twitch.irc.drop()
            await twitch.wait_for(lambda: twitch.irc.connections == 3)
            await bot.until("roomstate")
        assert twitch.violations == []
