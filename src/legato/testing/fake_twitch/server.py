"""The fake Twitch: its addresses, its log and its faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Self
from urllib.parse import parse_qs, parse_qsl

import msgspec
from msgspec import Struct

from legato.testing._http import Answer, Request, Response, Server
from legato.testing._stage import Staged, inside
from legato.testing.fake_twitch.auth import Auth, Token
from legato.testing.fake_twitch.eventsub import EventSub
from legato.testing.fake_twitch.faults import ERRORS, Fault
from legato.testing.fake_twitch.helix import Asked, Helix
from legato.testing.fake_twitch.irc import Irc
from legato.testing.fake_twitch.people import FakeChannel, FakeViewer
from legato.testing.fake_twitch.sockets import Connection
from legato.testing.fake_twitch.websocket import handshake
from legato.testing.fake_twitch.world import Account, ApiError, Json, Window, World

CLIENT_ID = "fakeclientid"
CLIENT_SECRET = "fakeclientsecret"  # nosec B105 # of nobody
POINTS, POINTS_S = 800, 60.0
"""Requests to Helix in so many seconds."""


class LoggedCall(Struct, eq=False):
    """One request to Helix or to the authorization server.

    Attributes:
        method, path: E.g. "POST" and "/helix/chat/messages".
        query: Parameters of the address.
        body: JSON, or the fields of a form; None if there was none.
        access: The access token that came with it, "" if none.
        status: What it was answered with; 0: not (yet) at all.
        result: The body of the answer.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    body: object
    access: str
    status: int = 0
    result: object = None


class FakeTwitch(Staged):
    """Twitch on 127.0.0.1: chat over IRC, OAuth, Helix, EventSub, and the people in the channels.

        async with FakeTwitch() as twitch:
            channel = twitch.channel("Ronni")
            ann = twitch.viewer("Ann")
            ...                             # a bot connects
            ann.says("!start")
            await ann.gets("First number?")

    `with FakeTwitch().threaded() as twitch:` runs it in a thread of its own, for clients that
    block; people may then be moved from any thread.

    Attributes:
        bot: The bot's account.
        client_id, client_secret: The application's.
        token, refresh_token: The bot's, good at the start.
        calls: Every request to Helix and to the authorization server, in order.
        violations: What a well-behaved client never does. Tests assert that it is empty.
        irc, auth, helix, eventsub: The services; each can be made to go wrong.
        control: Answers requests to /control, None: there is no such thing.
        ca_file: With TLS: the certificate of the authority that signed the server's.
    """

    world: World

    def __init__(
        self, *, bot: str = "FakeBot", second: float = 0.05, tls: bool = False, host: str = ""
    ) -> None:
        """Makes the server; `async with` or `threaded` opens it.

        Args:
            bot: The bot's name.
            second: How long one of Twitch's seconds takes here: keepalives, waits between retries
                and grace times shrink with it. Limits do not.
            tls: Whether every address is one with TLS, signed by `ca_file`.
            host: The name that the certificate is for, if it shall not fit.
        """
        self.world: World = World(bot, second)
        self.auth: Auth = Auth(self.world, CLIENT_ID, CLIENT_SECRET)
        self.irc: Irc = Irc(self.world, self.auth)
        self.helix: Helix = Helix(self.world, self.auth)
        self.eventsub: EventSub = EventSub(self.world, self.auth)
        self.helix.table |= self.eventsub.table
        self.world.listeners += [self.irc, self.eventsub]
        self.calls: list[LoggedCall] = []
        self.control: Callable[[Request], Response] | None = None
        self.ca_file: str = ""
        self._token: Token = self.auth.grant(self.world.bot)
        self._points = Window(POINTS, POINTS_S)
        self._faults: list[Fault] = []
        self._server = Server(self._handle)
        self._tls = tls
        self._host = host
        self._files = ExitStack()
        self._ports = (0, 0)

    def __repr__(self) -> str:
        return f"<FakeTwitch {self.api_url}>"

    # -- addresses ----------------------------------------------------------------------------

    def _url(self, scheme: str, path: str, port: int = 0) -> str:
        secure = "s" if self._tls else ""
        return f"{scheme}{secure}://127.0.0.1:{port or self._ports[0]}{path}"

    @property
    def api_url(self) -> str:
        """Helix (TWITCH_API)."""
        return self._url("http", "/helix")

    @property
    def auth_url(self) -> str:
        """The authorization server (TWITCH_AUTH)."""
        return self._url("http", "/oauth2")

    @property
    def eventsub_url(self) -> str:
        """EventSub over WebSockets (TWITCH_EVENTSUB)."""
        return self._url("ws", "/ws")

    @property
    def irc_address(self) -> str:
        """Chat over TCP, as "host:port"."""
        return f"127.0.0.1:{self._ports[1]}"

    @property
    def irc_url(self) -> str:
        """Chat over TCP, as "irc://" or "ircs://" (TWITCH_IRC)."""
        return self._url("irc", "", self._ports[1])

    @property
    def irc_ws_url(self) -> str:
        """Chat over WebSockets (TWITCH_IRC)."""
        return self._url("ws", "/")

    def environment(self, transport: str = "irc") -> dict[str, str]:
        """The variables by which `legato run` finds this server."""
        channels = ",".join(channel.login for channel in self.world.channels.values())
        found = {
            "TWITCH_CLIENT_ID": self.client_id,
            "TWITCH_CLIENT_SECRET": self.client_secret,
            "TWITCH_CHANNELS": channels,
            "TWITCH_TRANSPORT": transport,
            "TWITCH_IRC": self.irc_ws_url if transport == "irc-websocket" else self.irc_url,
            "TWITCH_API": self.api_url,
            "TWITCH_AUTH": self.auth_url,
            "TWITCH_EVENTSUB": self.eventsub_url,
        }
        return found | ({"SSL_CERT_FILE": self.ca_file} if self._tls else {})

    # -- who and what -------------------------------------------------------------------------

    @property
    def bot(self) -> Account:
        """The bot's account."""
        return self.world.bot

    @property
    def client_id(self) -> str:
        """The application's id."""
        return self.auth.client_id

    @property
    def client_secret(self) -> str:
        """The application's secret."""
        return self.auth.client_secret

    @property
    def token(self) -> str:
        """An access token of the bot."""
        return self._token.access

    @property
    def refresh_token(self) -> str:
        """The refresh token that came with it."""
        return self._token.refresh

    @property
    def violations(self) -> list[str]:
        """What a well-behaved client never does."""
        return self.world.violations

    @inside
    def channel(self, name: str = "Ronni") -> FakeChannel:
        """A new channel and its broadcaster."""
        channel = FakeChannel(self.world, self.world.account(name))
        self.world.channels[channel.id] = channel
        return channel

    @inside
    def viewer(self, name: str = "Ann", *, home: FakeChannel | None = None) -> FakeViewer:
        """A new person, who writes in `home`, by default in the first channel there is."""
        return FakeViewer(self.world, self.world.account(name), home)

    @inside
    def broadcaster(self, channel: FakeChannel) -> FakeViewer:
        """The person whose channel it is."""
        return FakeViewer(self.world, channel.owner, channel)

    def called(self, path: str, method: str = "") -> list[LoggedCall]:
        """The requests to one path, e.g. "/helix/chat/messages"."""
        return [c for c in self.calls if c.path == path and method in ("", c.method)]

    # -- going wrong --------------------------------------------------------------------------

    @inside
    def add(self, fault: Fault) -> Fault:
        """Lets a fault befall the coming requests that it matches."""
        self._faults.append(fault)
        return fault

    def fails(
        self,
        status: int,
        path: str = "/helix",
        *,
        method: str = "",
        skip: int = 0,
        times: int = 1,
        reset_s: float = 0.0,
        message: str = "",
        html: bool = False,
        carried_out: bool = False,
    ) -> Fault:
        """Requests are answered with an error; 429 has points again in `reset_s`."""
        return self.add(
            Fault(
                "status",
                status,
                message,
                html,
                reset_s,
                carried_out=carried_out,
                method=method,
                path=path,
                skip=skip,
                times=times,
            )
        )

    def hangs(self, path: str = "/helix", *, carried_out: bool, times: int = 1) -> Fault:
        """Requests get no answer, whether they were carried out or not."""
        return self.add(Fault("hang", carried_out=carried_out, path=path, times=times))

    def resets(self, path: str = "/helix", *, carried_out: bool, times: int = 1) -> Fault:
        """The connection is cut instead of an answer, before or after it was carried out."""
        return self.add(Fault("reset", carried_out=carried_out, path=path, times=times))

    def slow(self, seconds: float, path: str = "/helix", *, times: int = -1) -> Fault:
        """Answers come late by so many real seconds."""
        return self.add(Fault("slow", seconds=seconds, carried_out=True, path=path, times=times))

    # -- life ---------------------------------------------------------------------------------

    async def open(self, port: int = 0, irc_port: int = 0) -> Self:
        self.world.enter()
        context = None
        if self._tls:
            from legato.testing.fake_twitch.tls import server_context

            context, self.ca_file = self._files.enter_context(server_context(self._host))
        web = await self._server.open(port, tls=context)
        self._ports = (web, await self.irc.open(irc_port, context))
        self.eventsub.sockets.url = self.eventsub_url
        return self

    async def close(self) -> None:
        await self.eventsub.close()
        await self.irc.close()
        await self._server.close()
        self._files.close()
        self.world.loop = None

    # -- serving ------------------------------------------------------------------------------

    def _handle(self, request: Request) -> Answer | Awaitable[Answer | None]:
        path, _, query = request.target.partition("?")
        if path == "/ws":
            return handshake(request, Connection(self.eventsub.sockets, query))
        if path == "/":
            return handshake(request, self.irc.websocket(), "irc")
        if path == "/control" and self.control is not None:
            return self.control(request)
        bearer = request.headers.get("authorization", "").partition(" ")[2]
        call = LoggedCall(request.method, path, parse_qs(query), None, bearer)
        self.calls.append(call)
        fault = next((f for f in self._faults if f.hit(request.method, path)), None)
        if fault is None:
            return self._answer(call, request)
        return self._faulty(fault, call, request)

    def _answer(self, call: LoggedCall, request: Request) -> Response:
        try:
            if call.path.startswith("/helix/"):
                response = self._helix(call, request)
            elif call.path.startswith("/oauth2/"):
                response = self._oauth(call, request)
            else:
                raise ApiError(404, "")
        except ApiError as error:
            response = _refused(error)
            if error.status == 429:
                response.headers = _ratelimit(0, POINTS_S)
            call.result = error.message
        call.status = response.status
        self.world.changed()
        return response

    def _helix(self, call: LoggedCall, request: Request) -> Response:
        if request.body:
            try:
                call.body = msgspec.json.decode(request.body)
            except msgspec.DecodeError:
                raise ApiError(400, "The request body is not valid JSON.") from None
            if "json" not in request.headers.get("content-type", ""):
                raise ApiError(415, "The content type must be application/json.")
        asked = Asked(self._token, call.query, call.body if isinstance(call.body, dict) else {})
        if self._points.hit(self.world.now()):
            raise ApiError(429, "")
        path = call.path.removeprefix("/helix")
        status, result = self.helix.handle(call.method, path, request.headers, asked)
        call.result = result
        body = b"" if result is None else msgspec.json.encode(result)
        return Response(status, body, headers=_ratelimit(POINTS - 1, POINTS_S))

    def _oauth(self, call: LoggedCall, request: Request) -> Response:
        form = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        call.body = dict(form)
        query = {name: values[0] for name, values in call.query.items()}
        path, params = call.path.removeprefix("/oauth2"), query | call.body
        answer = self.auth.handle(call.method, path, params, call.access)
        if isinstance(answer, Response):
            return answer
        call.result = answer
        return Response(200, msgspec.json.encode(answer))

    async def _faulty(self, fault: Fault, call: LoggedCall, request: Request) -> Response | None:
        answer = self._answer(call, request) if fault.carried_out else None
        self.world.changed()
        if fault.kind == "reset":
            return None
        if fault.kind == "hang":
            await asyncio.get_running_loop().create_future()
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            return answer
        call.status = fault.status
        if fault.html:
            page = f"<html><h1>{fault.status}</h1></html>".encode()
            return Response(fault.status, page, "text/html")
        found = _refused(ApiError(fault.status, fault.message or ERRORS.get(fault.status, "")))
        if fault.status == 429:
            found.headers = _ratelimit(0, fault.reset_s)
        return found


def _ratelimit(remaining: int, reset_s: float) -> dict[str, str]:
    import time

    return {
        "ratelimit-limit": str(POINTS),
        "ratelimit-remaining": str(remaining),
        "ratelimit-reset": str(int(time.time() + reset_s)),
    }


def _refused(error: ApiError) -> Response:
    body: Json = {"status": error.status, "message": error.message}
    body |= {"error": ERRORS.get(error.status, "Error")} | error.more
    return Response(error.status, msgspec.json.encode(body))
