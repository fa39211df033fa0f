"""twitchAPI and twitchio, written for the real Twitch, complete their flows against the fake.

They take a second to import: only this file does, and not to be collected.
"""

import asyncio
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from queue import SimpleQueue
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from legato.testing.fake_twitch import FakeTwitch
from tests.integration.twitch_kit import SECRET, chat, opened

SCOPES = ("chat:edit", "chat:read", "user:bot", "user:read:chat", "user:write:chat")


@asynccontextmanager
async def client(twitch: FakeTwitch, *, app: bool = False) -> AsyncIterator[Any]:
    """twitchAPI, as the bot or (also) as the app."""
    from twitchAPI.twitch import Twitch
    from twitchAPI.type import AuthScope

    api = Twitch(
        twitch.client_id,
        twitch.client_secret,
        authenticate_app=app,
        base_url=f"{twitch.api_url}/",
        auth_base_url=f"{twitch.auth_url}/",
    )
    try:
        await api
        if not app:
            scopes = [AuthScope(scope) for scope in SCOPES]
            await api.set_user_authentication(twitch.token, scopes, twitch.refresh_token)
        yield api
    finally:
        await api.close()


# -- OAuth ---------------------------------------------------------------------------------------


async def test_twitchapi_logs_somebody_in_through_the_authorization_page() -> None:
    from twitchAPI.oauth import UserAuthenticator
    from twitchAPI.type import AuthScope

    async with FakeTwitch() as twitch, client(twitch, app=True) as api:
        url = "http://localhost:17563"
        scopes = [AuthScope.CHAT_READ, AuthScope.USER_READ_CHAT]
        auth = UserAuthenticator(api, scopes, url=url, auth_base_url=f"{twitch.auth_url}/")
        page = auth.return_auth_url()
        async with (
            aiohttp.ClientSession() as browser,
            browser.get(page, allow_redirects=False) as response,
        ):
            location = response.headers["location"]
        assert location.startswith(f"{url}?")
        code = location.partition("code=")[2].partition("&")[0]
        token, refresh = await auth.authenticate(user_token=code)
        await api.set_user_authentication(token, scopes, refresh)
        me = [user async for user in api.get_users()]
        assert [(user.id, user.login) for user in me] == [(twitch.bot.id, "fakebot")]


async def test_twitchapi_refreshes_what_is_over_and_is_refused_the_second_time() -> None:
    from twitchAPI.oauth import refresh_access_token, revoke_token, validate_token
    from twitchAPI.type import InvalidRefreshTokenException

    async with FakeTwitch() as twitch, client(twitch) as api:
        told: list[tuple[str, str]] = []

        async def refreshed(token: str, refresh: str) -> None:
            told.append((token, refresh))

        api.user_auth_refresh_callback = refreshed
        twitch.auth.expire()
        assert [user.login async for user in api.get_users()] == ["fakebot"]
        assert twitch.auth.refreshed == [twitch.refresh_token]
        (token, refresh) = told[0]
        base = f"{twitch.auth_url}/"
        found = await validate_token(token, auth_base_url=base)
        assert (found["login"], len(found["scopes"])) == ("fakebot", len(SCOPES))
        with pytest.raises(InvalidRefreshTokenException, match="Invalid refresh token"):
            await refresh_access_token(
                twitch.refresh_token, twitch.client_id, twitch.client_secret, auth_base_url=base
            )
        assert await revoke_token(twitch.client_id, token, auth_base_url=base)
        assert (await validate_token(token, auth_base_url=base))["status"] == 401
        assert refresh != twitch.refresh_token


# -- Helix ---------------------------------------------------------------------------------------


async def test_twitchapi_sends_messages_and_is_told_which_were_dropped() -> None:
    async with FakeTwitch() as twitch, client(twitch) as api:
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        question = ann.says("!start")
        sent = await api.send_chat_message(
            channel.id, twitch.bot.id, "First number?", reply_parent_message_id=question.id
        )
        answer = await ann.gets("First number?")
        assert (sent.is_sent, sent.message_id, sent.drop_reason) == (True, answer.id, None)
        channel.drops("msg_slowmode", "This room is in slow mode.")
        dropped = await api.send_chat_message(channel.id, twitch.bot.id, "again")
        assert (dropped.is_sent, dropped.drop_reason.code) == (False, "msg_slowmode")
        assert twitch.violations == []


async def test_twitchapi_finds_users_and_channels_and_moderates() -> None:
    from twitchAPI.type import AuthScope

    async with FakeTwitch() as twitch, client(twitch) as api:
        channel, ann = twitch.channel("Ronni"), twitch.viewer("Ann")
        found = [user async for user in api.get_users(logins=["ronni", "ann"])]
        assert [(user.id, user.display_name) for user in found] == [
            (channel.id, "Ronni"),
            (ann.id, "Ann"),
        ]
        info = await api.get_channel_information(channel.id)
        assert info[0].broadcaster_login == "ronni"
        channel.gives("moderator", twitch.bot)
        more = ("moderator:manage:chat_messages", "moderator:read:chatters")
        token = twitch.auth.grant(twitch.bot, more)
        scopes = [AuthScope(scope) for scope in more]
        await api.set_user_authentication(token.access, scopes, token.refresh)
        rude = ann.says("rude")
        chatters = await api.get_chatters(channel.id, twitch.bot.id)
        assert [chatter.user_login async for chatter in chatters] == ["ann"]
        await api.delete_chat_message(channel.id, twitch.bot.id, rude.id)
        assert channel.transcript == []


# -- EventSub over WebSockets --------------------------------------------------------------------


@pytest.fixture
def threaded() -> Iterator[FakeTwitch]:
    """In a thread of its own, because twitchAPI blocks while it connects."""
    with FakeTwitch(second=0.2).threaded() as twitch:
        yield twitch


async def test_twitchapi_reads_the_chat_over_a_websocket_and_moves_with_it(
    threaded: FakeTwitch,
) -> None:
    from twitchAPI.eventsub.websocket import EventSubWebsocket

    twitch = threaded
    channel, ann = twitch.channel(), twitch.viewer("Ann")
    heard: SimpleQueue[Any] = SimpleQueue()

    async def hear(data: Any) -> None:  # in the thread of its own that twitchAPI has
        heard.put(data.event)

    async with client(twitch) as api:
        eventsub = EventSubWebsocket(
            api,
            connection_url=twitch.eventsub_url,
            subscription_url=f"{twitch.api_url}/",
        )
        eventsub.start()
        try:
            await eventsub.listen_channel_chat_message(channel.id, twitch.bot.id, hear)
            asked = ann.says("hi Kappa")
            event = await asyncio.to_thread(heard.get, timeout=10)
            assert (event.chatter_user_id, event.message_id) == (ann.id, asked.id)
            assert [fragment.type for fragment in event.message.fragments] == ["text", "emote"]
            ann.says("an answer", reply_to=asked)
            event = await asyncio.to_thread(heard.get, timeout=10)
            assert event.message.text == "@Ann an answer"
            assert event.reply.parent_message_id == asked.id

            session = twitch.eventsub.sockets.session
            first = session.connection
            session.reconnects()
            await twitch.wait_for(lambda: session.connection is not first)
            await twitch.wait_for(lambda: first is not None and not first.open)
            ann.says("still there?")
            event = await asyncio.to_thread(heard.get, timeout=10)
            assert event.message.text == "still there?"
            assert len(twitch.eventsub.subscriptions) == 1
        finally:
            await eventsub.stop()
            thread, loop = _ends(eventsub)
            await asyncio.to_thread(thread.join, 10)
            loop.close()  # twitchAPI leaves it open
        assert twitch.violations == []


def _ends(eventsub: Any) -> tuple[threading.Thread, asyncio.AbstractEventLoop]:
    return eventsub._socket_thread, eventsub._socket_loop


# -- EventSub over webhooks ----------------------------------------------------------------------


class Judge:
    """A callback whose requests two libraries look at: each says whether it believes them."""

    def __init__(self, secret: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # twitchio's own use of aiohttp
            from twitchio.web.utils import verify_message
        from twitchAPI.eventsub.webhook import EventSubWebhook

        self._twitchio = verify_message
        self._twitchapi: Any = EventSubWebhook._verify_signature
        self.secret = secret
        self.believed: list[tuple[str, bool, bool]] = []

    async def answer(self, request: web.Request) -> web.Response:
        kind = request.headers["Twitch-Eventsub-Message-Type"]
        try:
            await self._twitchio(request=request, secret=self.secret)
            twitchio = True
        except ValueError:
            twitchio = False
        self.believed.append((kind, twitchio, await self._twitchapi(self, request)))
        body = await request.json()
        return web.Response(text=body.get("challenge", ""))


@asynccontextmanager
async def judged(judge: Judge) -> AsyncIterator[str]:
    """The address of the judge's callback."""
    app = web.Application()
    app.router.add_post("/callback", judge.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("known", [True, False])
async def test_two_libraries_believe_our_signatures_and_only_ours(known: bool) -> None:
    judge = Judge(SECRET if known else "another secret")
    async with judged(judge) as url, opened() as (twitch, call):
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        app = twitch.auth.app_token().access
        transport = {"method": "webhook", "callback": url, "secret": SECRET}
        body = chat(channel.id, twitch.bot.id, transport)
        await call("POST", "/eventsub/subscriptions", token=app, body=body)
        await twitch.wait_for(lambda: twitch.eventsub.enabled)
        ann.says('Grüße 👋 "quoted" \\ <tag>')
        await twitch.wait_for(lambda: twitch.eventsub.webhooks.idle)
        twitch.eventsub.revokes()
        await twitch.wait_for(lambda: twitch.eventsub.webhooks.idle)
        kinds = ("webhook_callback_verification", "notification", "revocation")
        assert judge.believed == [(kind, known, known) for kind in kinds]
