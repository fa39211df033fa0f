"""The fake Helix: tokens, scopes, bodies and limits are looked at as Twitch does."""

import asyncio

import aiohttp
import pytest

from legato.testing.fake_twitch import FakeTwitch
from tests.integration.twitch_kit import opened

SEND = "/chat/messages"


# -- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "OAuth token is missing"),
        ({"authorization": "Bearer {token}"}, "Client ID is missing"),
        ({"authorization": "Bearer x", "client-id": "{id}"}, "Invalid OAuth token"),
        ({"authorization": "OAuth {token}", "client-id": "{id}"}, "OAuth token is missing"),
        (
            {"authorization": "Bearer {token}", "client-id": "x"},
            "Client ID and OAuth token do not match",
        ),
    ],
)
async def test_without_proof_there_is_no_answer(headers: dict[str, str], message: str) -> None:
    async with FakeTwitch() as twitch, aiohttp.ClientSession() as session:
        filled = {
            name: value.format(token=twitch.token, id=twitch.client_id)
            for name, value in headers.items()
        }
        async with session.get(twitch.api_url + "/users", headers=filled) as response:
            assert response.status == 401
            assert await response.json() == {
                "error": "Unauthorized",
                "status": 401,
                "message": message,
            }


async def test_an_expired_token_is_401_until_it_is_refreshed() -> None:
    async with opened() as (twitch, call):
        twitch.auth.expire()
        assert (await call("GET", "/users"))[0] == 401
        assert (await call("GET", "/users", token=twitch.auth.grant(twitch.bot).access))[0] == 200


async def test_points_run_out_and_say_when_they_are_back() -> None:
    async with opened() as (twitch, call):
        twitch.world.now = lambda: 1000.0
        for _ in range(800):
            assert (await call("GET", "/users"))[0] == 200
        assert (await call("GET", "/users"))[0] == 429
        twitch.world.now = lambda: 1060.0
        assert (await call("GET", "/users"))[0] == 200


# -- users and channels --------------------------------------------------------------------------


async def test_users_are_found_by_id_by_login_and_by_token() -> None:
    async with opened() as (twitch, call):
        ann = twitch.viewer("Ann")
        _, me = await call("GET", "/users")
        assert [user["login"] for user in me["data"]] == ["fakebot"]
        _, found = await call("GET", "/users", id=ann.id, login="FakeBot")
        assert [user["display_name"] for user in found["data"]] == ["Ann", "FakeBot"]
        assert (await call("GET", "/users", login="nobody"))[1] == {"data": []}
        app = twitch.auth.app_token().access
        assert (await call("GET", "/users", token=app))[0] == 400
        assert (await call("GET", "/users", id=[ann.id] * 101))[0] == 400


async def test_channels_and_streams_are_shown() -> None:
    async with opened() as (twitch, call):
        channel = twitch.channel("Ronni")
        _, found = await call("GET", "/channels", broadcaster_id=channel.id)
        assert found["data"][0]["broadcaster_login"] == "ronni"
        assert (await call("GET", "/channels"))[0] == 400
        assert (await call("GET", "/streams", user_login="ronni"))[1]["data"] == []
        channel.live = True
        assert (await call("GET", "/streams"))[1]["data"][0]["user_id"] == channel.id
        assert (await call("GET", "/polls"))[0] == 404
        twitch.helix.extra["GET", "/polls"] = lambda _: (200, {"data": []})
        assert await call("GET", "/polls") == (200, {"data": []})


# -- Send Chat Message ---------------------------------------------------------------------------


async def test_a_message_is_sent_and_answers_another() -> None:
    async with opened() as (twitch, call):
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        question = ann.says("!start")
        body = {"broadcaster_id": channel.id, "sender_id": twitch.bot.id}
        body |= {"message": "First number?", "reply_parent_message_id": question.id}
        status, sent = await call("POST", SEND, body=body)
        answer = await ann.gets("First number?")
        assert (status, sent) == (
            200,
            {"data": [{"message_id": answer.id, "is_sent": True, "drop_reason": None}]},
        )
        assert channel.transcript == ["Ann: !start", "FakeBot: @Ann First number?"]
        assert twitch.called("/helix/chat/messages")[0].body == body
        assert twitch.violations == []


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"broadcaster_id": None}, 400, "broadcaster_id"),
        ({"broadcaster_id": 5}, 400, "broadcaster_id"),
        ({"broadcaster_id": "999"}, 400, "broadcaster_id"),
        ({"sender_id": None}, 400, "sender_id"),
        ({"sender_id": "999"}, 401, "sender_id"),
        ({"message": ""}, 400, "message"),
        ({"message": "x" * 501}, 422, "too large"),
        ({"for_source_only": True}, 400, "for_source_only"),
        ({"reply_parent_message_id": "1"}, 400, "cannot be replied to"),
    ],
)
async def test_a_body_that_is_not_as_the_reference_says_is_refused(
    changes: dict[str, object], status: int, message: str
) -> None:
    async with opened() as (twitch, call):
        channel = twitch.channel()
        body = {"broadcaster_id": channel.id, "sender_id": twitch.bot.id, "message": "hi"}
        filled = {k: v for k, v in (body | changes).items() if v is not None}
        answered, found = await call("POST", SEND, body=filled)
        assert answered == status
        assert message in found["message"]
        assert channel.messages == []


async def test_bodies_must_be_json_objects_of_known_fields() -> None:
    async with opened() as (twitch, call), aiohttp.ClientSession() as session:
        channel = twitch.channel()
        assert (await call("POST", SEND, body=[1]))[0] == 400
        headers = {"authorization": f"Bearer {twitch.token}", "client-id": twitch.client_id}
        for data, kind, status in ((b"{", "application/json", 400), (b"{}", "text/plain", 415)):
            typed = headers | {"content-type": kind}
            async with session.post(twitch.api_url + SEND, data=data, headers=typed) as response:
                assert response.status == status
        body = {"broadcaster_id": channel.id, "sender_id": twitch.bot.id, "message": "hi"}
        assert (await call("POST", SEND, body=body | {"text": "hi"}))[0] == 200
        assert twitch.violations == ["Send Chat Message has no field 'text'"]


async def test_what_the_channel_drops_is_answered_with_200() -> None:
    async with opened() as (twitch, call):
        channel = twitch.channel()
        channel.drops("msg_slowmode", "This room is in slow mode.")
        body = {"broadcaster_id": channel.id, "sender_id": twitch.bot.id, "message": "hi"}
        status, dropped = await call("POST", SEND, body=body)
        reason = {"code": "msg_slowmode", "message": "This room is in slow mode."}
        assert (status, dropped) == (
            200,
            {"data": [{"message_id": "", "is_sent": False, "drop_reason": reason}]},
        )
        assert (await call("POST", SEND, body=body))[1]["data"][0]["is_sent"] is True
        again = (await call("POST", SEND, body=body))[1]["data"][0]
        assert again["drop_reason"]["code"] == "msg_duplicate"


async def test_an_app_may_write_where_the_user_and_the_broadcaster_agreed() -> None:
    async with opened() as (twitch, call):
        channel = twitch.channel()
        app = twitch.auth.app_token().access
        body = {"broadcaster_id": channel.id, "sender_id": twitch.bot.id, "message": "hi"}
        assert (await call("POST", SEND, token=app, body=body))[0] == 200
        channel.bot_allowed = False
        body["message"] = "again"
        assert (await call("POST", SEND, token=app, body=body))[0] == 403
        channel.gives("moderator", twitch.bot)
        assert (await call("POST", SEND, token=app, body=body))[0] == 200
        twitch.auth.grants[twitch.bot.id].discard("user:bot")
        assert (await call("POST", SEND, token=app, body=body))[0] == 403
        reader = twitch.auth.grant(twitch.bot, ("user:read:chat",)).access
        assert (await call("POST", SEND, token=reader, body=body))[0] == 401


# -- moderation ----------------------------------------------------------------------------------

ALL = (
    "moderation:read",
    "moderator:manage:announcements",
    "moderator:manage:banned_users",
    "moderator:manage:chat_messages",
    "moderator:read:chatters",
)


async def test_a_moderator_deletes_bans_and_announces() -> None:
    async with opened() as (twitch, call):
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        channel.gives("moderator", twitch.bot)
        token = twitch.auth.grant(twitch.bot, ALL).access
        who = {"broadcaster_id": channel.id, "moderator_id": twitch.bot.id, "token": token}
        said = ann.says("rude")
        found = await call("GET", "/chat/chatters", **who)
        assert [user["user_login"] for user in found[1]["data"]] == ["ann"]
        path = "/moderation/chat"
        assert await call("DELETE", path, **who, message_id=said.id) == (204, None)
        assert (await call("DELETE", path, **who, message_id=said.id))[0] == 404
        ban: dict[str, dict[str, object]] = {"data": {"user_id": ann.id, "reason": "rude"}}
        assert (await call("POST", "/moderation/bans", **who, body=ban))[0] == 200
        assert (await call("POST", "/moderation/bans", **who, body=ban))[0] == 400
        assert (await call("DELETE", "/moderation/bans", **who, user_id=ann.id))[0] == 204
        assert (await call("DELETE", "/moderation/bans", **who, user_id=ann.id))[0] == 400
        ban["data"] = {"user_id": ann.id, "duration": 60}
        assert (await call("POST", "/moderation/bans", **who, body=ban))[1]["data"][0]["end_time"]
        news = {"message": "news", "color": "blue"}
        assert (await call("POST", "/chat/announcements", **who, body=news))[0] == 204
        news["color"] = "beige"
        assert (await call("POST", "/chat/announcements", **who, body=news))[0] == 400
        assert channel.texts == ["news"]
        mine = twitch.broadcaster(channel).says("mine")
        assert (await call("DELETE", path, **who, message_id=mine.id))[0] == 400
        assert (await call("DELETE", path, **who))[0] == 204
        assert channel.transcript == []


async def test_who_is_no_moderator_may_not() -> None:
    async with opened() as (twitch, call):
        channel, ann = twitch.channel(), twitch.viewer("Ann")
        where = {"broadcaster_id": channel.id, "moderator_id": twitch.bot.id}
        path = "/moderation/chat"
        assert "Missing scope" in (await call("DELETE", path, **where))[1]["message"]
        token = twitch.auth.grant(twitch.bot, ALL).access
        assert (await call("DELETE", path, **where, token=token))[0] == 403
        other = where | {"moderator_id": ann.id}
        assert (await call("DELETE", path, **other, token=token))[0] == 401
        app = twitch.auth.app_token().access
        assert (await call("DELETE", path, **where, token=app))[0] == 401
        owner = twitch.auth.grant(channel.owner, ALL).access
        channel.gives("moderator", ann)
        found = await call("GET", "/moderation/moderators", broadcaster_id=channel.id, token=owner)
        assert [user["user_id"] for user in found[1]["data"]] == [ann.id]
        query = {"broadcaster_id": channel.id, "token": token}
        assert (await call("GET", "/moderation/moderators", **query))[0] == 401


# -- going wrong ---------------------------------------------------------------------------------


async def test_requests_fail_as_a_test_wants_it() -> None:
    async with opened() as (twitch, call):
        channel = twitch.channel()
        body = {"broadcaster_id": channel.id, "sender_id": twitch.bot.id, "message": "hi"}
        fault = twitch.fails(503, "/helix/chat", times=-1, skip=1)
        assert (await call("POST", SEND, body=body))[0] == 200
        assert (await call("POST", SEND, body=body))[0] == 503
        assert (await call("GET", "/users"))[0] == 200
        fault.end()
        assert (await call("POST", SEND, body=body | {"message": "b"}))[0] == 200
        twitch.resets(carried_out=True)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await call("POST", SEND, body=body | {"message": "c"})
        assert channel.texts == ["hi", "b", "c"]
        twitch.fails(500, method="POST", carried_out=True)
        assert (await call("POST", SEND, body=body | {"message": "d"}))[0] == 500
        twitch.slow(0.001, times=1)
        assert (await call("POST", SEND, body=body | {"message": "e"}))[0] == 200
        twitch.hangs(carried_out=False)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await call("POST", SEND, body=body | {"message": "f"})
        assert channel.texts == ["hi", "b", "c", "d", "e"]


async def test_a_limit_says_when_it_ends_and_a_proxy_answers_in_html() -> None:
    async with FakeTwitch() as twitch, aiohttp.ClientSession() as session:
        twitch.fails(429, reset_s=30)
        async with session.get(twitch.api_url + "/users") as response:
            assert response.status == 429
            assert response.headers["ratelimit-remaining"] == "0"
            assert int(response.headers["ratelimit-reset"]) > 1_700_000_000
        twitch.fails(502, html=True)
        async with session.get(twitch.api_url + "/users") as response:
            assert response.content_type == "text/html"
