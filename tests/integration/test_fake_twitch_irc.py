"""The fake chat server is trusted only as far as it behaves like the real one: over TCP and TLS."""

import ssl

import aiohttp
import pytest

from legato.testing.fake_twitch import FakeTwitch, Refused
from tests.integration.twitch_kit import connected, tls

MEMBERSHIP = "twitch.tv/tags twitch.tv/commands twitch.tv/membership"


# -- logging in ----------------------------------------------------------------------------------


async def test_a_bot_logs_in_joins_and_hears_what_is_said() -> None:
    async with FakeTwitch() as twitch:
        twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        async with connected(twitch) as bot:
            assert bot.seen[0].endswith("CAP * ACK :twitch.tv/tags twitch.tv/commands")
            assert "user-id=" in await bot.until("GLOBALUSERSTATE")
            await bot.say("JOIN #ronni")
            await bot.until(":fakebot!fakebot@fakebot.tmi.twitch.tv JOIN #ronni")
            await bot.until("353 fakebot = #ronni :fakebot")
            await bot.until("366 fakebot #ronni :End of /NAMES list")
            await bot.until("USERSTATE #ronni")
            assert "slow=0" in await bot.until("ROOMSTATE #ronni")
            ann.says("a;b c\\")
            tags, _, rest = (await bot.until("PRIVMSG")).partition(" :")
            assert rest == "ann!ann@ann.tmi.twitch.tv PRIVMSG #ronni :a;b c\\"
            assert f"user-id={ann.id}" in tags.split(";")
        assert twitch.violations == []


async def test_a_server_of_a_known_authority_speaks_tls() -> None:
    async with FakeTwitch(tls=True) as twitch:
        twitch.channel()
        async with connected(twitch) as bot:
            await bot.say("JOIN #ronni")
            await bot.until("ROOMSTATE")
        async with aiohttp.ClientSession() as session:  # it knows no authority of ours
            with pytest.raises(aiohttp.ClientConnectorCertificateError, match="local issuer"):
                await session.get(twitch.api_url)


async def test_a_certificate_for_another_name_is_refused() -> None:
    async with FakeTwitch(tls=True, host="example.org") as twitch:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for '127\.0\.0\.1'"):
            async with connected(twitch):
                pass


@pytest.mark.parametrize(
    ("password", "nick", "answer"),
    [
        ("oauth:nonsense", "fakebot", "Login authentication failed"),
        ("nonsense", "fakebot", "Improperly formatted auth"),
        ("{token}", "fakebot", "Improperly formatted auth"),
        ("oauth:{token}", "somebody", "Login authentication failed"),
    ],
)
async def test_a_wrong_log_in_ends_the_connection(password: str, nick: str, answer: str) -> None:
    async with FakeTwitch() as twitch:
        twitch.viewer("Somebody")
        async with connected(twitch, login=False) as bot:
            await bot.say(f"PASS {password.format(token=twitch.token)}", f"NICK {nick}")
            assert (await bot.until("NOTICE")).endswith(f"NOTICE * :{answer}")
            await bot.ends()


async def test_an_expired_token_and_one_without_the_scope_do_not_log_in() -> None:
    async with FakeTwitch() as twitch:
        other = twitch.auth.grant(twitch.bot, ("user:read:chat",))
        twitch.auth.expire(twitch.token)
        for token, answer in (
            (twitch.token, "Login authentication failed"),
            (other.access, "Login unsuccessful"),
        ):
            async with connected(twitch, login=False) as bot:
                await bot.say(f"PASS oauth:{token}", "NICK fakebot")
                assert answer in await bot.until("NOTICE")


async def test_somebody_without_an_account_may_listen_but_not_speak() -> None:
    async with FakeTwitch() as twitch:
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        async with connected(twitch, login=False) as bot:
            await bot.say("NICK justinfan123", "JOIN #ronni", "PRIVMSG #ronni :hi")
            await bot.until("ROOMSTATE")
            ann.says("hello")
            await bot.until("PRIVMSG #ronni :hello")
        assert channel.transcript == ["Ann: hello"]


async def test_capabilities_are_listed_granted_or_refused_together() -> None:
    async with FakeTwitch() as twitch:
        twitch.channel()
        ann = twitch.viewer("Ann")
        twitch.irc.refused_caps = {"twitch.tv/tags"}
        async with connected(twitch, caps="") as bot:
            await bot.say("CAP LS 302", f"CAP REQ :{MEMBERSHIP}", "CAP REQ :twitch.tv/commands")
            assert "membership" in await bot.until("CAP * LS")
            assert MEMBERSHIP in await bot.until("CAP * NAK")
            await bot.until("CAP * ACK :twitch.tv/commands")
            await bot.say("CAP END", "JOIN #ronni")
            await bot.until(":tmi.twitch.tv ROOMSTATE #ronni")
            ann.says("hi")
            assert (await bot.read()).startswith(":ann!")


async def test_what_is_no_command_is_said_to_be_none() -> None:
    async with FakeTwitch() as twitch, connected(twitch) as bot:
        await bot.say("WHOIS ann")
        await bot.until("421 fakebot WHOIS :Unknown command")
        await bot.say("PING :abc")
        await bot.until("PONG tmi.twitch.tv :abc")
        await bot.say("QUIT")
        await bot.ends()


# -- channels ------------------------------------------------------------------------------------


async def test_others_come_and_go() -> None:
    async with FakeTwitch() as twitch:
        twitch.channel()
        ann = twitch.viewer("Ann")
        async with connected(twitch, caps=MEMBERSHIP) as bot:
            await bot.say("JOIN #ronni")
            await bot.until("ROOMSTATE")
            async with connected(twitch, login=False) as other:
                token = twitch.auth.grant(ann.account).access
                await other.say(f"PASS oauth:{token}", "NICK ann", "JOIN #ronni,#nowhere")
                assert await bot.read() == ":ann!ann@ann.tmi.twitch.tv JOIN #ronni"
                assert "msg_channel_suspended" in await other.until("NOTICE #nowhere")
                assert twitch.irc.joined("ann") == {"ronni"}
                await other.say("PART #ronni")
                await other.until(" PART #ronni")
                assert await bot.read() == ":ann!ann@ann.tmi.twitch.tv PART #ronni"
                await other.say("JOIN #ronni")
                await bot.until(" JOIN #ronni")
            await bot.until(" PART #ronni")


async def test_joins_beyond_the_pace_are_ignored_and_noted() -> None:
    async with FakeTwitch() as twitch:
        now = 1000.0
        twitch.world.now = lambda: now
        names = [twitch.channel(f"c{i}").login for i in range(22)]
        async with connected(twitch) as bot:
            await bot.say(*(f"JOIN #{name}" for name in names))
            await twitch.wait_for(lambda: len(twitch.violations) == 2)
            assert len(twitch.irc.joined("fakebot")) == 20
            now += 10
            await bot.say(f"JOIN #{names[20]},#{names[21]}")
            await twitch.wait_for(lambda: len(twitch.irc.joined("fakebot")) == 22)
        assert twitch.violations == ["more than 20 JOINs in 10 s"] * 2


# -- speaking ------------------------------------------------------------------------------------


async def test_a_message_is_acknowledged_to_the_sender_and_seen_by_the_others() -> None:
    async with FakeTwitch() as twitch:
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        async with connected(twitch) as bot, connected(twitch) as twin:
            await bot.say("JOIN #ronni")
            await twin.say("JOIN #ronni")
            await bot.until("ROOMSTATE")
            await twin.until("ROOMSTATE")
            question = ann.says("!start")
            await bot.until("PRIVMSG")
            tags = f"@client-nonce=n1;reply-parent-msg-id={question.id}"
            await bot.say(f"{tags} PRIVMSG #ronni :First number?")
            receipt = await bot.read()
            answer = await ann.gets("First number?")
            assert "USERSTATE #ronni" in receipt
            assert f"id={answer.id}" in receipt
            assert "client-nonce=n1" in receipt
            line = await twin.until("First number?")
            assert line.endswith("PRIVMSG #ronni :@Ann First number?")
            assert f"reply-parent-msg-id={question.id};" in line
            assert "reply-parent-msg-body=!start;" in line
        assert channel.texts == ["@Ann First number?"]


@pytest.mark.parametrize("said", ["/me waves", ".me waves", "\x01ACTION waves\x01"])
async def test_an_action_is_an_action_however_it_is_said(said: str) -> None:
    async with FakeTwitch() as twitch:
        channel = twitch.channel()
        async with connected(twitch) as bot:
            await bot.say(f"PRIVMSG #ronni :{said}")
            message = await channel.gets("waves")
            assert message.action


@pytest.mark.parametrize("said", ["/ban ann", ".timeout ann"])
async def test_commands_of_the_chat_are_none_for_bots(said: str) -> None:
    async with FakeTwitch() as twitch:
        channel = twitch.channel()
        async with connected(twitch) as bot:
            await bot.say(f"PRIVMSG #ronni :{said}")
            assert "msg-id=unrecognized_cmd" in await bot.until("NOTICE #ronni")
        assert channel.messages == []


async def test_a_long_message_is_cut_and_noted() -> None:
    async with FakeTwitch() as twitch:
        channel = twitch.channel()
        async with connected(twitch) as bot:
            await bot.say(f"PRIVMSG #ronni :{'x' * 501}")
            assert len((await channel.gets()).text) == 500
        assert twitch.violations == ["a message of 501 characters over IRC"]


async def test_the_same_again_within_thirty_seconds_is_not_shown() -> None:
    async with FakeTwitch() as twitch:
        channel = twitch.channel()
        now = 1000.0
        twitch.world.now = lambda: now
        async with connected(twitch) as bot:
            await bot.say("PRIVMSG #ronni :yes", "PRIVMSG #ronni :yes")
            assert "msg-id=msg_duplicate" in await bot.until("NOTICE #ronni")
            now += 30
            await bot.say("PRIVMSG #ronni :yes")
            await bot.until("USERSTATE")
            channel.gives("moderator", twitch.bot)
            await bot.say("PRIVMSG #ronni :yes", "PRIVMSG #ronni :done")
            await channel.gets("yes")
            await twitch.wait_for(lambda: channel.texts == ["yes", "yes", "yes", "done"])


@pytest.mark.parametrize(("role", "most"), [("", 20), ("moderator", 100)])
async def test_who_writes_too_fast_is_ignored_for_half_an_hour(role: str, most: int) -> None:
    async with FakeTwitch() as twitch:
        channel, other = twitch.channel(), twitch.channel("Dallas")
        if role:
            channel.gives(role, twitch.bot)
        now = 1000.0
        twitch.world.now = lambda: now
        async with connected(twitch) as bot:
            await bot.say(*(f"PRIVMSG #ronni :{i}" for i in range(most)))
            await bot.say("PRIVMSG #dallas :another room")
            await other.gets("another room")
            assert len(channel.messages) == most
            await bot.say("PRIVMSG #ronni :one too many")
            assert "msg-id=msg_ratelimit" in await bot.until("NOTICE #ronni")
            assert len(twitch.violations) == 1
            now += 1799
            await bot.say("PRIVMSG #ronni :later")
            await bot.until("NOTICE #ronni")
            now += 2
            await bot.say("PRIVMSG #ronni :much later")
            await twitch.wait_for(lambda: channel.texts[-1] == "much later")


async def test_nobody_banned_is_heard() -> None:
    async with FakeTwitch() as twitch:
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        now = 1000.0
        twitch.world.now = lambda: now
        channel.bans(ann, 10)
        with pytest.raises(Refused):
            ann.says("hi")
        now += 10
        ann.says("hi")
        channel.bans(twitch.bot)
        async with connected(twitch) as bot:
            await bot.say("PRIVMSG #ronni :hi", "JOIN #ronni")
            assert "msg-id=msg_banned" in await bot.until("NOTICE #ronni")
            assert "msg-id=msg_banned" in await bot.until("NOTICE #ronni")
        channel.unbans(twitch.bot)
        assert channel.banned.keys() == {ann.id}


async def test_a_token_that_may_only_read_does_not_write() -> None:
    async with FakeTwitch() as twitch:
        channel = twitch.channel()
        token = twitch.auth.grant(twitch.bot, ("chat:read",)).access
        async with connected(twitch, login=False) as bot:
            await bot.say(f"PASS oauth:{token}", "NICK fakebot", "PRIVMSG #ronni :hi")
            assert "msg-id=no_permission" in await bot.until("NOTICE #ronni")
        assert channel.messages == []


# -- going wrong ---------------------------------------------------------------------------------


async def test_connections_can_be_refused_cut_and_frozen() -> None:
    async with FakeTwitch() as twitch:
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        twitch.irc.refuses()
        async with connected(twitch, caps="", login=False) as bot:
            await bot.ends()
        async with connected(twitch) as bot:
            twitch.irc.cuts(carried_out=False)
            await bot.say("PRIVMSG #ronni :lost")
            await bot.ends()
        async with connected(twitch) as bot:
            twitch.irc.cuts(carried_out=True)
            await bot.say("PRIVMSG #ronni :shown")
            await bot.ends()
            assert "USERSTATE" not in bot.seen[-1]
        assert channel.texts == ["shown"]
        async with connected(twitch) as bot:
            await bot.say("JOIN #ronni")
            await bot.until("ROOMSTATE")
            twitch.irc.freeze()
            ann.says("anybody there?")
            await bot.say("PING :x")
            twitch.irc.drop()
            await bot.ends()
            assert "ROOMSTATE" in [line for line in bot.seen if line][-1]


async def test_a_message_may_come_twice_and_a_pong_never() -> None:
    async with FakeTwitch() as twitch:
        twitch.channel()
        ann = twitch.viewer("Ann")
        twitch.irc.repeats = 1
        twitch.irc.answers_pings = False
        async with connected(twitch) as bot:
            await bot.say("JOIN #ronni", "PING :x")
            await bot.until("ROOMSTATE")
            ann.says("hi")
            first, again = await bot.read(), await bot.read()
            assert first == again
            twitch.irc.sends(":tmi.twitch.tv NOTICE #ronni :of the test")
            assert "of the test" in await bot.read()


async def test_a_shared_chat_says_where_a_message_was_written() -> None:
    async with FakeTwitch() as twitch:
        twitch.channel()
        other, ann = twitch.channel("Dallas"), twitch.viewer("Ann")
        async with connected(twitch) as bot:
            await bot.say("JOIN #ronni")
            await bot.until("ROOMSTATE")
            ann.says("hi from over there", shared_from=other)
            assert f"source-room-id={other.id};" in await bot.read()


async def test_a_client_that_speaks_before_it_logged_in_is_noted() -> None:
    async with FakeTwitch() as twitch:
        async with connected(twitch, login=False) as bot:
            await bot.say("JOIN #ronni")
            await twitch.wait_for(lambda: twitch.violations)
        assert twitch.violations == ["JOIN before the log-in"]


async def test_chat_over_a_websocket_is_the_same() -> None:
    for secure in (False, True):
        async with FakeTwitch(tls=secure) as twitch, aiohttp.ClientSession() as session:
            twitch.channel()
            ann = twitch.viewer("Ann")
            context = tls(twitch) or True
            async with session.ws_connect(
                twitch.irc_ws_url, ssl=context, protocols=["irc"]
            ) as socket:
                await socket.send_str(f"PASS oauth:{twitch.token}\r\nNICK fakebot")
                await socket.send_str("JOIN #ronni")
                while "366" not in (await socket.receive_str(timeout=10)):
                    pass
                ann.says("hi" * 40_000)
                line = await socket.receive_str(timeout=10)
                assert line.endswith("hi\r\n")
                assert len(line) > 65_536
