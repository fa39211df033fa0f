"""How the fake Telegram hands out updates: as the real one, which repeats them until they are taken."""

import asyncio
import json

import aiohttp
import pytest

from legato.testing._http import Response
from tests.integration.telegram_kit import Hook, hooked, opened

# -- long polling --------------------------------------------------------------------------------


async def test_an_update_comes_again_until_a_higher_offset_is_asked_for() -> None:
    async with opened() as (telegram, call):
        ann = telegram.user()
        for n in range(3):
            ann.sends(str(n))

        async def texts(**params: int) -> list[str]:
            _, answer = await call("getUpdates", **params)
            return [update["message"]["text"] for update in answer["result"]]

        first = (await call("getUpdates"))[1]["result"][0]["update_id"]
        assert await texts() == ["0", "1", "2"]
        assert await texts(limit=2) == ["0", "1"]
        assert await texts(offset=first) == ["0", "1", "2"]
        assert await texts(offset=first + 1) == ["1", "2"]
        assert await texts() == ["1", "2"]
        assert await texts(offset=-1) == ["2"]
        assert await texts(offset=first + 9) == []
        assert telegram.updates.pending == {}


async def test_a_long_poll_ends_with_the_update_or_with_nothing() -> None:
    async with opened() as (telegram, call):
        assert (await call("getUpdates", timeout=1))[1]["result"] == []
        polling = asyncio.create_task(call("getUpdates", timeout=50))
        await telegram.wait_for(lambda: telegram.updates.polling)
        telegram.user().sends("x")
        assert len((await polling)[1]["result"]) == 1


async def test_two_pollers_and_a_poller_beside_a_webhook_conflict() -> None:
    async with opened() as (telegram, call):
        first = asyncio.create_task(call("getUpdates", timeout=50))
        await telegram.wait_for(lambda: telegram.updates.polling)
        second = asyncio.create_task(call("getUpdates", timeout=50))
        status, answer = await first
        assert status == 409
        assert "terminated by other getUpdates request" in answer["description"]
        await telegram.wait_for(lambda: telegram.updates.polling)
        await call("setWebhook", url="http://127.0.0.1:9/x")
        assert (await second)[0] == 409
        status, answer = await call("getUpdates")
        assert status == 409
        assert "webhook is active" in answer["description"]
        await call("deleteWebhook")
        assert (await call("getUpdates"))[0] == 200


async def test_only_the_kinds_asked_for_come() -> None:
    async with opened() as (telegram, call):
        ann = telegram.user()
        message = ann.sends("x")
        ann.reacts(message, "👍")
        assert len((await call("getUpdates"))[1]["result"]) == 1
        await call("getUpdates", allowed_updates=["message_reaction"])
        ann.reacts(message, "🔥")
        ann.sends("y")
        last = (await call("getUpdates", offset=-1))[1]["result"][0]
        assert last["message_reaction"]["new_reaction"] == [{"type": "emoji", "emoji": "🔥"}]
        assert last["message_reaction"]["old_reaction"] == [{"type": "emoji", "emoji": "👍"}]


async def test_updates_can_be_repeated_though_they_are_confirmed() -> None:
    async with opened() as (telegram, call):
        telegram.user().sends("x")
        first = (await call("getUpdates"))[1]["result"]
        assert (await call("getUpdates", offset=first[0]["update_id"] + 1))[1]["result"] == []
        telegram.updates.repeat_polls = 1
        assert (await call("getUpdates"))[1]["result"] == first


# -- webhooks ----------------------------------------------------------------------------------


async def test_a_webhook_is_called_with_the_secret_again_and_again_until_it_answers_200() -> None:
    hook = Hook(Response(500), Response(503), Response(302))
    async with hooked(hook, secret_token="s3cret") as (telegram, call):
        telegram.user().sends("x")
        await telegram.wait_for(lambda: not telegram.updates.pending)
        assert hook.texts == ["x"] * 4
        first = hook.requests[0]
        assert (first.method, first.target) == ("POST", "/telegram")
        assert first.headers["x-telegram-bot-api-secret-token"] == "s3cret"
        assert [status for _, status in telegram.updates.deliveries] == [500, 503, 302, 200]
        info = (await call("getWebhookInfo"))[1]["result"]
        assert info["last_error_message"] == "Wrong response from the webhook: 302"


async def test_one_request_per_chat_is_under_way_and_chats_do_not_wait_for_each_other() -> None:
    hook = Hook()
    hook.gate = asyncio.Event()
    async with hooked(hook) as (telegram, _):
        ann, bob = telegram.user("Ann"), telegram.user("Bob")
        for text in ("a1", "a2", "a3"):
            ann.sends(text)
        bob.sends("b1")
        await hook.got(2)
        assert sorted(hook.texts) == ["a1", "b1"]
        hook.gate.set()
        await telegram.wait_for(lambda: not telegram.updates.pending)
        assert [text for text in hook.texts if text[0] == "a"] == ["a1", "a2", "a3"]
        assert hook.most == 2


@pytest.mark.parametrize("multipart", [False, True])
async def test_a_call_in_the_answer_is_carried_out(multipart: bool) -> None:
    hook = Hook()
    async with hooked(hook) as (telegram, _):
        ann = telegram.user()
        reply = {"method": "sendMessage", "chat_id": ann.id, "text": "pong"}
        if multipart:
            writer = aiohttp.MultipartWriter("form-data")
            for name, value in reply.items():
                writer.append(str(value)).set_content_disposition("form-data", name=name)
            body = bytes(await _written(writer))
            hook.answers = [Response(200, body, writer.headers["content-type"])]
        else:
            hook.answers = [Response(200, json.dumps(reply).encode())]
        ann.sends("ping")
        await ann.gets("pong")
        assert [call.via for call in telegram.called("sendMessage")] == ["webhook"]


async def _written(writer: aiohttp.MultipartWriter) -> bytearray:
    class Sink:
        data = bytearray()

        async def write(self, chunk: bytes) -> None:
            self.data += chunk

    sink = Sink()
    await writer.write(sink)  # type: ignore[arg-type]
    return sink.data


async def test_a_lost_answer_makes_telegram_post_again_and_only_the_last_is_heard() -> None:
    hook = Hook()
    async with hooked(hook) as (telegram, _):
        ann = telegram.user()
        reply = json.dumps({"method": "sendMessage", "chat_id": ann.id, "text": "pong"}).encode()
        hook.answers = [Response(200, reply), Response(200, reply)]
        telegram.updates.repeats = 1
        ann.sends("ping")
        await telegram.wait_for(lambda: not telegram.updates.pending)
        assert hook.texts == ["ping", "ping"]
        assert ann.sees == ["pong"]


async def test_what_is_held_comes_in_an_order_of_chats_by_the_seed() -> None:
    orders = set()
    for seed in range(4):
        hook = Hook()
        async with hooked(hook, max_connections=1) as (telegram, _):
            telegram.updates.hold()
            for name in "abc":
                user = telegram.user(name)
                user.sends(name + "1")
                user.sends(name + "2")
            telegram.updates.release(seed)
            await telegram.wait_for(lambda: not telegram.updates.pending)
            for name in "abc":
                assert [t for t in hook.texts if t[0] == name] == [name + "1", name + "2"]
            orders.add(tuple(hook.texts))
    assert len(orders) > 1
