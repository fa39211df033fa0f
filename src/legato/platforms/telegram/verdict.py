"""What an answer of the Bot API means for the call. Pure."""

from __future__ import annotations

import msgspec

from legato.abc.http import HttpResponse
from legato.abc.platform import Verdict
from legato.model.events import Address
from legato.model.records import Call
from legato.platforms.telegram import wire

_answers = msgspec.json.Decoder(wire.Answer)

_GONE = (
    "chat not found",
    "user is deactivated",
    "user_deactivated",
    "input_user_deactivated",
    "peer_id_invalid",
    "user_is_blocked",
    "channel_private",
    "group chat was deactivated",
    "group chat was deleted",
    "bot was kicked",
    "bot is not a member",
    "message thread not found",
)
"""Telegram says most of these with 403, some (also) with 400."""
_DONE = {
    "edit": ("message is not modified",),
    "deleteMessage": ("message to delete not found",),
    "answerCallbackQuery": ("query is too old", "query id is invalid"),
    "unpin": ("message to unpin not found",),
}
"""Refusals by (beginning of the) method that say: what you want is so already."""


def answer_of(body: bytes) -> wire.Answer | None:
    """The Bot API's envelope; None if the body is not Telegram's (of a proxy, cut off)."""
    try:
        return _answers.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def interpret(call: Call, place: Address, response: HttpResponse) -> Verdict:
    """The verdict on `call` by the response to it. That some other chat than `place` is gone or
    has moved is only a refusal here.
    """
    answer = answer_of(response.body)
    if answer is None:
        return _not_telegram(call, response.status)
    if answer.ok and response.status == 200:
        return _sent(answer)
    return _refused(call, place, answer, answer.error_code or response.status)


def unsure(call: Call, error: str) -> Verdict:
    """The verdict where the call may or may not have been carried out."""
    return Verdict("retry" if call.idempotent else "unknown", error=error)


def _not_telegram(call: Call, status: int) -> Verdict:
    """An answer of something between us and Telegram.

    A 4xx or 503 of a proxy says nothing about the chat: the call went nowhere. A 200, 500, 502 or
    504 without Telegram's body may come after Telegram did its part.
    """
    error = f"HTTP {status} without an answer of Telegram: is there a proxy in between?"
    if status == 413:
        return Verdict("refused", error="the file is too large for Telegram", code=413)
    if status in (200, 500, 502, 504):
        verdict = unsure(call, error)
        return Verdict(verdict.outcome, error=error, code=status)
    return Verdict("retry", error=error, code=status)


def _sent(answer: wire.Answer) -> Verdict:
    try:
        result: object = msgspec.json.decode(answer.result) if answer.result else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Verdict("sent", error="the result could not be read")
    first = result[0] if isinstance(result, list) and result else result
    message_id = first.get("message_id") if isinstance(first, dict) else None
    return Verdict("sent", str(message_id or ""), result)


def _refused(call: Call, place: Address, answer: wire.Answer, code: int) -> Verdict:
    said = answer.description
    error = said[:500] or f"HTTP {code}"
    lower = said.lower()
    parameters = answer.parameters or wire.Parameters()
    if code == 429:
        wait = max(0.0, parameters.retry_after)
        whole_bot = "chat_id" not in call.params
        return Verdict("retry", retry_after_s=wait, whole_bot=whole_bot, error=error, code=code)
    if code >= 500:
        return Verdict("retry", error=error, code=code)
    ours = str(call.params.get("chat_id", place.chat)) == place.chat
    if parameters.migrate_to_chat_id and ours:
        moved_to = str(parameters.migrate_to_chat_id)
        return Verdict("retry", error=error, code=code, moved_to=moved_to)
    if any(
        call.method.startswith(method) and any(phrase in lower for phrase in phrases)
        for method, phrases in _DONE.items()
    ):
        return Verdict("sent", str(call.params.get("message_id", "")))
    gone = code == 403 or (code == 400 and any(phrase in lower for phrase in _GONE))
    if gone and ours:
        return Verdict("gone", error=error, code=code)
    if code == 401:
        # Nothing is wrong with the message: it goes out once this process, or the next, has the right token.
        error = "Telegram refused the bot's token (401): check TELEGRAM_TOKEN"
        return Verdict("retry", error=error, code=code)
    if code == 404:
        error = f"Telegram knows no method {call.method!r}, or not this bot's token (404)"
    return Verdict("refused", error=error, code=code)
