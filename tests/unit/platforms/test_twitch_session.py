"""One IRC connection, with a server in memory and in virtual time."""

import asyncio

import pytest

from legato.platforms.twitch.session import LoginRefused, NotShown
from legato.platforms.twitch.sockets import Closed
from tests.unit.outbox.kit import virtual
from tests.unit.platforms.twitch_stream import WELCOME, Opened, Server


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_it_says_who_it_is_and_what_it_knows() -> None:
    async with Opened(Server()) as opened:
        await opened.session.register("token")
        await asyncio.sleep(0.01)
        assert opened.server.written == [
            "CAP REQ :twitch.tv/tags twitch.tv/commands twitch.tv/membership",
            "PASS oauth:token",
            "NICK bot",
            "USER bot 8 * :bot",
            "CAP END",
        ]
        assert opened.session.caps == {
            "twitch.tv/tags",
            "twitch.tv/commands",
            "twitch.tv/membership",
        }
        assert opened.session.alive


@virtual
async def test_capabilities_that_are_refused_together_are_asked_for_alone() -> None:
    server = Server()
    server.caps = ""
    async with Opened(server) as opened:
        await opened.session.register("token")
        server.says(":s CAP * NAK :twitch.tv/tags twitch.tv/commands twitch.tv/membership")
        await asyncio.sleep(0.01)
        asked = server.sent("CAP REQ")[1:]
        assert len(asked) == 5
        server.says(":s CAP bot ACK :twitch.tv/commands ", ":s CAP bot ACK :message-tags")
        server.says(":s CAP bot NAK :twitch.tv/tags", ":s CAP bot NAK :twitch.tv/membership")
        await asyncio.sleep(0.01)
        assert server.sent("CAP END") == []
        server.says(":s CAP bot ACK :server-time")
        await asyncio.sleep(0.01)
        assert server.sent("CAP END") == ["CAP END"]
        assert opened.session.caps == {"twitch.tv/commands", "message-tags", "server-time"}


@virtual
async def test_a_server_that_knows_no_capabilities_is_a_server() -> None:
    server = Server()
    server.caps = ":s 421 bot CAP :Unknown command"
    async with Opened(server) as opened:
        await opened.session.register("token")
        assert opened.session.caps == set()


@pytest.mark.parametrize(
    "line",
    [
        ":tmi.twitch.tv NOTICE * :Login authentication failed",
        ":tmi.twitch.tv NOTICE * :Improperly formatted auth",
        ":irc.example 464 bot :Password incorrect",
        "ERROR :Closing link: (bot@127.0.0.1) [Access denied by configuration]",
        ":irc.example 433 * bot :Nickname is already in use",
    ],
)
def test_a_login_that_is_refused_is_told_from_a_connection_that_breaks(line: str) -> None:
    @virtual
    async def story() -> None:
        server = Server("another token")
        async with Opened(server) as opened:
            server.says(line)
            with pytest.raises(LoginRefused):
                await opened.session.register("token")

    story()


@virtual
async def test_a_server_that_says_nothing_is_given_up() -> None:
    server = Server()
    server.obey = lambda line: None
    async with Opened(server) as opened:
        began = now()
        with pytest.raises(Closed):
            await opened.session.register("token")
        assert 10 <= now() - began <= 20


@virtual
async def test_a_connection_that_ends_ends_the_login() -> None:
    server = Server()
    server.obey = lambda line: None
    async with Opened(server) as opened:
        server.ends()
        with pytest.raises(Closed):
            await opened.session.register("token")


@virtual
async def test_what_is_said_has_the_id_that_its_receipt_tells() -> None:
    async with Opened(Server()) as opened:
        session = await opened.in_room()
        assert [await session.say("room", "one"), await session.say("room", "two")] == ["m1", "m2"]
        assert opened.server.sent("PRIVMSG") == ["PRIVMSG #room :one", "PRIVMSG #room :two"]


@virtual
async def test_a_reply_names_the_message_it_answers() -> None:
    async with Opened(Server()) as opened:
        session = await opened.in_room()
        await session.say("room", "yes", "p;1")
        assert "reply-parent-msg-id=p\\:1" in opened.server.written[-1]


@virtual
async def test_receipts_are_told_apart_by_their_nonce() -> None:
    server = Server()
    async with Opened(server) as opened:
        session = await opened.in_room()
        server.receipts = False
        first = asyncio.create_task(session.say("room", "one"))
        second = asyncio.create_task(session.say("room", "two"))
        await asyncio.sleep(0.01)
        nonces = [line.partition("client-nonce=")[2].partition(" ")[0] for line in server.written]
        one, two = (nonce for nonce in nonces if nonce)
        server.says(
            f"@client-nonce={two};id=m2 :t USERSTATE #room",
            "@client-nonce=strange;id=m9 :t USERSTATE #room",
            f"@client-nonce={one};id=m1 :t USERSTATE #room",
        )
        assert [await first, await second] == ["m1", "m2"]


@virtual
async def test_the_state_that_comes_with_joining_is_no_receipt() -> None:
    server = Server()
    server.receipts = server.joins = False
    async with Opened(server) as opened:
        await opened.session.register("token")
        task = asyncio.create_task(opened.session.say("room", "one"))
        await asyncio.sleep(0.01)
        server.says(":t USERSTATE #room")
        await asyncio.sleep(0.01)
        assert not task.done()
        server.says(":t USERSTATE #room")
        assert await task == ""


@virtual
async def test_a_message_that_is_not_shown_says_why() -> None:
    server = Server()
    async with Opened(server) as opened:
        session = await opened.in_room()
        server.receipts = False
        task = asyncio.create_task(session.say("room", "one"))
        await asyncio.sleep(0.01)
        server.says("@msg-id=host_on :t NOTICE #room :Now hosting.")
        server.says("@msg-id=msg_banned :t NOTICE #other :You are banned.")
        server.says("@msg-id=msg_slowmode :t NOTICE #room :Wait 7 seconds.")
        with pytest.raises(NotShown, match="Wait 7") as caught:
            await task
        assert caught.value.code == "msg_slowmode"
        server.receipts = True
        assert await session.say("room", "two") == "m1"


@virtual
async def test_without_a_receipt_a_pong_shows_that_it_was_read() -> None:
    server = Server()
    async with Opened(server) as opened:
        session = await opened.in_room()
        server.receipts = False
        began = now()
        assert await session.say("room", "one") == ""
        assert 2 <= now() - began <= 5
        assert len(server.sent("PING")) == 1


@virtual
async def test_a_server_without_receipts_is_not_waited_for() -> None:
    server = Server()
    server.caps, server.receipts = ":t CAP * NAK :twitch.tv/tags", False
    async with Opened(server) as opened:
        session = await opened.in_room()
        began = now()
        assert await session.say("room", "one", "p1") == ""
        assert now() - began < 0.5
        assert server.written[-2] == "PRIVMSG #room :one"  # no tags, since they would be an error


@pytest.mark.parametrize("how", ["ends", "silent"])
def test_a_message_whose_connection_breaks_is_unknown(how: str) -> None:
    @virtual
    async def story() -> None:
        server = Server()
        async with Opened(server) as opened:
            session = await opened.in_room()
            server.receipts = server.pongs = False
            task = asyncio.create_task(session.say("room", "one"))
            await asyncio.sleep(0.01)
            if how == "ends":
                server.ends()
            with pytest.raises(Closed):
                await task
            assert session.alive == (how == "silent")

    story()


@virtual
async def test_a_late_receipt_counts_more_than_a_missing_pong() -> None:
    server = Server()
    async with Opened(server) as opened:
        session = await opened.in_room()
        server.receipts = server.pongs = False
        task = asyncio.create_task(session.say("room", "one"))
        await asyncio.sleep(5)
        server.says("@id=m1 :t USERSTATE #room")
        assert await task == "m1"


@virtual
async def test_a_receipt_behind_much_that_is_said_is_waited_for() -> None:
    server = Server()
    async with Opened(server) as opened:
        session = await opened.in_room()
        server.receipts = server.pongs = False
        task = asyncio.create_task(session.say("room", "one"))
        for number in range(20):  # a flood, of which something is read now and then
            await asyncio.sleep(7)
            server.says(f"@id={number} :a!a@a PRIVMSG #room :hi")
        opened.heard.wait = asyncio.Event()  # and now nobody can take more for a while
        server.says("@id=x :a!a@a PRIVMSG #room :hi", "@id=m1 :t USERSTATE #room")
        await asyncio.sleep(100)
        assert not task.done()
        opened.heard.wait.set()
        assert await task == "m1"  # given up before, it would have been said twice


@virtual
async def test_a_server_that_talks_but_never_answers_is_given_up_at_last() -> None:
    server = Server()
    async with Opened(server) as opened:
        session = await opened.in_room()
        server.receipts = server.pongs = False
        task = asyncio.create_task(session.say("room", "one"))
        for _ in range(100):
            await asyncio.sleep(7)
            server.says(":t NOTICE #room :still here")
        with pytest.raises(Closed):
            await task


@virtual
async def test_a_ping_is_answered_in_its_own_words() -> None:
    async with Opened(Server()) as opened:
        await opened.in_room()
        opened.server.says("PING :tmi.twitch.tv", "PING 12345", "PING")
        await asyncio.sleep(0.01)
        assert opened.server.sent("PONG") == ["PONG tmi.twitch.tv", "PONG 12345", "PONG legato"]


@virtual
async def test_a_server_that_fell_silent_ends_the_connection() -> None:
    server = Server()
    async with Opened(server) as opened:
        await opened.in_room()
        began = now()
        await asyncio.sleep(300)
        assert not opened.running.done()  # it answers our pings
        server.pongs = False
        with pytest.raises(Closed, match=r"silent|closed"):
            await opened.running
        assert now() - began <= 300 + 60 + 15
        assert not opened.session.alive
        assert opened.session.joined == set()


@virtual
async def test_a_late_pong_ends_nothing_while_other_lines_come() -> None:
    server = Server()
    async with Opened(server) as opened:
        await opened.in_room()
        server.pongs = False
        for _ in range(50):
            await asyncio.sleep(7)
            server.says(":t NOTICE #room :still here")
        assert not opened.running.done()


@virtual
async def test_while_a_message_is_handed_on_silence_means_nothing() -> None:
    server = Server()
    async with Opened(server) as opened:
        await opened.in_room()
        opened.heard.wait = asyncio.Event()
        server.pongs = False
        server.says("@id=1 :a!a@a PRIVMSG #room :hi", ":t NOTICE #room :x")
        await asyncio.sleep(1000)
        assert not opened.running.done()
        server.pongs = True
        opened.heard.wait.set()
        await asyncio.sleep(200)
        assert opened.heard.said == ["hi"]
        assert not opened.running.done()


@virtual
async def test_it_knows_where_it_is() -> None:
    server = Server()
    async with Opened(server) as opened:
        session = await opened.in_room()
        server.says(":ann!ann@x JOIN #room", ":ann!ann@x PART #room", ":ann!ann@x JOIN #other")
        await asyncio.sleep(0.01)
        assert session.joined == {"room"}
        server.says(":bot!bot@x PART #room", ":t 366 bot #third :End of /NAMES list")
        await asyncio.sleep(0.01)
        assert session.joined == {"third"}
        assert opened.heard.rooms == ["JOIN", "USERSTATE", "ROOMSTATE", "PART", "JOIN"]


@virtual
async def test_it_passes_on_that_it_is_to_connect_anew() -> None:
    async with Opened(Server()) as opened:
        await opened.in_room()
        opened.server.says(":tmi.twitch.tv RECONNECT")
        await asyncio.sleep(0.01)
        assert opened.heard.left == 1
        assert opened.session.alive


@virtual
async def test_lines_that_are_none_and_lines_nobody_knows_do_no_harm() -> None:
    async with Opened(Server()) as opened:
        session = await opened.in_room()
        opened.server.says(
            ":", "@a=b", ":x CAP", ":x CAP * LS :a b", ":x PONG", "NOTICE", ":x 366", "JOIN",
            ":x CLEARCHAT #room", ":x 999", WELCOME, ":x 474 bot #room :Banned", "PRIVMSG",
        )  # fmt: skip
        await asyncio.sleep(0.01)
        assert await session.say("room", "one") == "m1"


@virtual
async def test_closing_ends_whoever_waits() -> None:
    server = Server()
    async with Opened(server) as opened:
        session = await opened.in_room()
        server.receipts = False
        task = asyncio.create_task(session.say("room", "one"))
        await asyncio.sleep(0.01)
        await session.close()
        with pytest.raises(Closed):
            await task
        with pytest.raises(Closed):
            await opened.running
        with pytest.raises(Closed):
            await session.ping()
