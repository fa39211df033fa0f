"""The bot's presence in chat over many connections, with servers in memory and in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from legato.errors import BadToken, Unavailable
from legato.platforms.twitch.chat import Chat, Joins, NotConnected
from legato.platforms.twitch.events import Reader
from legato.platforms.twitch.inbox import Inbox
from legato.platforms.twitch.rooms import FEW, MANY, Rooms
from legato.platforms.twitch.sockets import Closed, LineStream
from tests.unit.outbox.kit import LoopClock, virtual
from tests.unit.platforms.twitch_stream import Server


def now() -> float:
    return asyncio.get_running_loop().time()


class World:
    """Twitch as a Chat sees it: a new server for each connection."""

    def __init__(self, *channels: str) -> None:
        self.servers: list[Server] = []
        self.opened_at: list[float] = []
        self.make: Callable[[], Server] = Server
        self.down = 0
        self.tokens: list[str] = []
        self.token = "token"
        self.failure: Exception | None = None
        self.heard: list[str] = []
        self.rooms = Rooms(channels or ("room",))
        self.clock = LoopClock()
        self.inbox = Inbox(self._take, self.clock)
        self.chat = Chat(
            self._open, "bot", self._token, self.rooms, inbox=self.inbox, clock=self.clock
        )
        self.running = asyncio.create_task(self.chat.run())

    @property
    def server(self) -> Server:
        return self.servers[-1]

    async def _open(self) -> LineStream:
        self.opened_at.append(now())
        if self.down:
            self.down -= 1
            raise Closed("no connection: refused")
        self.servers.append(self.make())
        return self.server

    async def _token(self, refused: str) -> str:
        if self.failure is not None:
            raise self.failure
        self.tokens.append(refused)
        return self.token

    async def _take(self, body: bytes) -> None:
        parsed, _ = Reader("bot", ("!",), self.clock).read(body)
        self.heard += [event.id for event in parsed.events]

    async def until(self, check: Callable[[], object]) -> None:
        while not check():  # noqa: ASYNC110 # nothing announces it
            await asyncio.sleep(0)

    def says(self, text: str, message_id: str, *servers: Server) -> None:
        tags = f"@id={message_id};room-id=7;user-id=5"
        for server in servers or (self.server,):
            server.says(f"{tags} :ann!ann@x PRIVMSG #room :{text}")


@asynccontextmanager
async def world(*channels: str) -> AsyncIterator[World]:
    made = World(*channels)
    try:
        yield made
    finally:
        made.running.cancel()
        await asyncio.gather(made.running, return_exceptions=True)
        await made.inbox.close()


@virtual
async def test_it_joins_all_channels_at_the_pace_that_is_allowed() -> None:
    names = tuple(f"room{n}" for n in range(100))
    async with world(*names) as twitch:
        await asyncio.sleep(9)
        assert len(twitch.server.sent("JOIN")) == 20
        await asyncio.sleep(50)
        assert twitch.server.sent("JOIN") == [f"JOIN #{name}" for name in names]
        assert twitch.rooms.ids["room99"] == "7"


@virtual
async def test_joins_of_all_connections_share_the_pace() -> None:
    joins = Joins(LoopClock())
    times = []
    for _ in range(100):
        await joins.turn()
        times.append(now())
    assert all(b - a > 10 for a, b in zip(times, times[20:], strict=False))


@virtual
async def test_a_channel_that_does_not_let_us_in_is_tried_again_ever_more_rarely() -> None:
    async with world("room", "closed") as twitch:
        await asyncio.sleep(0.1)
        twitch.server.joins = False
        twitch.server.says(":bot!bot@x PART #closed")
        await asyncio.sleep(1700)
        assert 4 <= len(twitch.server.sent("JOIN #closed")) <= 8
        assert len(twitch.server.sent("JOIN #room")) == 1
        twitch.server.joins = True
        await asyncio.sleep(700)
        assert await twitch.chat.say("closed", "hi") == "m1"


@virtual
async def test_a_broken_connection_is_replaced_and_rejoined() -> None:
    async with world() as twitch:
        await asyncio.sleep(100)
        twitch.server.ends()
        await asyncio.sleep(5)
        assert len(twitch.servers) == 2
        assert twitch.server.sent("JOIN") == ["JOIN #room"]
        assert await twitch.chat.say("room", "hi") == "m1"


@virtual
async def test_connecting_is_tried_with_growing_pauses_that_differ() -> None:
    async with world() as twitch:
        twitch.down = 12
        await asyncio.sleep(300)
        gaps = [b - a for a, b in zip(twitch.opened_at, twitch.opened_at[1:], strict=False)]
        assert len(gaps) == 12
        assert gaps[0] < 1 < gaps[5]
        assert max(gaps) <= 31
        assert len({round(gap, 3) for gap in gaps}) == 12
        assert await twitch.chat.say("room", "hi") == "m1"


@virtual
async def test_a_server_that_ends_each_connection_at_once_is_not_stormed() -> None:
    def dying() -> Server:
        server = Server()
        server.ends()
        return server

    async with world() as twitch:
        twitch.make = dying
        await asyncio.sleep(300)
        assert len(twitch.opened_at) < 25


@virtual
async def test_when_asked_to_it_connects_anew_without_losing_or_doubling_anything() -> None:
    async with world() as twitch:
        await asyncio.sleep(100)
        old = twitch.server
        twitch.says("1", "a")
        old.says(":tmi.twitch.tv RECONNECT")
        await asyncio.sleep(0)
        twitch.says("2", "b", old)
        await twitch.until(lambda: len(twitch.servers) == 2)
        twitch.says("3", "c", old)
        await twitch.until(lambda: twitch.server.sent("JOIN"))
        twitch.says("4", "d", *twitch.servers)
        await asyncio.sleep(5)
        assert old.closed
        assert not twitch.server.closed
        twitch.says("5", "e")
        await asyncio.sleep(0.1)
        assert twitch.heard == [f"twitch:bot:{letter}" for letter in "abcde"]
        assert twitch.opened_at[1] == twitch.opened_at[0] + 100  # at once


@virtual
async def test_a_server_that_keeps_asking_is_not_followed_in_a_circle() -> None:
    def nagging() -> Server:
        server = Server()
        server.says(":tmi.twitch.tv RECONNECT")
        return server

    async with world() as twitch:
        twitch.make = nagging
        await asyncio.sleep(300)
        assert len(twitch.opened_at) < 250


@virtual
async def test_an_old_connection_goes_even_if_the_new_one_is_not_let_in() -> None:
    async with world() as twitch:
        await asyncio.sleep(100)
        old = twitch.server
        old.says(":tmi.twitch.tv RECONNECT")
        twitch.make = closed_rooms
        await asyncio.sleep(5)
        assert not old.closed
        assert await twitch.chat.say("room", "over the old one") == "m1"
        await asyncio.sleep(70)
        assert old.closed


def closed_rooms() -> Server:
    server = Server()
    server.joins = False
    return server


@virtual
async def test_a_token_that_is_refused_is_renewed_first() -> None:
    async with world() as twitch:
        twitch.make = lambda: Server("token2")
        await asyncio.sleep(0.1)
        twitch.token = "token2"
        await asyncio.sleep(5)
        assert twitch.tokens == ["", "token"]
        assert await twitch.chat.say("room", "hi") == "m1"


@virtual
async def test_two_tokens_that_are_refused_end_it() -> None:
    async with world() as twitch:
        twitch.make = lambda: Server("another")
        with pytest.raises(BadToken, match="legato twitch login"):
            await twitch.running
        assert len(twitch.opened_at) == 2


@virtual
async def test_it_ends_when_there_is_no_token_and_waits_when_none_can_be_had_now() -> None:
    async with world() as twitch:
        twitch.failure = Unavailable("no answer")
        await asyncio.sleep(10)
        twitch.failure = None
        await asyncio.sleep(10)
        assert await twitch.chat.say("room", "hi") == "m1"
    async with world() as twitch:
        twitch.failure = BadToken("log in")
        with pytest.raises(BadToken):
            await twitch.running


@virtual
async def test_what_is_to_be_said_waits_for_a_connection_but_not_for_ever() -> None:
    async with world() as twitch:
        twitch.down = 3
        assert await twitch.chat.say("room", "hi") == "m1"
        with pytest.raises(NotConnected):
            await twitch.chat.say("elsewhere", "hi")


@virtual
async def test_roles_come_with_the_state_of_a_channel() -> None:
    async with world() as twitch:
        await asyncio.sleep(1)
        assert twitch.rooms.window("7", "4200") == FEW
        twitch.server.says("@badges=moderator/1 :t USERSTATE #room")
        await asyncio.sleep(0.1)
        assert twitch.rooms.window("7", "4200") == MANY
        twitch.server.says("@badges=;mod=1 :t USERSTATE #room")
        await asyncio.sleep(0.1)
        assert twitch.rooms.window("7", "4200") == MANY
        twitch.server.says("@badges=vip/1;mod=0 :t USERSTATE #room")
        await asyncio.sleep(0.1)
        assert twitch.rooms.window("7", "4200") == FEW
        assert twitch.rooms.window("7", "7") == MANY  # its own channel


@virtual
async def test_a_server_that_is_not_twitch_is_read_by_its_names() -> None:
    async with world() as twitch:
        await asyncio.sleep(1)
        twitch.server.says(":Ann!a@x PRIVMSG #Room :hello", "@msgid=x1 :Ann!a@x PRIVMSG #room :hi")
        await asyncio.sleep(0.1)
        assert len(twitch.heard) == 2
        assert twitch.heard[1] == "twitch:bot:x1"


@virtual
async def test_a_sink_that_breaks_ends_it() -> None:
    async with world() as twitch:
        await asyncio.sleep(1)

        async def broken(body: bytes) -> None:
            raise ZeroDivisionError

        twitch.inbox._sink = broken
        twitch.says("1", "a")
        await asyncio.sleep(0.1)
        twitch.says("2", "b")
        with pytest.raises(ZeroDivisionError):
            await twitch.running
