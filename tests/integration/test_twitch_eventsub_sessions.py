"""Twitch over EventSub's WebSocket: sessions that move, break, fall silent."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from legato.platforms.twitch import notifications
from legato.testing.fake_twitch import FakeTwitch
from legato.testing.fake_twitch.sockets import Session
from tests.integration.test_twitch_eventsub import app, made
from tests.integration.twitch_bot import (
    connected,
    echoed,
    running,
    until,
)

WEBSOCKET = "eventsub-websocket"


async def test_a_session_moves_without_loss_and_without_new_subscriptions() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        room.gives("moderator", twitch.bot)
        ann = twitch.viewer("Ann")
        async with running(app, twitch, WEBSOCKET):
            await connected(twitch, WEBSOCKET)
            for n in range(60):
                if n in (10, 40):
                    twitch.eventsub.sockets.session.reconnects()
                ann.says(f"message {n}")
                await asyncio.sleep(0.005)
            for n in range(60):
                await ann.gets(f"message {n}")
            assert len(room.texts) == 60
            assert made(twitch) == 1
            assert twitch.eventsub.sockets.opened == 3
        assert twitch.violations == []


async def test_a_session_that_breaks_is_begun_anew_and_subscribed() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        async with running(app, twitch, WEBSOCKET):
            await connected(twitch, WEBSOCKET)
            await begun_anew(twitch, lambda session: session.drop())
            await begun_anew(twitch, lambda session: session.end(4002))
            await begun_anew(twitch, lambda session: session.end(4000))
        assert twitch.violations == []


async def begun_anew(twitch: FakeTwitch, end: Callable[[Session], None]) -> None:
    """A session ends, and the next connection is refused."""
    sockets = twitch.eventsub.sockets
    before = sockets.session
    sockets.refuses(1)
    end(before)
    await until(lambda: sockets.sessions and sockets.session is not before)
    await connected(twitch, WEBSOCKET)
    await echoed(twitch, f"after {before.id}")


async def test_silence_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "GRACE_S", -29.5)
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        async with running(app, twitch, WEBSOCKET):
            await connected(twitch, WEBSOCKET)
            first = twitch.eventsub.sockets.session
            await asyncio.sleep(1.0)
            assert twitch.eventsub.sockets.session is first  # its keepalives came
            first.mute()
            sockets = twitch.eventsub.sockets
            await until(lambda: sockets.sessions and sockets.session is not first)
            await connected(twitch, WEBSOCKET)
            await echoed(twitch)


async def test_a_hundred_channels_are_subscribed_to_within_the_window() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.eventsub.sockets.unused_s = 1.0
        rooms = [twitch.channel(f"room{n}") for n in range(100)]
        async with running(app, twitch, WEBSOCKET) as bot:
            await connected(twitch, WEBSOCKET)
            for room in rooms[::10]:
                viewer = twitch.viewer(f"viewer of {room.login}", home=room)
                viewer.says("hello")
                await viewer.gets("hello")
            assert bot.failures == []
        assert made(twitch) == 100
        assert twitch.violations == []


async def test_certificates_are_verified(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakeTwitch(second=0.01, tls=True) as twitch:
        twitch.channel("Ronni")
        monkeypatch.setenv("SSL_CERT_FILE", twitch.ca_file)
        async with running(app, twitch, WEBSOCKET):
            await connected(twitch, WEBSOCKET)
            await echoed(twitch)
            monkeypatch.delenv("SSL_CERT_FILE")
            before = twitch.eventsub.sockets.opened
            with caplog.at_level(logging.WARNING, "legato.twitch"):
                twitch.eventsub.sockets.session.drop()
                await until(lambda: "not trusted" in caplog.text)
            assert twitch.eventsub.sockets.opened == before
