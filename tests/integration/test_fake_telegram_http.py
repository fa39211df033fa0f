"""The fake Telegram's HTTP, byte by byte, and the methods that few bots need."""

import asyncio
import json

import aiohttp
import pytest

from legato.testing._http import Poster, Request, Response, Server
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.telegram_kit import opened


async def talk(fake: FakeTelegram, *pieces: bytes) -> bytes:
    """All that the server answers to these bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(fake.api.rpartition(":")[2]))
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b"reset"
    finally:
        writer.close()


def request(fake: FakeTelegram, body: bytes, *headers: str, method: str = "sendMessage") -> bytes:
    lines = [f"POST /bot{fake.token}/{method} HTTP/1.1", "Host: x", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_a_request_may_come_in_any_pieces() -> None:
    async with FakeTelegram() as fake:
        body = json.dumps({"chat_id": fake.user(started=True).id, "text": "é"}).encode()
        whole = request(
            fake, body, "Content-Type: application/json", f"Content-Length: {len(body)}",
            "Connection: close",
        )  # fmt: skip
        answer = await talk(fake, *(bytes((byte,)) for byte in whole))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"ok":true' in answer


async def test_requests_that_follow_at_once_are_answered_in_order() -> None:
    async with FakeTelegram() as fake:
        me = request(fake, b"", "Content-Length: 0", method="getMe")
        last = request(fake, b"", "Content-Length: 0", "Connection: close", method="getWebhookInfo")
        answer = await talk(fake, me + me + last)
        assert answer.count(b"HTTP/1.1 200") == 3
        assert answer.rfind(b"pending_update_count") > answer.rfind(b"can_join_groups")


async def test_a_chunked_body_is_put_together_and_a_hundred_is_said_where_it_is_expected() -> None:
    async with FakeTelegram() as fake:
        chat = str(fake.user(started=True).id).encode()
        body = b"4\r\nchat\r\n%x;ext=1\r\n_id=%b&text=x\r\n0\r\n\r\n" % (len(chat) + 11, chat)
        form = "Content-Type: application/x-www-form-urlencoded"
        head = ("Transfer-Encoding: chunked", form, "Expect: 100-continue", "Connection: close")
        answer = await talk(fake, request(fake, body[:9], *head), body[9:])
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
        assert fake.called("sendMessage")[0].params["text"] == "x"


@pytest.mark.parametrize(
    "junk", [b"hello\r\n\r\n", b"POST / HTTP/1.1\r\nno colon\r\n\r\n", b"x" * 70_000]
)
async def test_what_is_no_http_is_cut_off(junk: bytes) -> None:
    async with FakeTelegram() as fake:
        assert await talk(fake, junk) in (b"", b"reset")


async def test_other_paths_are_not_found() -> None:
    async with FakeTelegram() as fake, aiohttp.ClientSession() as session:
        for path, status in (
            ("/", 404),
            (f"/file/bot{fake.token}/none", 404),
            ("/file/bot1:x/none", 401),
        ):
            async with session.get(fake.api + path) as response:
                assert response.status == status


async def test_webhooks_are_posted_over_a_connection_that_is_kept_until_it_breaks() -> None:
    seen: list[str] = []

    def handle(incoming: Request) -> Response:
        seen.append(incoming.target)
        return Response(200, b"pong")

    poster = Poster()
    first, second = Server(handle), Server(handle)
    port = await first.open()
    try:
        for _ in range(2):
            status, _, body = await poster.post(f"http://127.0.0.1:{port}/a", {}, b"ping")
            assert (status, body) == (200, b"pong")
        await first.close()
        await second.open(port)
        assert (await poster.post(f"http://127.0.0.1:{port}", {}, b""))[0] == 200
        assert seen == ["/a", "/a", "/"]
    finally:
        await poster.close()
        await first.close()
        await second.close()
    with pytest.raises(OSError, match="Connect"):
        await poster.post(f"http://127.0.0.1:{port}/", {}, b"")


async def test_messages_are_copied_and_forwarded() -> None:
    async with opened() as (fake, call):
        ann, bob = fake.user("Ann"), fake.user("Bob", started=True)
        said = ann.sends_photo("my cat")
        where = {"chat_id": bob.id, "from_chat_id": ann.id, "message_id": said.id}
        _, copied = await call("copyMessage", **where)
        _, forwarded = await call("forwardMessage", **where)
        assert copied["result"].keys() == {"message_id"}
        assert forwarded["result"]["caption"] == "my cat"
        assert bob.sees == ["my cat", "my cat"]


async def test_commands_are_kept() -> None:
    async with opened() as (_, call):
        commands = [{"command": "start", "description": "Begin"}]
        await call("setMyCommands", commands=commands)
        assert (await call("getMyCommands"))[1]["result"] == commands
        await call("deleteMyCommands")
        assert (await call("getMyCommands"))[1]["result"] == []
        assert (await call("setMyCommands"))[0] == 400


async def test_a_channel_is_known_by_its_name_and_all_its_pins_go_at_once() -> None:
    async with opened() as (fake, call):
        news = fake.channel("News", username="news")
        await call("sendMessage", chat_id="@news", text="x")
        here = {"chat_id": "@news", "message_id": news.chat.last.id}
        await call("pinChatMessage", **here)
        assert [message.pinned for message in news.chat.messages] == [True]
        await call("unpinChatMessage", chat_id="@news")
        assert [message.pinned for message in news.chat.messages] == [False]
        await call("sendChatAction", chat_id=news.id, action="typing")
        assert news.chat.actions == ["typing"]
        await call("leaveChat", chat_id=news.id)
        assert (await call("sendMessage", chat_id="@news", text="x"))[0] == 403
        assert (await call("sendMessage", chat_id="@olds", text="x"))[0] == 400


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("sendLocation", {"latitude": 1}),
        ("sendContact", {"phone_number": "1"}),
        ("sendInvoice", {"title": "x", "description": "x", "currency": "EUR"}),
        ("sendMediaGroup", {"media": []}),
        ("sendMediaGroup", {"media": [{"type": "hologram", "media": "x"}] * 2}),
        ("editMessageMedia", {"message_id": 1}),
        ("editMessageMedia", {"message_id": 1, "media": {"type": "photo"}}),
        ("editMessageCaption", {"message_id": 1, "caption": "x"}),
        ("editMessageText", {"message_id": 1, "text": ""}),
        ("editMessageReplyMarkup", {"message_id": 1, "reply_markup": {"force_reply": True}}),
    ],
)
async def test_half_a_call_is_a_bad_request(method: str, params: dict[str, object]) -> None:
    async with opened() as (fake, call):
        ann = fake.user(started=True)
        assert (await call("sendMessage", chat_id=ann.id, text="x"))[1]["result"]["message_id"] == 1
        assert (await call(method, chat_id=ann.id, **params))[0] == 400


async def test_a_test_can_add_a_method() -> None:
    async with opened() as (fake, call):
        fake.extra["getstars"] = lambda params, files: {"stars": params["of"]}
        assert (await call("getStars", of=3))[1]["result"] == {"stars": 3}
