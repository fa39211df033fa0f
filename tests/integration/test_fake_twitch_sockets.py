"""The fake EventSub over WebSockets: welcomes, moves, silence, and all their codes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from legato.testing.fake_twitch import FakeTwitch
from tests.integration.twitch_kit import chat, opened

PATH = "/eventsub/subscriptions"


class Socket:
    """A client of EventSub that is a test."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.raw = socket
        self.session = ""

    async def read(self, kind: str = "") -> dict[str, Any]:
        """The next message, or the next of one kind."""
        while True:
            found: dict[str, Any] = await self.raw.receive_json(timeout=10)
            if kind in ("", found["metadata"]["message_type"]):
                return found

    async def welcome(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.read())["payload"]["session"]
        self.session = found["id"]
        return found

    async def closed(self) -> int | None:
        while (await self.raw.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
            pass
        return self.raw.close_code

    def body(self, twitch: FakeTwitch, channel: str) -> dict[str, object]:
        return chat(channel, twitch.bot.id, {"method": "websocket", "session_id": self.session})


@asynccontextmanager
async def socket(url: str) -> AsyncIterator[Socket]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as raw:
        yield Socket(raw)


async def test_a_welcome_then_events_then_keepalives() -> None:
    async with opened() as (twitch, call):
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        url = f"{twitch.eventsub_url}?keepalive_timeout_seconds=20"
        async with socket(url) as client:
            welcome = await client.welcome()
            assert (welcome["status"], welcome["keepalive_timeout_seconds"]) == ("connected", 20)
            status, made = await call("POST", PATH, body=client.body(twitch, channel.id))
            assert (status, made["data"][0]["status"]) == (202, "enabled")
            ann.says("hi")
            found = await client.read("notification")
            assert found["metadata"]["subscription_type"] == "channel.chat.message"
            assert found["payload"]["event"]["message"]["text"] == "hi"
            assert found["payload"]["subscription"]["id"] == made["data"][0]["id"]
            keepalive = await client.read()
            assert keepalive["metadata"]["message_type"] == "session_keepalive"
            assert keepalive["payload"] == {}
            assert (await call("POST", PATH, body=client.body(twitch, channel.id)))[0] == 409
            assert [s["id"] for s in (await call("GET", PATH))[1]["data"]] == [
                made["data"][0]["id"]
            ]
        await twitch.wait_for(lambda: not twitch.eventsub.sockets.sessions)
        assert twitch.eventsub.subscriptions[0].status == "websocket_disconnected"
        assert twitch.violations == []


async def test_a_session_goes_on_at_another_address_without_loss() -> None:
    async with opened(second=0.2) as (twitch, call):
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        async with socket(twitch.eventsub_url) as old:
            await old.welcome()
            await call("POST", PATH, body=old.body(twitch, channel.id))
            twitch.eventsub.sockets.session.reconnects()
            told = (await old.read("session_reconnect"))["payload"]["session"]
            assert (told["status"], told["keepalive_timeout_seconds"]) == ("reconnecting", None)
            ann.says("one")
            assert (await old.read("notification"))["payload"]["event"]["chatter_user_id"] == ann.id
            twitch.world.second = 0.001  # the old connection is not given long
            async with socket(told["reconnect_url"]) as new:
                assert (await new.welcome())["id"] == old.session
                ann.says("two")
                event = (await new.read("notification"))["payload"]["event"]
                assert event["message"]["text"] == "two"
                assert len(twitch.eventsub.enabled) == 1
                assert await old.closed() == 4004  # it was not closed by its client
                async with socket(told["reconnect_url"]) as late:
                    assert await late.closed() == 4007


async def test_who_does_not_move_in_time_is_cut_off() -> None:
    async with opened(second=0.001) as (twitch, call):
        channel = twitch.channel()
        async with socket(twitch.eventsub_url) as client:
            await client.welcome()
            await call("POST", PATH, body=client.body(twitch, channel.id))
            twitch.eventsub.sockets.session.reconnects()
            assert await client.closed() == 4004
        assert twitch.eventsub.subscriptions[0].status == "websocket_failed_to_reconnect"


async def test_a_client_that_sends_or_does_not_subscribe_is_closed() -> None:
    async with opened() as (twitch, _):
        async with socket(twitch.eventsub_url) as client:
            await client.welcome()
            await client.raw.send_str("hello")
            assert await client.closed() == 4001
        assert "hello" in twitch.violations[0]
        twitch.eventsub.sockets.unused_s = 0.001
        async with socket(twitch.eventsub_url) as client:
            assert await client.closed() == 4003


async def test_pings_must_be_answered() -> None:
    async with opened(second=1.0) as (twitch, call), aiohttp.ClientSession() as session:
        channel = twitch.channel()
        async with session.ws_connect(twitch.eventsub_url, autoping=False) as raw:
            client = Socket(raw)
            await client.welcome()
            await call("POST", PATH, body=client.body(twitch, channel.id))
            twitch.eventsub.sockets.session.ping()
            ping = await raw.receive(timeout=10)
            assert ping.type is aiohttp.WSMsgType.PING
            await raw.pong(ping.data)
            mine = twitch.eventsub.sockets.session
            await twitch.wait_for(lambda: mine.pongs == 1)
            twitch.world.second = 0.001
            mine.ping()
            assert (await raw.receive(timeout=10)).type is aiohttp.WSMsgType.PING
            assert await raw.receive(timeout=10)
            await client.closed()
        assert twitch.eventsub.subscriptions[0].status == "websocket_failed_ping_pong"


async def test_connections_are_refused_muted_and_cut() -> None:
    async with opened() as (twitch, call):
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        twitch.eventsub.sockets.refuses()
        async with socket(twitch.eventsub_url) as client:
            assert await client.closed() == 1006
        async with socket(twitch.eventsub_url) as client:
            await client.welcome()
            await call("POST", PATH, body=client.body(twitch, channel.id))
            twitch.eventsub.sockets.session.mute()
            ann.says("anybody?")
            sent = len(twitch.eventsub.sockets.session.sent)
            assert sent == 1
            twitch.eventsub.sockets.session.drop()
            assert await client.closed() == 1006


async def test_a_revocation_comes_over_the_socket_too() -> None:
    async with opened() as (twitch, call):
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        async with socket(twitch.eventsub_url) as client:
            await client.welcome()
            await call("POST", PATH, body=client.body(twitch, channel.id))
            twitch.eventsub.repeats = 1
            ann.says("twice")
            first, again = await client.read("notification"), await client.read("notification")
            assert first["metadata"]["message_id"] == again["metadata"]["message_id"]
            twitch.eventsub.revokes("user_removed")
            told = (await client.read("revocation"))["payload"]["subscription"]
            assert told["status"] == "user_removed"


async def test_only_the_user_whose_token_it_is_reads() -> None:
    async with opened() as (twitch, call):
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        async with socket(f"{twitch.eventsub_url}?keepalive_timeout_seconds=5") as client:
            await client.welcome()
            other = chat(channel.id, ann.id, {"method": "websocket", "session_id": client.session})
            assert (await call("POST", PATH, body=other))[0] == 403
            poor = twitch.auth.grant(twitch.bot, ("chat:read",)).access
            body = client.body(twitch, channel.id)
            assert (await call("POST", PATH, body=body, token=poor))[0] == 403
            app = twitch.auth.app_token().access
            assert (await call("POST", PATH, body=body, token=app))[0] == 400
            client.session = "nonsense"
            assert (await call("POST", PATH, body=client.body(twitch, channel.id)))[0] == 400
        assert twitch.violations == ["keepalive_timeout_seconds=5: it is 10 to 600"]


async def test_a_user_has_three_sockets_with_subscriptions() -> None:
    async with opened() as (twitch, call), AsyncExitStack() as stack:
        channel = twitch.channel()
        found = []
        for _ in range(4):
            client = await stack.enter_async_context(socket(twitch.eventsub_url))
            await client.welcome()
            found.append((await call("POST", PATH, body=client.body(twitch, channel.id)))[0])
        assert found == [202, 202, 202, 429]


async def test_what_is_no_handshake_is_refused() -> None:
    async with FakeTwitch() as twitch, aiohttp.ClientSession() as session:
        for url in (twitch.eventsub_url, twitch.irc_ws_url):
            async with session.get(url.replace("ws://", "http://")) as response:
                assert response.status == 400
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(twitch.irc_ws_url, protocols=["graphql"])
        reader, writer = await asyncio.open_connection(*twitch.api_url[7:-6].split(":"))
        handshake = "GET /ws HTTP/1.1\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        writer.write(f"{handshake}sec-websocket-key: x\r\n\r\n".encode() + b"\x81\x02hi")
        await reader.readuntil(b"\r\n\r\n")
        assert b"a client's frames are masked" in await reader.read()
        writer.close()
        await writer.wait_closed()
