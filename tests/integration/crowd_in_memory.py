"""Many viewers who add numbers on Twitch, whose chat is in memory and counts what it is told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

import msgspec

from legato import App, Chat
from legato.abc import HttpClient, HttpRequest, HttpResponse
from legato.app.runtime import Runtime, RuntimeSettings
from legato.outbox.lanes import IDLE, PARKED
from legato.platforms.twitch import Twitch
from legato.platforms.twitch.grants import Account, Grant, Grants
from legato.platforms.twitch.oauth import SCOPES
from legato.stores.sqlite import SQLiteStore
from legato.testing.clock import FakeClock
from tests.integration.twitch_bot import KEY, until

BOT = "99"
CHANNELS = 100
CROWDED = 5
"""Channels in which half of the viewers are."""
FEW, SPAN_S = 20, 30.0
"""Messages in so many seconds, by Twitch's own rule."""
AT_ONCE = 64
FIRST, SECOND = "First number?", "Second number?"

app = App("crowd")


@app.command("start")
async def add(chat: Chat) -> None:
    first = await chat.ask(FIRST, int)
    second = await chat.ask(SECOND, int)
    await chat.say(f"Sum: {first + second}")


class Viewer:
    """Somebody in a channel. `heard` is what the bot said last."""

    __slots__ = ("channel", "heard", "number")

    def __init__(self, number: int, channel: str) -> None:
        self.number = number
        self.channel = channel
        self.heard = ""

    @property
    def sum(self) -> str:
        return f"Sum: {2 * self.number + 1}"


class Room:
    """A channel: the times of the last messages that the bot was let say there."""

    __slots__ = ("count", "times")

    def __init__(self) -> None:
        self.times: deque[float] = deque(maxlen=FEW)
        self.count = 0


class Api(HttpClient):
    """Twitch's API. Whoever says more than it allows is noted in `too_fast`."""

    def __init__(self, clock: FakeClock, said: Callable[[str, str], None]) -> None:
        self.clock = clock
        self.said = said
        self.rooms = {str(1000 + n): Room() for n in range(CHANNELS)}
        self.too_fast = 0

    async def send(self, request: HttpRequest) -> HttpResponse:
        path, _, query = request.url.partition("?")
        if path.endswith("/chat/messages"):
            answer = self._say(msgspec.json.decode(request.body))
        elif path.endswith("/users"):
            logins = parse_qs(query)["login"]
            answer = {"data": [{"id": login[4:], "login": login} for login in logins]}
        else:
            assert path.endswith("/validate"), path
            answer = {"client_id": "app", "login": "bot", "user_id": BOT, "expires_in": 9000}
            answer["scopes"] = list(SCOPES)
        await asyncio.sleep(0)  # the process may end before the answer is there
        return HttpResponse(200, {}, msgspec.json.encode(answer))

    def _say(self, body: dict[str, str]) -> dict[str, Any]:
        room, now = self.rooms[body["broadcaster_id"]], self.clock.monotonic()
        if len(room.times) == FEW and now - room.times[0] < SPAN_S - 1e-6:
            self.too_fast += 1
        room.times.append(now)
        room.count += 1
        name, _, text = body["message"].partition(" ")
        self.said(name, text)
        return {"data": [{"message_id": str(now), "is_sent": True}]}

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise AssertionError("nothing is downloaded")

    async def close(self) -> None:
        return None


class Crowd:
    """The viewers, the bot, and the time that passes for both.

    Attributes:
        waiting: What viewers have said that the bot has not taken.
        patient: Viewers say nothing to their second question, but are kept here.
        done: How many have got their sum.
        repeats: Answers that were said twice.
        wrong: Those that were none to what was said.
        turns_s: How long the bot took for each update.
        heard: How many answers there were.
        seen: Called with that number at each of them.
    """

    def __init__(self, path: Path, viewers: int, *, cache: int) -> None:
        self.clock = FakeClock()
        self.api = Api(self.clock, self._hear)
        rooms = list(self.api.rooms)
        rest = rooms[CROWDED:]
        self.viewers = [
            Viewer(n, rooms[n % CROWDED] if n < viewers // 2 else rest[n % len(rest)])
            for n in range(viewers)
        ]
        self._path = path
        self._cache = cache
        self._messages = 0
        self.waiting: deque[tuple[str, bytes]] = deque()
        self.patient: list[Viewer] | None = None
        self.done = 0
        self.repeats = 0
        self.wrong: list[str] = []
        self.heard = 0
        self.turns_s: list[float] | None = None
        self.seen: Callable[[int], None] = lambda count: None

    # -- viewers ------------------------------------------------------------------------------

    def _hear(self, name: str, text: str) -> None:
        viewer = self.viewers[int(name.removeprefix("@v"))]
        self.heard += 1
        if text == viewer.heard:
            self.repeats += 1  # it was on its way when the bot died
        else:
            expected = {"": FIRST, FIRST: SECOND, SECOND: viewer.sum, viewer.sum: FIRST}
            if text != expected[viewer.heard]:
                self.wrong.append(f"{name} heard {text!r} after {viewer.heard!r}")
            viewer.heard = text
            self._answer(viewer)
        self.seen(self.heard)

    def _answer(self, viewer: Viewer) -> None:
        if viewer.heard == FIRST:
            self.say(viewer, str(viewer.number))
        elif viewer.heard == viewer.sum:
            self.done += 1
        elif self.patient is not None:
            self.patient.append(viewer)
        else:
            self.say(viewer, str(viewer.number + 1))

    def say(self, viewer: Viewer, text: str) -> None:
        """A viewer says something."""
        self._messages += 1
        event = {
            "broadcaster_user_id": viewer.channel,
            "chatter_user_id": str(10_000 + viewer.number),
            "chatter_user_login": f"v{viewer.number}",
            "chatter_user_name": f"V{viewer.number}",
            "message_id": f"m{self._messages}",
            "message": {"text": text},
            "badges": [],
        }
        about = {"id": viewer.channel, "type": "channel.chat.message", "status": "enabled"}
        metadata = {"message_id": f"n{self._messages}", "message_type": "notification"}
        body = {"metadata": metadata, "payload": {"subscription": about, "event": event}}
        self.waiting.append((viewer.channel, msgspec.json.encode(body)))

    def start(self) -> None:
        """Everybody begins a dialog."""
        self.done = 0
        for viewer in self.viewers:
            self.say(viewer, "!start")

    # -- the bot ------------------------------------------------------------------------------

    @asynccontextmanager
    async def bot(self) -> AsyncIterator[Runtime]:
        """A process of the bot; at its end it dies as by SIGKILL."""
        store = SQLiteStore(self._path)
        await store.open()
        try:
            account = Account(BOT, "bot", SCOPES)
            grant = Grant(account, "app", "an access token", "a refresh token", serial="first")
            await Grants(KEY, self.clock).keep(store, grant)
            twitch = Twitch(
                "app",
                "secret",
                tuple(f"room{room}" for room in self.api.rooms),
                clock=self.clock,
                transport="eventsub-websocket",
                key=KEY,
            )
            await twitch.setup(self.api, store, "")
            self.twitch = twitch
            self.runtime = Runtime(
                app,
                store=store,
                platforms=[twitch],
                clock=self.clock,
                http=self.api,
                settings=RuntimeSettings(cache=self._cache, ack_after_s=3600.0),
            )
            await self.runtime.start(loops=False)
            await self.runtime.resume()
            try:
                yield self.runtime
            finally:
                await self.runtime.abandon()
        finally:
            await store.close()

    async def play(self, enough: Callable[[], bool]) -> None:
        """Lets the bot take what is said, and time pass, until it is enough."""
        while not enough():
            await asyncio.gather(*(self._take() for _ in range(AT_ONCE)))
            await until(self._quiet)
            if not self.waiting and not enough():
                pause = self.clock.next_s()
                assert pause is not None, f"nothing goes on, {self.done} are done"
                self.clock.advance(pause)
                await until(self._quiet)

    async def _take(self) -> None:
        while self.waiting:
            update = self.waiting.popleft()
            begun = perf_counter()
            try:
                await self.runtime.receive(self.twitch, update[1])
            except BaseException:
                self.waiting.append(update)  # it was not acknowledged, so that it comes again
                raise
            if self.turns_s is not None:
                self.turns_s.append(perf_counter() - begun)

    def _quiet(self) -> bool:
        """Whether nothing goes on before time does."""
        sender: Any = self.runtime.relay._sender
        lanes = self.runtime.relay._lanes.lanes.values()
        resting = all(lane.state in (IDLE, PARKED) for lane in lanes)
        return resting and not self.runtime.busy and not len(sender.settler)

    def all_done(self) -> bool:
        return self.done == len(self.viewers)
