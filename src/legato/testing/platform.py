"""A chat platform without any network: for scripted tests of dialogs.

It can everything the chat handle knows (buttons, edits, photos ...), and shows every user what a
real one would: a transcript per chat.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct

from legato.abc import Capabilities, HttpClient, HttpRequest, Limits, Parsed, Platform, Verdict
from legato.errors import Malformed
from legato.model.events import Address, AnyEvent
from legato.model.messages import Delete, Edit, Message, Outgoing, Pin, Raw, React, Send, Typing
from legato.model.records import Call

_decoder = msgspec.json.Decoder(AnyEvent)


class Shown(Struct):
    """One message as a user sees it. `id` is the platform's; `message` what stands there now."""

    id: str
    place: Address
    message: Message
    pinned: bool = False
    reaction: str = ""


class ScriptedPlatform(Platform):
    """In memory. `answer` may be set to decide the Verdict of each call (faults)."""

    def __init__(self, bot: str = "bot", name: str = "test") -> None:
        self.name: str = name
        self.bot: str = bot
        self.capabilities: Capabilities = Capabilities()
        self.limits: Limits = Limits()
        self.secrets: tuple[str, ...] = ()
        self.shown: list[Shown] = []
        self.calls: list[Call] = []
        self.answer: Callable[[Call, Address], Verdict | None] = lambda call, place: None
        self._ids = 0

    def verify(self, request: HttpRequest) -> None:
        return None

    def parse(self, body: bytes) -> Parsed:
        try:
            return Parsed((_decoder.decode(body),), kind="event")
        except (msgspec.DecodeError, RecursionError) as error:
            raise Malformed(f"not an event: {error}") from error

    def render(self, out: Outgoing, place: Address) -> list[Call]:
        target = getattr(out, "target", "")
        ref = target if target.startswith("ref:") else ""
        params = {"out": msgspec.to_builtins(out)}
        if target and not ref:
            params["target"] = target
        result = "message" if isinstance(out, Send) else ""
        idempotent = isinstance(out, Edit | Delete | Typing)
        return [
            Call(
                type(out).__name__.lower(), params, target=ref, fill="target" if ref else "",
                result=result, idempotent=idempotent,
            )
        ]  # fmt: skip

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        faulty = self.answer(call, place)
        if faulty is not None and faulty.outcome != "sent":
            return faulty
        self.calls.append(call)
        out = msgspec.convert(call.params["out"], type=Outgoing)
        if isinstance(out, Send):
            self._ids += 1
            self.shown.append(Shown(str(self._ids), place, out.message))
            return Verdict("sent", message_id=str(self._ids))
        if isinstance(out, Raw):
            return faulty or Verdict("sent", result={"method": out.method, "params": out.params})
        return self._change(out, str(call.params.get("target", "")))

    def _change(self, out: Outgoing, target: str) -> Verdict:
        shown = next((s for s in self.shown if s.id == target), None)
        if isinstance(out, Typing):
            return Verdict("sent")
        if shown is None and isinstance(out, Delete):
            return Verdict("sent", message_id=target)  # as wanted; every adapter says so
        if shown is None:
            return Verdict("refused", error="message not found")
        if isinstance(out, Edit):
            shown.message = out.message
        elif isinstance(out, Delete):
            self.shown.remove(shown)
        elif isinstance(out, React):
            shown.reaction = out.emoji
        elif isinstance(out, Pin):
            shown.pinned = out.pinned
        return Verdict("sent", message_id=target)

    def webhook_reply(self, call: Call, place: Address) -> bytes | None:
        return msgspec.json.encode(call) if call.result == "message" else None
