"""The fake EventSub: subscriptions, signed webhooks, and WebSockets with all their codes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from legato.testing._http import Request, Response, Server
from legato.testing.fake_twitch import FakeTwitch
from legato.testing.fake_twitch.webhooks import signature
from tests.integration.twitch_kit import SECRET, chat, opened

PATH = "/eventsub/subscriptions"


class Hook:
    """A bot's web server: answers challenges, keeps what comes, answers from a list."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.challenged = 0
        self.kind = "text/plain"

    def __call__(self, request: Request) -> Response:
        body = msgspec.json.decode(request.body)
        if request.headers["twitch-eventsub-message-type"] == "webhook_callback_verification":
            self.challenged += 1
            return Response(200, body["challenge"].encode(), self.kind)
        self.requests.append(request)
        return self.answers.pop(0) if self.answers else Response(204)

    @property
    def texts(self) -> list[str]:
        bodies = [msgspec.json.decode(request.body) for request in self.requests]
        return [body["event"]["message"]["text"] for body in bodies if "event" in body]


@asynccontextmanager
async def hooked(hook: Hook) -> AsyncIterator[tuple[FakeTwitch, Any, str]]:
    """A fake, the function that calls it as the app, and the callback's address."""
    server = Server(hook)
    url = f"http://127.0.0.1:{await server.open()}/twitch"
    try:
        async with opened() as (twitch, call):
            token = twitch.auth.app_token().access

            async def as_app(method: str, **options: Any) -> tuple[int, Any]:
                found: tuple[int, Any] = await call(method, PATH, token=token, **options)
                return found

            yield twitch, as_app, url
    finally:
        await server.close()


def webhook(twitch: FakeTwitch, url: str, channel: str = "") -> dict[str, object]:
    room = channel or next(iter(twitch.world.channels))
    transport = {"method": "webhook", "callback": url, "secret": SECRET}
    return chat(room, twitch.bot.id, transport)


async def enabled(twitch: FakeTwitch, call: Any, url: str) -> None:
    """One subscription that brings events."""
    assert (await call("POST", body=webhook(twitch, url)))[0] == 202
    await twitch.wait_for(lambda: twitch.eventsub.enabled)


# -- webhooks ------------------------------------------------------------------------------------


async def test_a_challenge_is_answered_and_then_signed_events_come() -> None:
    hook = Hook()
    async with hooked(hook) as (twitch, call, url):
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        channel.gives("subscriber", ann)
        status, made = await call("POST", body=webhook(twitch, url))
        assert (status, made["data"][0]["status"]) == (202, "webhook_callback_verification_pending")
        assert made["data"][0]["transport"] == {"method": "webhook", "callback": url}
        await twitch.wait_for(lambda: twitch.eventsub.enabled)
        said = ann.says("hi Kappa")
        await twitch.wait_for(lambda: hook.requests)
        request = hook.requests[0]
        body, headers = msgspec.json.decode(request.body), request.headers
        event = body["event"]
        assert (event["chatter_user_id"], event["broadcaster_user_id"]) == (ann.id, channel.id)
        assert (event["message_id"], event["message"]["text"]) == (said.id, "hi Kappa")
        kinds = [fragment["type"] for fragment in event["message"]["fragments"]]
        assert kinds == ["text", "emote"]
        assert event["badges"] == [{"set_id": "subscriber", "id": "12", "info": "12"}]
        assert body["subscription"]["status"] == "enabled"
        assert headers["twitch-eventsub-subscription-type"] == "channel.chat.message"
        message_id = headers["twitch-eventsub-message-id"]
        when = headers["twitch-eventsub-message-timestamp"]
        proof = headers["twitch-eventsub-message-signature"]
        assert proof == signature(SECRET, message_id, when, request.body)
        assert twitch.violations == []


async def test_an_unanswered_event_comes_again_with_the_same_id_and_in_order() -> None:
    hook = Hook(Response(500), Response(503))
    async with hooked(hook) as (twitch, call, url):
        twitch.channel()
        ann, bob = twitch.viewer("Ann"), twitch.viewer("Bob")
        await enabled(twitch, call, url)
        ann.says("one")
        ann.says("two")
        await twitch.wait_for(lambda: twitch.eventsub.webhooks.idle)
        assert hook.texts == ["one", "one", "one", "two"]
        retries = [r.headers["twitch-eventsub-message-retry"] for r in hook.requests]
        assert retries == ["0", "1", "2", "0"]
        assert len({r.headers["twitch-eventsub-message-id"] for r in hook.requests}) == 2
        twitch.eventsub.webhooks.loses = 1
        bob.says("three")
        await twitch.wait_for(lambda: twitch.eventsub.webhooks.idle)
        assert hook.texts[-2:] == ["three", "three"]
        twitch.eventsub.webhooks.loses = 0
        twitch.eventsub.repeats = 1
        bob.says("four")
        await twitch.wait_for(lambda: twitch.eventsub.webhooks.idle)
        assert hook.texts[-2:] == ["four", "four"]


async def test_events_can_be_held_and_dated_back() -> None:
    hook = Hook()
    async with hooked(hook) as (twitch, call, url):
        twitch.channel()
        ann = twitch.viewer("Ann")
        await enabled(twitch, call, url)
        twitch.eventsub.webhooks.hold()
        twitch.eventsub.webhooks.sent_at = "2020-01-01T00:00:00.000000001Z"
        ann.says("late")
        assert hook.requests == []
        twitch.eventsub.webhooks.release()
        await twitch.wait_for(lambda: hook.texts == ["late"])
        dated = hook.requests[0].headers["twitch-eventsub-message-timestamp"]
        assert dated.startswith("2020-01-01")


async def test_who_fails_too_often_is_told_and_gets_no_more() -> None:
    hook = Hook(*[Response(500)] * 3)
    async with hooked(hook) as (twitch, call, url):
        twitch.channel()
        ann = twitch.viewer("Ann")
        await enabled(twitch, call, url)
        twitch.eventsub.webhooks.attempts = 3
        twitch.eventsub.webhooks.failures_allowed = 1
        ann.says("hi")
        await twitch.wait_for(lambda: not twitch.eventsub.enabled and len(hook.requests) == 4)
        assert hook.requests[-1].headers["twitch-eventsub-message-type"] == "revocation"
        told = msgspec.json.decode(hook.requests[-1].body)["subscription"]
        assert told["status"] == "notification_failures_exceeded"
        ann.says("anybody?")
        await twitch.wait_for(lambda: twitch.eventsub.webhooks.idle)
        assert len(hook.requests) == 4


async def test_a_challenge_that_fails_leaves_a_dead_subscription() -> None:
    hook = Hook()
    async with hooked(hook) as (twitch, call, url):
        twitch.channel()
        hook.kind = "application/json"
        await enabled(twitch, call, url)
        assert twitch.violations == [
            "a challenge was answered as application/json, not as plain text"
        ]
        await call("POST", body=webhook(twitch, "http://127.0.0.1:9/nobody"))
        await twitch.wait_for(lambda: twitch.eventsub.webhooks.idle)
        failed = twitch.eventsub.subscriptions[-1]
        assert failed.status == "webhook_callback_verification_failed"


async def test_subscriptions_are_unique_listed_by_pages_and_removed() -> None:
    async with hooked(Hook()) as (twitch, call, url):
        rooms = [twitch.channel(f"c{i}").id for i in range(5)]
        for room in rooms:
            assert (await call("POST", body=webhook(twitch, url, room)))[0] == 202
        status, body = await call("POST", body=webhook(twitch, url))
        assert (status, body["error"]) == (409, "Conflict")
        twitch.eventsub.page = 2
        seen: list[str] = []
        after: dict[str, str] = {}
        while True:
            _, page = await call("GET", **after)
            seen += [s["condition"]["broadcaster_user_id"] for s in page["data"]]
            assert page["total"] == 5
            if not page["pagination"]:
                break
            after = {"after": page["pagination"]["cursor"]}
        assert seen == rooms
        await twitch.wait_for(lambda: len(twitch.eventsub.enabled) == 5)
        twitch.eventsub.revokes(channel=twitch.world.channels[rooms[0]])
        _, dead = await call("GET", status="authorization_revoked")
        assert [s["condition"]["broadcaster_user_id"] for s in dead["data"]] == rooms[:1]
        assert len((await call("GET", user_id=rooms[1]))[1]["data"]) == 1
        assert (await call("GET", user_id=rooms[1], type="x"))[0] == 400
        assert (await call("GET", after="x"))[0] == 400
        wanted = dead["data"][0]["id"]
        assert await call("DELETE", id=wanted) == (204, None)
        assert (await call("DELETE", id=wanted))[0] == 404
        assert (await call("POST", body=webhook(twitch, url)))[0] == 202


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"type": "channel.nonsense"}, 400, "type and version"),
        ({"version": 1}, 400, "version"),
        ({"condition": {}}, 400, "broadcaster_user_id"),
        ({"condition": {"broadcaster_user_id": "999", "user_id": "1"}}, 403, "authorization"),
        ({"transport": {"method": "pigeon"}}, 400, "transport method"),
        ({"transport": {"method": "webhook", "secret": SECRET}}, 400, "callback"),
        ({"transport": {"method": "webhook", "callback": "http://e.org"}}, 400, "secret"),
        (
            {"transport": {"method": "webhook", "callback": "http://e.org", "secret": SECRET}},
            400,
            "HTTPS",
        ),
        (
            {"transport": {"method": "webhook", "callback": "https://e.org", "secret": "short"}},
            400,
            "between 10 and 100",
        ),
        ({"transport": {"method": "websocket", "session_id": "x"}}, 400, "auth combination"),
    ],
)
async def test_a_wrong_subscription_is_refused(
    changes: dict[str, object], status: int, message: str
) -> None:
    async with hooked(Hook()) as (twitch, call, url):
        twitch.channel()
        answered, body = await call("POST", body=webhook(twitch, url) | changes)
        assert answered == status
        assert message in body["message"]
        assert twitch.eventsub.subscriptions == []


async def test_an_app_reads_only_where_user_and_broadcaster_agreed() -> None:
    async with hooked(Hook()) as (twitch, call, url):
        channel = twitch.channel()
        channel.bot_allowed = False
        assert (await call("POST", body=webhook(twitch, url)))[0] == 403
        channel.gives("moderator", twitch.bot)
        twitch.auth.grants[twitch.bot.id].discard("user:bot")
        assert (await call("POST", body=webhook(twitch, url)))[0] == 403
        twitch.auth.grant(twitch.bot)
        assert (await call("POST", body=webhook(twitch, url)))[0] == 202


# -- WebSockets ----------------------------------------------------------------------------------


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
