"""Twitch over EventSub, by webhook and by WebSocket, with what can go wrong."""

import asyncio

import pytest

from legato import App, Chat
from legato.abc import HttpRequest
from legato.deploy.clock import SystemClock
from legato.deploy.parts import make_platforms
from legato.errors import BadToken, ConfigError, StepError
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.fake_twitch import FakeTwitch
from legato.testing.fake_twitch.payloads import timestamp
from legato.testing.fake_twitch.webhooks import signature
from tests.integration.twitch_bot import (
    TRANSPORTS,
    connected,
    echoed,
    running,
    settings_for,
    until,
)

app = App("echo", apology="")
BOTH = pytest.mark.parametrize("transport", ["eventsub", "eventsub-websocket"])
WEBSOCKET = "eventsub-websocket"


@app.message()
async def echo(chat: Chat) -> None:
    await chat.say(chat.message.text)


@app.command("raw")
async def raw(chat: Chat) -> None:
    try:
        answer = await chat.twitch.send_chat_message(message="raw")
    except StepError as error:
        await chat.say(f"not shown: {error}")
    else:
        await chat.say(f"sent: {answer['data'][0]['is_sent']}")


@app.command("chatters")
async def chatters(chat: Chat) -> None:
    answer = await chat.twitch.get_users(login="ann")
    await chat.say(f"ann is {answer['data'][0]['id']}")


@app.command("reply")
async def reply(chat: Chat) -> None:
    answer = await chat.say("see here", reply_to=chat.message)
    await chat.say("and here", reply_to=answer)


def made(twitch: FakeTwitch) -> int:
    """Subscriptions created so far."""
    return len(twitch.called("/helix/eventsub/subscriptions", "POST"))


# -- both ----------------------------------------------------------------------------------------


@BOTH
async def test_what_comes_twice_is_answered_once(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        twitch.eventsub.repeats = 2
        twitch.eventsub.webhooks.loses = 1
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            for n in range(5):
                twitch.viewer("Ann").says(f"hello {n}")
            await until(lambda: len(room.texts) == 5)
            await asyncio.sleep(0.2)
            assert len(room.texts) == 5
        assert twitch.violations == []


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
            assert (await room.gets("and here")).reply_to is first


@BOTH
async def test_an_expired_token_is_renewed_once_for_all(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            twitch.auth.expire()
            for n in range(10):
                twitch.viewer(f"viewer{n}").says(f"hello {n}")
            await until(lambda: len(room.texts) == 10)
            granted = [c for c in twitch.called("/oauth2/token") if c.status == 200]
            assert len(granted) == (2 if transport == "eventsub" else 1)
        assert twitch.violations == []


@BOTH
async def test_a_message_that_is_not_shown_is_kept_for_the_operator(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        store = MemoryStore()
        ann = twitch.viewer("Ann")
        async with running(app, twitch, transport, store=store) as bot:
            await connected(twitch, transport)
            room.drops("channel_settings", "This chat is in followers-only mode.")
            ann.says("hello")
            await until(lambda: bot.relay.stats.dead == 1)
            await until(lambda: not bot.relay.left)
            (item,) = await store.outbox(states=("dead",))
            assert "followers-only" in item.error


@BOTH
async def test_a_dialog_that_asks_sees_whether_it_was_shown(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            ann.says("!raw")
            await ann.gets("sent: True")
            room.drops("msg_rejected", "It is being checked by mods.")
            ann.says("!raw")
            said = await ann.gets()
            assert "msg_rejected" in said.plain
            assert "checked by mods" in said.plain


@BOTH
async def test_any_method_of_the_api_can_be_called(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            ann.says("!chatters")
            await ann.gets(f"ann is {ann.id}")


@BOTH
async def test_limits_and_failures_of_the_api_delay_but_lose_nothing(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            twitch.fails(429, "/helix/chat", reset_s=1)
            twitch.fails(500, "/helix/chat", skip=1)
            twitch.resets("/helix/chat", carried_out=False)
            await echoed(twitch)


@BOTH
async def test_a_revocation_is_shown_to_the_operator(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        async with running(app, twitch, transport):
            await connected(twitch, transport)
            twitch.eventsub.revokes("authorization_revoked", channel=room)
            await until(lambda: "authorization_revoked" in caplog.text)
            assert "ronni" in caplog.text
            assert "legato twitch login" in caplog.text


@BOTH
async def test_an_account_that_is_lost_ends_the_platform_and_keeps_what_waits(
    transport: str,
) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        store = MemoryStore()
        async with running(app, twitch, transport, store=store) as bot:
            await connected(twitch, transport)
            twitch.auth.forget(twitch.bot)
            twitch.auth.client_secret = "changed"
            twitch.auth.expire()
            twitch.viewer("Ann").says("hello")
            await until(lambda: bot.failures)
            assert isinstance(bot.failures[0], BadToken)
            assert len(await store.outbox(states=("queued",))) == 1
            calls = len(twitch.calls)
            await asyncio.sleep(0.5)
            assert len(twitch.calls) == calls


@BOTH
async def test_what_the_account_did_not_allow_is_said_at_the_start(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        twitch._token = twitch.auth.grant(twitch.bot, ("chat:read",))
        with pytest.raises(BadToken, match="user:read:chat, user:write:chat"):
            async with running(app, twitch, transport):
                raise AssertionError("it must not start")


# -- by webhook ----------------------------------------------------------------------------------


async def test_subscriptions_are_what_they_should_be_after_each_start() -> None:
    store = MemoryStore()
    async with FakeTwitch(second=0.01) as twitch:
        for n in range(5):
            twitch.channel(f"room{n}")
        twitch.eventsub.page = 2
        url = "http://127.0.0.1:1"
        async with running(app, twitch, "eventsub", store=store, LEGATO_PUBLIC_URL=url):
            assert made(twitch) == 5
        for subscription in twitch.eventsub.subscriptions:
            subscription.status = "enabled"
        async with running(app, twitch, "eventsub", store=store, LEGATO_PUBLIC_URL=url):
            assert made(twitch) == 5
        first, second, *_ = twitch.eventsub.subscriptions
        first.status = "notification_failures_exceeded"
        second.transport = second.transport | {"callback": "http://127.0.0.1:2/twitch"}
        async with running(app, twitch, "eventsub", store=store, LEGATO_PUBLIC_URL=url):
            assert made(twitch) == 7
        assert len(twitch.eventsub.subscriptions) == 6
        assert second in twitch.eventsub.subscriptions
        other = "another secret of the tests"
        async with running(
            app, twitch, "eventsub", store=store, LEGATO_PUBLIC_URL=url, TWITCH_SECRET=other
        ):
            assert made(twitch) == 12
        assert twitch.violations == []


async def test_a_channel_that_lets_the_bot_not_in_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        twitch.channel("Closed").bot_allowed = False
        async with running(app, twitch, "eventsub"):
            await until(lambda: len(twitch.eventsub.enabled) == 1)
            await echoed(twitch)
            assert "make it a moderator" in caplog.text


async def test_an_unknown_channel_is_named_and_none_at_all_ends_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        async with running(app, twitch, "eventsub", TWITCH_CHANNELS="ronni,nobody"):
            assert "no channel nobody" in caplog.text
        with pytest.raises(ConfigError, match="no channel nobody"):
            async with running(app, twitch, "eventsub", TWITCH_CHANNELS="nobody"):
                raise AssertionError("it must not start")


async def test_a_subscription_that_twitch_ended_is_made_again_in_a_minute() -> None:
    clock = FakeClock(SystemClock().now_ms())  # Twitch signs by the real one
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        async with running(app, twitch, "eventsub", clock=clock):
            await connected(twitch, "eventsub")
            twitch.eventsub.revokes("notification_failures_exceeded", channel=room)
            await until(lambda: twitch.eventsub.webhooks.deliveries[-1].status == 200)
            for _ in range(62):
                await asyncio.sleep(0.01)
                clock.advance(1.0)
            await until(lambda: made(twitch) == 2)
            assert len(twitch.eventsub.subscriptions) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_start_while_twitch_is_away_is_made_up_for(transport: str) -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        twitch.fails(503, "/oauth2/validate")
        twitch.fails(500, "/helix/users")
        async with running(app, twitch, transport) as bot:
            await connected(twitch, transport, 20)
            await echoed(twitch)
            assert bot.failures == []


async def test_webhooks_need_a_public_address() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        with pytest.raises(ConfigError, match="LEGATO_PUBLIC_URL"):
            async with running(app, twitch, "eventsub", LEGATO_PUBLIC_URL=""):
                raise AssertionError("it must not start")


async def test_old_and_forged_requests_are_refused() -> None:
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        async with running(app, twitch, "eventsub"):
            await connected(twitch, "eventsub")
            hooks = twitch.eventsub.webhooks
            hooks.sent_at = "2020-01-01T00:00:00.000000000Z"
            twitch.viewer("Ann").says("too old")
            await until(lambda: hooks.deliveries[-1].status == 401)
            hooks.sent_at = ""
            twitch.eventsub.enabled[0].secret = "a secret of a forger"
            twitch.viewer("Bob").says("forged")
            await until(lambda: [d.status for d in hooks.deliveries].count(401) >= 2)
            await asyncio.sleep(0.05)
            assert room.texts == []


async def test_one_who_never_set_up_takes_the_secret_from_the_store() -> None:
    store = MemoryStore()
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        async with running(app, twitch, "eventsub", store=store) as bot:
            secret = bot.state.secret
            assert len(secret) > 30
        (cold,) = make_platforms(settings_for(twitch, "eventsub"), ("!",), SystemClock())
        await cold.load(store)
        assert cold.bot == twitch.bot.id
        delivery = twitch.eventsub.webhooks.deliveries[0]
        at = timestamp()
        signed = {
            "twitch-eventsub-message-id": delivery.message_id,
            "twitch-eventsub-message-timestamp": at,
            "twitch-eventsub-message-signature": signature(
                secret, delivery.message_id, at, delivery.body
            ),
        }
        cold.verify(HttpRequest("POST", "/twitch", signed, delivery.body))
