"""Twitch's IRC client against InspIRCd: TLS, capabilities, tags and reconnecting are not a matter of our own
fake alone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Origin

from legato import App, Chat
from legato.platforms.twitch import irc, listening
from legato.platforms.twitch.irc import Line
from legato.platforms.twitch.session import Hooks, LoginRefused, Session
from legato.platforms.twitch.sockets import (
    Closed,
    Endpoint,
    LineStream,
    Socket,
    _SocketLines,
    open_lines,
    tls_context,
)
from legato.testing.fake_twitch import FakeTwitch
from tests.integration.inspircd_kit import InspIrcd
from tests.integration.twitch_bot import running, until

NASTY = "a;b c\\d\\s\u00fc\U0001f600:=\\"


class Heard:
    """A session that is logged in, and what it hears."""

    def __init__(self, stream: LineStream, login: str) -> None:
        self.lines: asyncio.Queue[Line] = asyncio.Queue()
        self.rooms: asyncio.Queue[Line] = asyncio.Queue()

        async def said(text: str, line: Line) -> None:
            del text
            self.lines.put_nowait(line)

        self.session = Session(stream, login, Hooks(said, self.rooms.put_nowait, lambda: None))

    async def joins(self, channel: str) -> None:
        await self.session.join(channel)
        while channel not in self.session.joined:
            await self.rooms.get()


async def open_socket_lines(url: str) -> LineStream:
    """Lines over a WebSocket, with an Origin: this server wants one, as a browser gives it."""
    connection = await connect(url, origin=Origin("https://of.the.test"), ssl=tls_context())
    return _SocketLines(Socket(connection))


@asynccontextmanager
async def heard(
    where: Endpoint | str, login: str = "thebot", token: str = "canary"
) -> AsyncIterator[Heard]:
    opening = open_socket_lines(where) if isinstance(where, str) else open_lines(where)
    one = Heard(await opening, login)
    reading = asyncio.create_task(one.session.run())
    try:
        async with asyncio.timeout(30):
            await one.session.register(token)
            yield one
    finally:
        await one.session.close()
        await asyncio.gather(reading, return_exceptions=True)


def trusting(monkeypatch: pytest.MonkeyPatch, server: InspIrcd) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", server.ca_file)


@pytest.mark.parametrize("socket", [False, True], ids=["TLS", "WebSocket"])
async def test_a_server_that_knows_nothing_of_twitch_is_talked_with_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, socket: bool
) -> None:
    async with InspIrcd(tmp_path) as server, server.person("ann", "room", "other") as ann:
        trusting(monkeypatch, server)
        async with heard(server.url if socket else server.endpoint) as bot:
            assert bot.session.caps == {"message-tags", "server-time"}  # Twitch's were refused
            await bot.joins("room")
            await bot.joins("other")
            await ann.say("PRIVMSG #room :!start \u00fc \U0001f600")
            line = await bot.lines.get()
            assert (line.nick, line.channel, line.text) == (
                "ann",
                "room",
                "!start \u00fc \U0001f600",
            )
            assert line.tags["msgid"]
            assert line.tags["time"].endswith("Z")

            # "" : the server tells no id, but its PONG shows that it has read the message
            assert await bot.session.say("room", "First\r\nQUIT :number?") == ""
            assert await bot.session.say("other", ":) " + "x" * 400) == ""

        assert await ann.hears("First") == "First QUIT :number?"
        assert len(await ann.hears(":) xxx")) == 403


async def test_the_server_asks_whether_we_live_and_we_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with InspIrcd(tmp_path, ping_s=1) as server:
        trusting(monkeypatch, server)
        async with heard(server.endpoint) as bot:
            pings: asyncio.Queue[str] = asyncio.Queue()
            read = bot.session._read

            async def counted(text: str) -> None:
                if irc.parse(text).command == "PING":
                    pings.put_nowait(text)
                await read(text)

            monkeypatch.setattr(bot.session, "_read", counted)
            for _ in range(3):  # without an answer to the first, the second ends the connection
                await pings.get()
            await bot.session.ping()


async def test_tags_arrive_as_they_were_sent_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = {"+nasty": NASTY, "+empty": "", "+plain": "x"}
    async with InspIrcd(tmp_path) as server, server.person("ann", "room") as ann:
        trusting(monkeypatch, server)
        async with heard(server.endpoint) as bot:
            await bot.joins("room")
            await ann.meets("thebot", "room")
            line = irc.serialize(Line("PRIVMSG", ("#room", "hi"), tags))
            await ann.say(line)
            got = await bot.lines.get()
            assert {name: got.tags[name] for name in tags} == tags

            await bot.session._stream.write(line)
            back = irc.parse(await ann.until("PRIVMSG"))

    assert {name: back.tags[name] for name in tags} == tags
    assert back.nick == "thebot"
    raw = next(text for text in reversed(ann.seen) if "PRIVMSG" in text)
    assert "+nasty=a\\:b\\sc\\\\d\\\\s\u00fc\U0001f600:=\\\\" in raw  # as the standard escapes it


@pytest.mark.parametrize("socket", [False, True], ids=["TLS", "WebSocket"])
@pytest.mark.parametrize("fault", ["an authority that nobody trusts", "another host's certificate"])
async def test_a_server_that_is_not_who_it_says_gets_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, *, socket: bool
) -> None:
    host = "irc.example.org" if fault.startswith("another") else ""
    async with InspIrcd(tmp_path, host=host) as server:
        if host:
            trusting(monkeypatch, server)
        else:
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        where = Endpoint("127.0.0.1", 0, url=server.url) if socket else server.endpoint
        with pytest.raises(Closed, match=r"the certificate is not trusted .*SSL_CERT_FILE"):
            await open_lines(where)


async def test_a_password_that_the_server_refuses_is_told_apart_from_a_broken_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with InspIrcd(tmp_path, password="oauth:right") as server:
        trusting(monkeypatch, server)
        with pytest.raises(LoginRefused) as caught:
            async with heard(server.endpoint, token="canary"):
                pass
        assert "canary" not in str(caught.value)
        async with heard(server.endpoint, token="right") as bot:
            await bot.joins("room")


async def test_a_killed_server_ends_what_waits_and_says_that_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with InspIrcd(tmp_path) as server:
        trusting(monkeypatch, server)
        async with heard(server.endpoint) as bot:
            await bot.joins("room")
            await server.kill()
            with pytest.raises(Closed):
                await bot.session.say("room", "is anybody there?")
            assert not bot.session.alive
            assert bot.session.joined == set()
            with pytest.raises(Closed):
                await open_lines(server.endpoint)

            await server.start()

            async with heard(server.endpoint) as again:
                await again.joins("room")


# -- a whole bot ------------------------------------------------------------------------------------

app = App("adder")
waiting: list[str] = []


@app.command("start")
async def add(chat: Chat) -> None:
    first = await chat.ask("First number?", int)
    second = await chat.ask("Second number?", int)
    await chat.say(f"Sum: {first + second}")


@app.command("order")
async def order(chat: Chat) -> None:
    waiting.append(chat.id)
    await chat.wait_for("ready")
    await chat.say("Your order is ready.")


async def test_a_bot_outlives_the_server_between_two_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    gate.set()

    async def gated(where: Endpoint) -> LineStream:
        await gate.wait()
        return await open_lines(where)

    monkeypatch.setattr(listening, "open_lines", gated)
    async with InspIrcd(tmp_path) as server, FakeTwitch(second=0.01) as twitch:
        trusting(monkeypatch, server)
        twitch.channel("room")  # who the bot is, and its token, is for Twitch to say
        login = twitch.bot.login
        async with running(app, twitch, TWITCH_IRC=f"127.0.0.1:{server.port}") as bot:
            async with server.person("ann", "room") as ann, server.person("bob", "room") as bob:
                await ann.meets(login, "room")
                await ann.say("PRIVMSG #room :!start")
                assert "ann" in await ann.hears("First number?")
                await ann.say("PRIVMSG #room :2")
                await ann.hears("Second number?")
                await bob.say("PRIVMSG #room :!order")
                await until(lambda: waiting)
            gate.clear()
            await server.kill()
            assert await app.signal(waiting[0], "ready")  # while nobody can be told

            await server.start()

            async with server.person("ann", "room") as ann:
                gate.set()
                await ann.hears("Your order is ready.")
                await ann.say("PRIVMSG #room :3")
                await ann.hears("Sum: 5")
                await ann.say("PRIVMSG #room :!start")
                await ann.hears("First number?")  # nothing came twice in between
            assert bot.failures == []
        assert twitch.violations == []
