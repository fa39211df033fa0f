"""Twitch chat over IRC, with everything that can go wrong on the way."""

import asyncio
import logging
from pathlib import Path

import pytest

from legato import App, Chat
from legato.errors import BadToken
from legato.stores.memory import MemoryStore
from legato.stores.sqlite import SQLiteStore
from legato.testing.clock import FakeClock
from legato.testing.fake_twitch import FakeTwitch
from tests.integration.twitch_bot import connected, echoed, running, until

app = App("echo", apology="")
BOTH = pytest.mark.parametrize("transport", ["irc", "irc-websocket"])


@app.message()
async def echo(chat: Chat) -> None:
    await chat.say(chat.message.text)


@app.command("twice")
async def twice(chat: Chat) -> None:
    for _ in range(2):
        await chat.say("again")


@app.command("reply")
async def reply(chat: Chat) -> None:
    answer = await chat.say("see here", reply_to=chat.message)
    await chat.say("and here", reply_to=answer)


@app.command("once", delivery="at_most_once")
async def once(chat: Chat) -> None:
    await chat.say("only once")


@app.command("long")
async def long(chat: Chat) -> None:
    await chat.say(" ".join(f"word{n}" for n in range(200)))


@BOTH
async def test_when_asked_to_connect_anew_nothing_is_lost_or_doubled(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        room.gives("moderator", twitch.bot)
        ann = twitch.viewer("Ann")
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            for n in range(60):
                if n in (10, 40):
                    twitch.irc.reconnects()
                ann.says(f"message {n}")
                await asyncio.sleep(0.005)
            for n in range(60):
                await ann.gets(f"message {n}")
            await until(lambda: twitch.irc.connections == 3 and len(twitch.irc.sessions) == 1)
            await echoed(twitch)
            assert len(room.texts) == 61
        assert twitch.violations == []


@BOTH
async def test_a_connection_that_breaks_is_replaced(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            twitch.irc.refuses(2)
            twitch.irc.drop()
            await until(lambda: not twitch.irc.sessions)
            await connected(twitch, transport)
            await echoed(twitch)
        assert twitch.violations == []


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_message_whose_connection_breaks_is_sent_again(carried_out: bool) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        async with running(app, twitch) as bot:
            await connected(twitch, "irc")
            twitch.irc.cuts(carried_out=carried_out)
            ann.says("hello")
            await until(lambda: bot.relay.stats.retried >= 1)
            await until(lambda: not bot.relay.left)
        shown = [text.rstrip("\U000e0000 ") for text in room.texts]
        assert shown == ["@ann hello"] * (1 + carried_out)


@pytest.mark.parametrize("carried_out", [True, False])
async def test_where_it_must_not_come_twice_it_is_left_to_the_operator(carried_out: bool) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        store = MemoryStore()
        async with running(app, twitch, store=store) as bot:
            await connected(twitch, "irc")
            twitch.irc.cuts(carried_out=carried_out)
            twitch.viewer("Ann").says("!once")
            await until(lambda: bot.relay.stats.unknown == 1)
            await until(lambda: not bot.relay.left)
            (item,) = await store.outbox(states=("unknown",))
            assert "broke" in item.error
            await connected(twitch, "irc")
        assert len(room.texts) == carried_out


@pytest.mark.parametrize(
    "refused",
    [
        {"twitch.tv/membership"},
        {"twitch.tv/commands"},
        {"twitch.tv/tags"},
        {"twitch.tv/tags", "twitch.tv/commands", "twitch.tv/membership"},
    ],
)
async def test_refused_capabilities_are_done_without(refused: set[str]) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        twitch.irc.refused_caps = refused
        async with running(app, twitch):
            await connected(twitch, "irc")
            twitch.viewer("Ann").says("hello")
            await room.gets("hello")
        assert twitch.violations == []


async def test_pings_are_answered_and_nothing_is_sent_unasked() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        async with running(app, twitch):
            await connected(twitch, "irc")
            twitch.irc.pings()
            await until(lambda: twitch.irc.sessions[0].pongs == 1)
            await echoed(twitch)


async def test_an_expired_token_is_renewed_and_chat_goes_on() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        async with running(app, twitch) as bot:
            await connected(twitch, "irc")
            twitch.auth.expire()
            twitch.irc.drop()
            await until(lambda: not twitch.irc.sessions)
            await connected(twitch, "irc")
            await echoed(twitch)
            assert bot.failures == []
            assert len(twitch.auth.refreshed) == 1


async def test_an_account_that_is_lost_ends_the_platform_with_the_cure() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        async with running(app, twitch) as bot:
            await connected(twitch, "irc")
            twitch.auth.forget(twitch.bot)
            twitch.irc.drop()
            await until(lambda: bot.failures)
            (failure,) = bot.failures
            assert isinstance(failure, BadToken)
            assert "legato twitch login" in str(failure)
            calls, connections = len(twitch.calls), twitch.irc.connections
            await asyncio.sleep(1.5)
            assert (len(twitch.calls), twitch.irc.connections) == (calls, connections)


async def test_the_same_text_said_twice_is_shown_twice() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        async with running(app, twitch):
            await connected(twitch, "irc")
            ann.says("!twice")
            await until(lambda: len(room.texts) == 2)
            assert [text.rstrip("\U000e0000 ") for text in room.texts] == ["@ann again"] * 2
        assert twitch.violations == []


async def test_a_message_that_is_not_shown_is_kept_for_the_operator() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        store = MemoryStore()
        ann = twitch.viewer("Ann")
        async with running(app, twitch, store=store) as bot:
            await connected(twitch, "irc")
            room.drops("msg_emoteonly", "This room is in emote-only mode.")
            ann.says("hello")
            await until(lambda: bot.relay.stats.dead == 1)
            await until(lambda: not bot.relay.left)
            (item,) = await store.outbox(states=("dead",))
            assert "msg_emoteonly" in item.error
            assert "emote-only mode" in item.error
            ann.says("again")
            await ann.gets("again")


async def test_slow_mode_is_waited_for() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        async with running(app, twitch) as bot:
            await connected(twitch, "irc")
            room.drops("msg_slowmode", "You will be able to talk again in 1 seconds.")
            ann.says("hello")
            await ann.gets("hello")
            assert bot.relay.stats.retried == 1


async def test_a_ban_ends_the_conversation() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        async with running(app, twitch) as bot:
            await connected(twitch, "irc")
            room.bans(twitch.bot)
            twitch.viewer("Ann").says("hello")
            await until(lambda: bot.relay.stats.gone == 1)


@BOTH
async def test_replies_point_at_messages_of_others_and_of_ours(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            asked = ann.says("!reply")
            first = await room.gets("see here")
            assert first.reply_to is asked
            second = await room.gets("and here")
            assert second.reply_to is first
            hello = ann.says("to you", reply_to=first)
            await room.gets("to you")
            assert hello.text == "@FakeBot to you"
        assert twitch.violations == []


async def test_long_texts_are_split_and_users_cannot_give_commands() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        async with running(app, twitch):
            await connected(twitch, "irc")
            ann.says("!long")
            words = ""
            while not words.endswith("word199"):
                words += (await room.gets()).text.removeprefix("@ann") + " "
                words = words.rstrip()
            assert words.split() == [f"word{n}" for n in range(200)]
            ann.says("/ban ann")
            assert (await room.gets()).text == "@ann /ban ann"
        assert twitch.violations == []


async def test_what_comes_twice_is_answered_once() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        twitch.irc.repeats = 2
        async with running(app, twitch):
            await connected(twitch, "irc")
            for n in range(5):
                twitch.viewer("Ann").says(f"hello {n}")
            await until(lambda: len(room.texts) == 5)
            await asyncio.sleep(0.1)
            assert len(room.texts) == 5


@BOTH
async def test_certificates_are_verified(
    transport: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakeTwitch(second=0.01, tls=True) as twitch:
        twitch.channel("Ronni")
        monkeypatch.setenv("SSL_CERT_FILE", twitch.ca_file)
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            await echoed(twitch)
            # Another authority's certificate from now on.
            monkeypatch.delenv("SSL_CERT_FILE")
            before = twitch.irc.connections
            with caplog.at_level(logging.WARNING, "legato.twitch"):
                twitch.irc.drop()
                await until(lambda: "not trusted" in caplog.text)
            assert twitch.irc.connections == before
            assert twitch.token not in caplog.text


async def test_a_certificate_for_another_host_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from legato.platforms.twitch.sockets import Closed, endpoint, open_lines, open_socket

    async with FakeTwitch(second=0.01, tls=True, host="irc.example.org") as twitch:
        monkeypatch.setenv("SSL_CERT_FILE", twitch.ca_file)
        for url in (twitch.irc_url, twitch.irc_address, twitch.irc_ws_url):
            with pytest.raises(Closed, match=r"not trusted|mismatch"):
                await open_lines(endpoint(url))
        with pytest.raises(Closed):
            await open_socket(twitch.eventsub_url)
        assert twitch.irc.connections == 0


async def test_a_hundred_channels_are_joined_at_the_pace_and_told_apart() -> None:
    clock = FakeClock()
    async with FakeTwitch(second=0.01) as twitch:
        twitch.world.now = clock.monotonic
        rooms = [twitch.channel(f"room{n}") for n in range(100)]
        async with running(app, twitch, clock=clock) as bot:
            for _ in range(70):
                await asyncio.sleep(0.02)
                clock.advance(1.0)
            await connected(twitch, "irc")
            viewers = [twitch.viewer(f"viewer{n}", home=room) for n, room in enumerate(rooms)]
            for viewer in viewers:
                viewer.says(f"I am {viewer.login}")
            for viewer in viewers:
                await viewer.gets(f"I am {viewer.login}")
            await until(lambda: not bot.relay.left)  # an end waits by the clock, which stands still
            assert bot.failures == []
        assert twitch.violations == []


@pytest.mark.parametrize(("moderator", "most"), [(False, 20), (True, 100)])
async def test_messages_keep_the_pace_of_the_bots_role(moderator: bool, most: int) -> None:
    clock = FakeClock()
    async with FakeTwitch(second=0.01) as twitch:
        twitch.world.now = clock.monotonic
        room = twitch.channel("Ronni")
        if moderator:
            room.gives("moderator", twitch.bot)
        viewers = [twitch.viewer(f"viewer{n}") for n in range(150)]
        async with running(app, twitch, clock=clock) as bot:
            await asyncio.sleep(0.05)
            clock.advance(40)
            await connected(twitch, "irc")
            for viewer in viewers:
                viewer.says(f"I am {viewer.login}")
            await until(lambda: len(room.texts) == most)
            for _ in range(200):
                if len(room.texts) == 150:
                    break
                await asyncio.sleep(0.02)
                clock.advance(5.0)
            assert len(room.texts) == 150
            await until(lambda: not bot.relay.left)
            assert bot.relay.stats.limited_429 == 0
        assert twitch.violations == []


async def test_the_pace_holds_over_a_crash(tmp_path: Path) -> None:
    clock = FakeClock()
    async with FakeTwitch(second=0.01) as twitch:
        twitch.world.now = clock.monotonic
        room = twitch.channel("Ronni")
        viewers = [twitch.viewer(f"viewer{n}") for n in range(50)]
        path = str(tmp_path / "bot.db")
        async with running(app, twitch, store=SQLiteStore(path), clock=clock, crash=True):
            await connected(twitch, "irc")
            for viewer in viewers[:25]:
                viewer.says(f"I am {viewer.login}")
            await until(lambda: len(room.texts) == 20)
        clock.advance(5.0)
        async with running(app, twitch, store=SQLiteStore(path), clock=clock) as bot:
            await connected(twitch, "irc")
            for viewer in viewers[25:]:
                viewer.says(f"I am {viewer.login}")
            for _ in range(40):
                await asyncio.sleep(0.02)
                clock.advance(5.0)
            await until(lambda: len(room.texts) == 50)
            await until(lambda: not bot.relay.left)
        assert twitch.violations == []
