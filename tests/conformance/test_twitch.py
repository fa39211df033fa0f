"""Twitch passes the suite, by the API and over IRC."""

import asyncio
import hashlib
import hmac
import json

import msgspec
import pytest

from legato.abc import HttpRequest, HttpResponse, MaybeSent, NotSent, Verdict
from legato.errors import Forged
from legato.model.events import Address
from legato.model.records import Call
from legato.platforms.twitch import Twitch
from legato.platforms.twitch.chat import Chat
from legato.platforms.twitch.eventsub import ID, SIGNATURE, TIMESTAMP
from legato.platforms.twitch.grants import Account, Grant, Grants
from legato.platforms.twitch.inbox import Inbox
from legato.platforms.twitch.sockets import LineStream
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.conformance.platform import OUTGOING, PlatformConformance, ScriptedHttp
from tests.unit.platforms.twitch_stream import Server

SECRET = "canary-of-the-webhook-secret"
KEY = "canary0canary0canary0canary0canary0canary0c"
AT = "2027-01-15T08:00:00.000000001Z"
SUBSCRIPTION = {
    "id": "f1",
    "type": "channel.chat.message",
    "status": "enabled",
    "condition": {"broadcaster_user_id": "777", "user_id": "4200"},
}


def said(text: str, number: int) -> dict[str, object]:
    return {
        "broadcaster_user_id": "777",
        "chatter_user_id": "5001",
        "chatter_user_login": "ann",
        "chatter_user_name": "Ann",
        "message_id": f"m{number}",
        "message": {"text": text},
        "badges": [{"set_id": "moderator"}],
        "reply": None,
    }


def irc(text: str, number: int) -> bytes:
    tags = f"@badges=moderator/1;display-name=Ann;id=m{number};room-id=777;user-id=5001"
    return f"{tags};tmi-sent-ts=1 :ann!ann@ann.tmi.twitch.tv PRIVMSG #room :{text}".encode()


def webhook(text: str, number: int) -> bytes:
    return json.dumps({"subscription": SUBSCRIPTION, "event": said(text, number)}).encode()


def websocket(text: str, number: int) -> bytes:
    metadata = {"message_id": "n", "message_type": "notification", "message_timestamp": AT}
    payload = {"subscription": SUBSCRIPTION, "event": said(text, number)}
    return json.dumps({"metadata": metadata, "payload": payload}).encode()


class TwitchConformance(PlatformConformance):
    place = Address("twitch", "4200", "777", "5001")
    transport = "eventsub"

    def platform(self) -> Twitch:
        platform = Twitch(
            "client", "canary-of-the-client-secret", ("room",), clock=FakeClock(),
            transport=self.transport, secret=SECRET, key=KEY,
        )  # fmt: skip
        asyncio.run(logged_in(platform))
        return platform

    def payloads(self) -> dict[str, bytes]:
        revoked = SUBSCRIPTION | {"status": "user_removed"}
        return {
            "irc": irc("!start now", 1),
            "webhook": webhook("hello", 2),
            "websocket": websocket("hello", 3),
            "challenge": json.dumps({"challenge": "x-y", "subscription": SUBSCRIPTION}).encode(),
            "revocation": json.dumps({"subscription": revoked}).encode(),
            "another line": b":tmi.twitch.tv CLEARCHAT #room :bob",
        }

    def twins(self) -> list[tuple[bytes, ...]]:
        return [
            (irc(text, 1), webhook(text, 1), websocket(text, 1))
            for text in ("!start now", "hello", "ö 👋")
        ]

    def text_of(self, call: Call) -> str:
        return str(call.params.get("text", ""))


async def logged_in(platform: Twitch) -> None:
    store = MemoryStore()
    account = Account("4200", "bot", ())
    tokens = ("canary-of-the-access-token", "canary-of-the-refresh-token")
    await Grants(KEY, FakeClock()).keep(store, Grant(account, "client", *tokens, serial="1"))
    await platform.load(store)
    platform._state.tokens._app = "canary-of-the-app-token"


class TestTwitchByTheApi(TwitchConformance):
    proofs = (SIGNATURE,)

    def genuine(self) -> HttpRequest:
        body = self.payloads()["webhook"]
        signed = hmac.new(SECRET.encode(), b"id-1" + AT.encode() + body, hashlib.sha256)
        headers = {ID: "id-1", TIMESTAMP: AT, SIGNATURE: f"sha256={signed.hexdigest()}"}
        return HttpRequest("POST", "/twitch", headers, body)

    def answers(self) -> dict[str, HttpResponse]:
        sent = {"data": [{"message_id": "m9", "is_sent": True}]}
        reason = {"code": "channel_settings", "message": "followers only"}
        dropped = {"data": [{"message_id": "", "is_sent": False, "drop_reason": reason}]}
        return {
            "sent": HttpResponse(200, body=json.dumps(sent).encode()),
            "limited": problem(429, "", {"ratelimit-reset": "1800000017"}),
            "broken": problem(500, ""),
            "gone": problem(403, "The sender is not permitted"),
            "refused": HttpResponse(200, body=json.dumps(dropped).encode()),
        }


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> HttpResponse:
    body = {"error": "Error", "status": status, "message": message}
    return HttpResponse(status, headers or {}, json.dumps(body).encode())


class TestTwitchOverIrc(TwitchConformance):
    """An answer here is a line of the chat server, in the body of what would be a response."""

    transport = "irc"

    def answers(self) -> dict[str, HttpResponse]:
        return {
            "sent": HttpResponse(200, body=b"@id=m9 :t USERSTATE #777"),
            "limited": HttpResponse(0, body=b"@msg-id=msg_ratelimit :t NOTICE #777 :too quickly"),
            "gone": HttpResponse(0, body=b"@msg-id=msg_banned :t NOTICE #777 :You are banned"),
            "refused": HttpResponse(0, body=b"@msg-id=msg_emoteonly :t NOTICE #777 :emotes only"),
        }

    def verdict(self, answer: HttpResponse | Exception, *, idempotent: bool = False) -> Verdict:
        platform, place = self.platform(), self.places()[0]
        (call,) = platform.render(OUTGOING["a text"], place)
        call = msgspec.structs.replace(call, idempotent=idempotent)
        return asyncio.run(chatted(platform, call, place, answer))

    @pytest.mark.parametrize("how", ["none"])
    def test_a_forged_request_is_refused(self, how: str) -> None:
        with pytest.raises(Forged):  # there is no webhook
            self.platform().verify(HttpRequest("POST", "/twitch", {"x": how}))


class Room(Server):
    """A server that answers the first message with given lines, or breaks."""

    def __init__(self, answer: HttpResponse | Exception) -> None:
        super().__init__()
        self.answer = answer
        self.obey = self._answer

    def _answer(self, line: str) -> None:
        if "PRIVMSG" not in line:
            self._obey(line)
        elif isinstance(self.answer, Exception):
            self.ends()
        else:
            text = self.answer.body.decode("utf-8", "replace")[:1000]
            self.says(*(line for line in text.splitlines() if line))
            self.says("@id=m1 :t USERSTATE #777")


async def chatted(
    platform: Twitch, call: Call, place: Address, answer: HttpResponse | Exception
) -> Verdict:
    http = ScriptedHttp(HttpResponse(200))
    if isinstance(answer, NotSent):
        return await platform.send(call, place, http)

    async def opened() -> LineStream:
        return Room(answer)

    async def token(refused: str) -> str:
        return "token"

    async def sink(body: bytes) -> None:
        return

    clock = FakeClock()
    rooms = platform._state.rooms
    chat = Chat(opened, "bot", token, rooms, inbox=Inbox(sink, clock), clock=clock)
    rooms.logins = ("777",)
    platform._chat = chat
    running = asyncio.create_task(chat.run())
    try:
        return await platform.send(call, place, http)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_what_may_have_been_said_is_unknown() -> None:
    assert TestTwitchOverIrc().verdict(MaybeSent("cut")).outcome == "unknown"
    assert TestTwitchOverIrc().verdict(NotSent("none")).outcome == "retry"
