"""The fake Bot API: its HTTP side, its log and its faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

import msgspec
from msgspec import Struct

from legato.testing._http import Request, Response, Server
from legato.testing._stage import Staged, inside
from legato.testing.fake_telegram.faults import DESCRIPTIONS, Fault
from legato.testing.fake_telegram.forms import Params, Upload, parameters
from legato.testing.fake_telegram.methods import Methods
from legato.testing.fake_telegram.people import FakeGroup, FakeUser
from legato.testing.fake_telegram.updates import Updates
from legato.testing.fake_telegram.world import (
    Account,
    ApiError,
    FakeChat,
    FakeMessage,
    Json,
    World,
)

TOKEN = "4200:fake-token-for-tests"  # nosec B105 # of nobody


class LoggedCall(Struct, eq=False):
    """One call as it reached the server.

    Attributes:
        method: As the client wrote it.
        params: With JSON's types, whichever way they came.
        files: Uploads, by field.
        via: "http", or "webhook" for one that rode in the answer to a webhook request.
        at: Time of the loop, in seconds.
        code: 200 or the error's code; 0 while (or if never) answered.
        result: What was (or would have been) answered.
        carried_out: Whether it had its effect.
    """

    method: str
    params: Params
    files: dict[str, Upload]
    via: str
    at: float
    code: int = 0
    result: object = None
    carried_out: bool = False


class FakeTelegram(Staged):
    """A Bot API server on 127.0.0.1, with the people on the other side.

        async with FakeTelegram() as telegram:
            bot = Telegram(telegram.token, api=telegram.api)
            ann = telegram.user("Ann")
            ann.sends("/start")
            await ann.gets("First number?")

    `with FakeTelegram().threaded() as telegram:` runs it in a thread of its own, for clients that
    block; people may then be moved from any thread.

    Attributes:
        token: The bot's token; another gets 401.
        api: Base address for clients.
        calls: Every call of a method, in order (getUpdates only when `log_polls`).
        updates: The queue; `updates.repeats` and the like make deliveries go wrong.
        extra: Methods added by a test: lower-case name -> function of (params, files).
    """

    def __init__(
        self, *, token: str = TOKEN, username: str = "fake_bot", second: float = 0.05
    ) -> None:
        """Makes the server; `async with` or `threaded` opens it.

        Args:
            token: The bot's token.
            username: The bot's handle.
            second: How long one of Telegram's seconds takes here: waits of long polls and between
                webhook retries shrink with it.
        """
        self.world: World = World(token, username)
        self.token = token
        self.api: str = ""
        self.calls: list[LoggedCall] = []
        self.log_polls = False
        self.extra: dict[str, Callable[[Params, dict[str, Upload]], object]] = {}
        self._second = second
        self._faults: list[Fault] = []
        self._server = Server(self._handle)
        self._people = 1000

    def __repr__(self) -> str:
        return f"<FakeTelegram {self.api}>"

    # -- life ---------------------------------------------------------------------------------

    async def open(self, port: int = 0) -> Self:
        """Starts listening, in the running loop."""
        self.world.enter()
        self.updates: Updates = Updates(self.world, self._carry_out_reply, self._second)
        self.methods: Methods = Methods(self.world, self.updates)
        self.world.publish = self.updates.add
        self.api = f"http://127.0.0.1:{await self._server.open(port)}"
        return self

    async def close(self) -> None:
        """Stops; every connection is cut."""
        await self.updates.close()
        await self._server.close()
        self.world.loop = None

    # -- people -------------------------------------------------------------------------------

    @inside
    def user(
        self, name: str = "Ann", *, username: str = "", locale: str = "en", started: bool = False
    ) -> FakeUser:
        """A new person. The bot may write first only if `started`."""
        self._people += 1
        person: Json = {"id": self._people, "is_bot": False, "first_name": name}
        person |= {"username": username} if username else {}
        person |= {"language_code": locale} if locale else {}
        account = Account(person, started=started)
        self.world.accounts[self._people] = account
        chat = self.world.chat(self._people, "private", name)
        chat.username = username
        return FakeUser(self.world, account, chat)

    @inside
    def group(
        self,
        title: str = "Friends",
        *users: FakeUser,
        kind: str = "supergroup",
        forum: bool = False,
    ) -> FakeGroup:
        """A new "group" or "supergroup" in which the bot and `users` are."""
        self._people += 1
        chat_id = -self._people if kind == "group" else -1_001_000_000_000 - self._people
        chat = self.world.chat(chat_id, kind, title)
        chat.forum = forum
        chat.members = {user.id for user in users}
        return FakeGroup(self.world, chat)

    @inside
    def channel(self, title: str = "News", *, username: str = "") -> FakeGroup:
        """A new channel that the bot administers."""
        group = self.group(title, kind="channel")
        group.chat.username = username
        return group

    def chat(self, chat_id: int) -> FakeChat:
        """The chat of this id."""
        return self.world.chats[chat_id]

    # -- looking ------------------------------------------------------------------------------

    def called(self, method: str, chat: int = 0) -> list[LoggedCall]:
        """The calls of one method, in one chat if given."""
        return [
            call
            for call in self.calls
            if call.method.lower() == method.lower()
            and (not chat or str(call.params.get("chat_id")) == str(chat))
        ]

    # -- going wrong --------------------------------------------------------------------------

    @inside
    def add(self, fault: Fault) -> Fault:
        """Lets a fault befall the coming calls that it matches."""
        self._faults.append(fault)
        return fault

    def fails(
        self,
        status: int,
        *,
        method: str = "",
        chat: int = 0,
        skip: int = 0,
        times: int = 1,
        retry_after: float = 0,
        description: str = "",
        html: bool = False,
        carried_out: bool = False,
    ) -> Fault:
        """Calls are answered with an error; 403 is a blocked bot, 429 has `retry_after`."""
        return self.add(
            Fault(
                "status",
                status=status,
                method=method,
                chat=chat,
                skip=skip,
                times=times,
                retry_after=retry_after,
                description=description,
                html=html,
                carried_out=carried_out,
            )
        )

    def hangs(
        self, *, carried_out: bool, method: str = "", chat: int = 0, skip: int = 0, times: int = 1
    ) -> Fault:
        """Calls get no answer, whether they were carried out or not."""
        return self.add(
            Fault("hang", carried_out=carried_out, method=method, chat=chat, skip=skip, times=times)
        )

    def resets(
        self, *, carried_out: bool, method: str = "", chat: int = 0, skip: int = 0, times: int = 1
    ) -> Fault:
        """The connection is cut instead of an answer, before or after the call was carried out."""
        return self.add(
            Fault(
                "reset", carried_out=carried_out, method=method, chat=chat, skip=skip, times=times
            )
        )

    def slow(self, seconds: float, *, method: str = "", chat: int = 0, times: int = -1) -> Fault:
        """Answers come late by so many real seconds."""
        return self.add(
            Fault("slow", seconds=seconds, carried_out=True, method=method, chat=chat, times=times)
        )

    # -- serving ------------------------------------------------------------------------------

    def _handle(self, request: Request) -> Response | Awaitable[Response | None]:
        path, _, query = request.target.partition("?")
        if path.startswith("/file/bot"):
            return self._download(path)
        if not path.startswith("/bot"):
            return _error(404, "Not Found")
        token, _, method = path[4:].partition("/")
        if token != self.token:
            return _error(*((401, "Unauthorized") if ":" in token else (404, "Not Found")))
        try:
            content_type = request.headers.get("content-type", "")
            params, files = parameters(query, content_type, request.body)
        except ValueError as error:
            return _error(400, f"Bad Request: {error}")
        return self._call(method, params, files)

    def _download(self, path: str) -> Response:
        token, _, wanted = path.removeprefix("/file/bot").partition("/")
        if token != self.token:
            return _error(401, "Unauthorized")
        file = next((f for f in self.world.files.values() if f.path == wanted), None)
        if file is None:
            return _error(404, "Not Found")
        return Response(200, file.data, "application/octet-stream")

    def _call(
        self, method: str, params: Params, files: dict[str, Upload]
    ) -> Response | Awaitable[Response | None]:
        call = self._log(method, params, files, "http")
        fault = next((fault for fault in self._faults if fault.hit(method, params)), None)
        if fault is not None:
            return self._faulty(fault, call)
        return self._poll(call) if _polls(method) else self._carried_out(call)

    def _log(self, method: str, params: Params, files: dict[str, Upload], via: str) -> LoggedCall:
        call = LoggedCall(method, params, files, via, asyncio.get_running_loop().time())
        if not _polls(method) or self.log_polls:
            self.calls.append(call)
        return call

    async def _poll(self, call: LoggedCall) -> Response:
        try:
            updates = await self.updates.poll(call.params)
        except ApiError as error:
            return self._refused(call, error)
        call.code, call.carried_out = 200, True
        return Response(200, msgspec.json.encode({"ok": True, "result": updates}))

    def _carried_out(self, call: LoggedCall) -> Response:
        name = call.method.lower()
        perform = self.extra.get(name) or self.methods.table.get(name)
        try:
            if perform is None:
                raise ApiError(404, "Not Found: method not found")
            call.result = perform(call.params, call.files)
        except ApiError as error:
            return self._refused(call, error)
        call.code, call.carried_out = 200, True
        self.world.changed()
        return Response(200, msgspec.json.encode({"ok": True, "result": call.result}))

    def _refused(self, call: LoggedCall, error: ApiError) -> Response:
        call.code = error.code
        self.world.changed()
        return _error(error.code, error.description, error.parameters)

    async def _faulty(self, fault: Fault, call: LoggedCall) -> Response | None:
        answer: Response | None = None
        if fault.carried_out:
            answer = await self._poll(call) if _polls(call.method) else self._carried_out(call)
        self.world.changed()
        if fault.kind == "reset":
            return None
        if fault.kind == "hang":
            await asyncio.get_running_loop().create_future()
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            return answer
        call.code = fault.status
        if fault.html:
            page = f"<html><h1>{fault.status}</h1></html>".encode()
            return Response(fault.status, page, "text/html")
        said = fault.description or DESCRIPTIONS.get(fault.status, "Error")
        parameters: Json = {"retry_after": fault.retry_after} if fault.status == 429 else {}
        return _error(fault.status, said.format(retry_after=fault.retry_after), parameters)

    def _carry_out_reply(self, content_type: str, body: bytes) -> None:
        """Performs the call in the answer to a webhook request, whose result nobody learns."""
        try:
            params, files = parameters("", content_type, body)
        except ValueError:
            return
        method = params.pop("method", None)
        if isinstance(method, str):
            self._carried_out(self._log(method, params, files, "webhook"))


def _polls(method: str) -> bool:
    return method.lower() == "getupdates"


def _error(code: int, description: str, parameters: Json | None = None) -> Response:
    body: Json = {"ok": False, "error_code": code, "description": description}
    return Response(
        code, msgspec.json.encode(body | ({"parameters": parameters} if parameters else {}))
    )


__all__ = ["FakeGroup", "FakeMessage", "FakeTelegram", "FakeUser", "LoggedCall"]
