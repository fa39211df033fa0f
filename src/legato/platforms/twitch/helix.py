"""Twitch's HTTP API: calls to requests, answers to verdicts, and a token that is refreshed once.

https://dev.twitch.tv/docs/api/reference (read 2026-11-28). What to know of it: a message that is not
shown is answered with 200 and `is_sent: false`; 401 also means that the token lacks a scope, which no
refresh mends; 429 says in Ratelimit-Reset at which Unix second to try again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import Struct

from legato.abc import (
    Clock,
    HttpClient,
    HttpRequest,
    HttpResponse,
    MaybeSent,
    NotSent,
    Store,
    Verdict,
)
from legato.errors import BadToken, Unavailable
from legato.model.events import Address
from legato.model.records import Call
from legato.platforms.twitch.drops import dropped
from legato.platforms.twitch.methods import method_of
from legato.platforms.twitch.render import DELETE, SAY

API = "https://api.twitch.tv/helix"
TIMEOUT_S = 15.0
AS_APP = "as_app"
"""A parameter of every method: true uses the application's own token."""


class TokenSource(Protocol):
    """Where tokens come from. See `legato.platforms.twitch.oauth`."""

    async def user_token(self, http: HttpClient, store: Store) -> str:
        """The token of the bot's account.

        Raises:
            BadToken: There is none that is good; the text says how to get one.
            Unavailable: Twitch cannot be reached now.
        """

    async def app_token(self, http: HttpClient, store: Store) -> str:
        """The application's own token. Raises as `user_token`."""

    async def refresh(self, http: HttpClient, store: Store, refused: str) -> str:
        """A token in place of one (of either kind) that was refused. Raises as `user_token`."""


class Problem(Struct, frozen=True):
    """What Helix says of a request that it does not carry out."""

    error: str
    message: str = ""
    status: int = 0


class _Reason(Struct, frozen=True):
    code: str = ""
    message: str = ""


class _Sent(Struct, frozen=True):
    is_sent: bool
    message_id: str = ""
    drop_reason: _Reason | None = None


class _SentAnswer(Struct, frozen=True):
    data: list[_Sent]


_problem = msgspec.json.Decoder(Problem)
_sent = msgspec.json.Decoder(_SentAnswer)


class Helix:
    """The API for one application and one bot.

    Args:
        client_id: Of the application.
        tokens: Where tokens come from.
        clock: Time.
        base: Address of the API.
        say_as_app: Say things with the application's token, as a bot that holds no connection.

    Attributes:
        bot: The bot's user id, "" until it is known.
        lost: Called when Twitch does not take the account any more.
    """

    __slots__ = ("_base", "_client_id", "_clock", "_say_as_app", "_tokens", "bot", "lost")

    def __init__(
        self,
        client_id: str,
        tokens: TokenSource,
        clock: Clock,
        base: str = API,
        *,
        say_as_app: bool = False,
    ) -> None:
        self._client_id = client_id
        self._tokens = tokens
        self._clock = clock
        self._base = base.rstrip("/")
        self._say_as_app = say_as_app
        self.bot: str = ""
        self.lost: Callable[[BadToken], None] = lambda error: None

    # -- calls --------------------------------------------------------------------------------

    async def send(self, call: Call, place: Address, http: HttpClient, store: Store) -> Verdict:
        """Performs a call. Never raises for what Twitch or the network does."""
        params = dict(call.params)
        as_app = bool(params.pop(AS_APP, self._say_as_app and call.method == SAY))
        try:
            request = self.request(call.method, params, place)
        except (TypeError, ValueError, RecursionError) as error:
            return Verdict("refused", error=f"{call.method}: {error}"[:500])
        try:
            response = await self.exchange(request, http, store, as_app=as_app)
        except NotSent as error:
            return Verdict("retry", error=f"not sent: {error}"[:500])
        except MaybeSent as error:
            return unsure(call, f"maybe sent: {error}"[:500])
        except Unavailable as error:
            return Verdict("retry", retry_after_s=error.retry_after_s, error=str(error)[:500])
        except BadToken as error:
            self.lost(error)
            # Kept until somebody logs in again: what is waiting is not to blame.
            return Verdict("retry", retry_after_s=60.0, whole_bot=True, error=str(error)[:500])
        return interpret(call, response, self._clock.now_ms())

    def request(self, name: str, params: dict[str, object], place: Address) -> HttpRequest:
        """The request of a call, still without a token.

        Raises:
            ValueError: There is no such method.
            TypeError: A parameter is no JSON.
        """
        if name == SAY:
            given: dict[str, object] = {"message": params["text"], "broadcaster_id": place.chat}
            if params.get("reply_to"):
                given["reply_parent_message_id"] = params["reply_to"]
            name, params = "send_chat_message", given
        elif name == DELETE:
            name, params = "delete_chat_messages", {"message_id": params.get("message_id")}
        method = method_of(name)
        if method is None:
            raise ValueError("Helix has no such method")
        filled: dict[str, object] = dict.fromkeys(method.channel, place.chat)
        filled |= dict.fromkeys(method.bot, self.bot)
        filled |= params
        query = {n: v for n, v in filled.items() if method.query is None or n in method.query}
        body = {n: v for n, v in filled.items() if n not in query}
        headers = {"client-id": self._client_id}
        data = b""
        if method.query is not None:
            headers["content-type"] = "application/json"
            data = msgspec.json.encode(body)
        url = self._base + method.path + _query(query)
        return HttpRequest(method.verb, url, headers, data, timeout_s=TIMEOUT_S)

    async def exchange(
        self, request: HttpRequest, http: HttpClient, store: Store, *, as_app: bool = False
    ) -> HttpResponse:
        """Sends a request with a token; once more with a new one if the token was refused.

        Raises:
            NotSent, MaybeSent: As the client says.
            BadToken, Unavailable: As the source of tokens says.
        """
        source = self._tokens.app_token if as_app else self._tokens.user_token
        token = await source(http, store)
        response = await http.send(_with(request, token))
        if response.status == 401 and _is_of_token(response):
            token = await self._tokens.refresh(http, store, token)
            response = await http.send(_with(request, token))
        return response

    async def ask(
        self,
        name: str,
        params: dict[str, object],
        http: HttpClient,
        store: Store,
        *,
        as_app: bool = False,
    ) -> HttpResponse:
        """The answer to a request that is made for the adapter itself.

        Raises:
            Unavailable: There is none now, or it says so.
            BadToken: As the source of tokens says.
        """
        try:
            request = self.request(name, params, Address("twitch", self.bot, ""))
            response = await self.exchange(request, http, store, as_app=as_app)
        except (NotSent, MaybeSent) as error:
            raise Unavailable(f"Twitch cannot be reached: {error}") from None
        if response.status >= 500 or response.status == 429:
            wait_s = _reset_s(response, self._clock.now_ms()) if response.status == 429 else 1.0
            raise Unavailable(f"Twitch answered HTTP {response.status} to {name}", int(wait_s) or 1)
        return response


def _query(params: dict[str, object]) -> str:
    from urllib.parse import quote

    pairs = [
        f"{quote(name)}={quote(_text(value), safe='')}"
        for name, given in params.items()
        for value in (given if isinstance(given, list | tuple) else [given])
        if value is not None
    ]
    return "?" + "&".join(pairs) if pairs else ""


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _with(request: HttpRequest, token: str) -> HttpRequest:
    headers = request.headers | {"authorization": f"Bearer {token}"}
    return msgspec.structs.replace(request, headers=headers)


def _is_of_token(response: HttpResponse) -> bool:
    """Whether a 401 is about the token being dead, and not about what it may do."""
    said = problem_of(response).message.lower()
    return not any(word in said for word in ("scope", "client id", "client-id", "must match"))


# -- answers -----------------------------------------------------------------------------------


def problem_of(response: HttpResponse) -> Problem:
    """What Helix complains of; `error` is "" if the answer is none of Helix."""
    try:
        return _problem.decode(response.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Problem("")


def unsure(call: Call, error: str, code: int = 0) -> Verdict:
    """The verdict where the call may or may not have been carried out."""
    return Verdict("retry" if call.idempotent else "unknown", error=error, code=code)


def interpret(call: Call, response: HttpResponse, now_ms: int) -> Verdict:
    """The verdict on `call` by the response to it."""
    status = response.status
    if 200 <= status < 300:
        return _done(call, response)
    problem = problem_of(response)
    if not problem.error:
        return _not_helix(call, status)
    error = f"Twitch refused {call.method}: {problem.message or problem.error}"[:500]
    if status == 429:
        wait_s = _reset_s(response, now_ms)
        return Verdict("retry", retry_after_s=wait_s, whole_bot=True, error=error, code=status)
    if status >= 500:
        return Verdict("retry", error=error, code=status)
    if status == 404 and call.method == DELETE:
        return Verdict("sent")  # it is not there any more
    if status == 400 and call.method == SAY and "reply_parent_message_id" in problem.message:
        return dropped("invalid_parent", problem.message)
    if status == 403 and call.method == SAY:
        return Verdict("gone", error=error, code=status)
    return Verdict("refused", error=error, code=status)


def _done(call: Call, response: HttpResponse) -> Verdict:
    if call.method in (SAY, "send_chat_message"):
        try:
            (sent,) = _sent.decode(response.body).data
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return unsure(call, "Twitch's answer cannot be read", response.status)
        if not sent.is_sent:
            reason = sent.drop_reason or _Reason()
            return dropped(reason.code or "no reason", reason.message)
        result = msgspec.json.decode(response.body)
        return Verdict("sent", sent.message_id, result)
    try:
        return Verdict("sent", result=msgspec.json.decode(response.body or b"null"))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Verdict("sent", error="the result could not be read")


def _not_helix(call: Call, status: int) -> Verdict:
    """An answer of something between us and Twitch."""
    error = f"HTTP {status} without an answer of Twitch: is there a proxy in between?"
    if status == 413:
        return Verdict("refused", error="the request is too large for Twitch", code=413)
    if status in (500, 502, 504):
        return unsure(call, error, status)
    return Verdict("retry", error=error, code=status)


def _reset_s(response: HttpResponse, now_ms: int) -> float:
    """How long to wait after a 429."""
    reset = response.headers.get("ratelimit-reset", "")
    if not (reset.isascii() and reset.isdigit() and len(reset) < 12):
        return 5.0
    return min(max(1.0, int(reset) - now_ms / 1000), 3600.0)


__all__ = ["API", "Helix", "Problem", "TokenSource", "interpret", "problem_of", "unsure"]
