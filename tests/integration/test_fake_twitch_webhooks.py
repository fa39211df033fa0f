"""The fake EventSub over webhooks: subscriptions, challenges, signatures, repeats."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

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
