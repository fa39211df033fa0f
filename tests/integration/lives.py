"""A bot in this process, on either platform and by each of their ways, that may die at any commit."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from legato import App
from legato.abc import Store
from legato.app.settings import Settings, load_settings
from legato.deploy.clock import SystemClock
from legato.deploy.http import Endpoint
from legato.deploy.lifecycle import Stopping
from legato.deploy.parts import make_platforms
from legato.deploy.process import Process
from legato.deploy.serving import Serving, bound
from legato.model.records import Commit
from legato.platforms.twitch.events import INVISIBLE
from legato.stores.memory import MemoryStore
from legato.testing.crash import Crash, CrashingStore
from legato.testing.fake_telegram import FakeTelegram
from legato.testing.fake_twitch import FakeTwitch
from tests.integration.twitch_bot import KEY, TRANSPORTS, connected, log_in

WINDOW_S = 31.0
"""What a start on Twitch has to wait out where the channel may have been busy before."""
TELEGRAM = ("polling", "webhook")
WAYS = (*TELEGRAM, *TRANSPORTS)
MODES = ("warm", "cold", "crash")


class Skips(SystemClock):
    """The machine's time, of which parts can be left out.

    Attributes:
        wall_s: So much of the wall clock's, by which dialogs wait.
        monotonic_s: So much of the other's, by which limits are counted.
    """

    __slots__ = ("monotonic_s", "wall_s")

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.monotonic_s = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self.wall_s * 1000)

    def monotonic(self) -> float:
        return super().monotonic() + self.monotonic_s


# -- the platforms, as those see them who talk with the bot ----------------------------------------


class Side(ABC):
    """One platform, and Ann on it."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The bot's."""

    async def prepare(self, store: Store) -> None:
        """What must be in the store before the first start."""

    async def hears(self) -> None:
        """Returns once the bot hears what is said."""

    @abstractmethod
    def says(self, text: str) -> None:
        """Ann says something."""

    @abstractmethod
    async def gets(self) -> str:
        """The next thing that she reads."""

    @property
    @abstractmethod
    def reads(self) -> list[str]:
        """Everything that she read."""


class OnTelegram(Side):
    def __init__(self, telegram: FakeTelegram) -> None:
        self.telegram = telegram
        self.ann = telegram.user("Ann")

    def environment(self) -> dict[str, str]:
        return {"TELEGRAM_TOKEN": self.telegram.token, "TELEGRAM_API": self.telegram.api}

    def says(self, text: str) -> None:
        self.ann.sends(text)

    async def gets(self) -> str:
        return (await self.ann.gets()).text

    @property
    def reads(self) -> list[str]:
        return self.ann.sees


class OnTwitch(Side):
    def __init__(self, twitch: FakeTwitch, transport: str, clock: Skips) -> None:
        twitch.world.now = clock.monotonic
        twitch.channel("Ronni")
        self.twitch = twitch
        self.transport = transport
        self.ann = twitch.viewer("Ann")

    def environment(self) -> dict[str, str]:
        return self.twitch.environment(self.transport) | {"LEGATO_KEY": KEY}

    async def prepare(self, store: Store) -> None:
        await log_in(self.twitch, store)

    async def hears(self) -> None:
        await connected(self.twitch, self.transport)

    def says(self, text: str) -> None:
        self.ann.says(text)

    async def gets(self) -> str:
        return _seen((await self.ann.gets()).plain)

    @property
    def reads(self) -> list[str]:
        return [_seen(text) for text in self.ann.sees]


def _seen(text: str) -> str:
    """Without the sign that nobody sees, by which a text differs from the one before."""
    return text.replace(INVISIBLE, "").strip()


@asynccontextmanager
async def side(way: str, clock: Skips) -> AsyncIterator[Side]:
    """The platform of a way."""
    if way in TELEGRAM:
        async with FakeTelegram(second=0.01) as telegram:
            yield OnTelegram(telegram)
    else:
        async with FakeTwitch(second=0.01) as twitch:
            yield OnTwitch(twitch, way, clock)
            assert twitch.violations == []


# -- the bot ---------------------------------------------------------------------------------------


class Lives:
    """The bot: its one life, or as many as it dies.

    Attributes:
        deaths: How often it died.
        failures: What else ended it.
    """

    def __init__(
        self, app: App, settings: Settings, clock: Skips, listener: socket.socket, *, dies: bool
    ) -> None:
        self._app = app
        self._settings = settings
        self._clock = clock
        self._listener = listener
        self._dies = dies
        self.memory = MemoryStore()
        self._store: Store = CrashingStore(self.memory, self._die) if dies else self.memory
        self._died = asyncio.Event()
        self._up = asyncio.Event()
        self._process: Process | None = None
        self.deaths = 0
        self.failures: list[BaseException] = []

    def _die(self, commit: Commit) -> bool:
        if not (commit.key or commit.update_id):
            return False  # nothing that anybody was told of
        self._up.clear()
        self._died.set()
        return True

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, Crash):
            self.failures.append(error)

    async def live(self) -> None:
        """Lives and dies until cancelled."""
        while True:
            self._died.clear()
            await self._life()
            self.deaths += 1

    async def _life(self) -> None:
        platforms = make_platforms(self._settings, self._app.prefixes, self._clock)
        process = self._process = Process(
            self._app,
            self._settings,
            store=self._store,
            platforms=platforms,
            clock=self._clock,
            failed=self._failed,
        )
        if self._dies:
            # Or Twitch's limit would keep it silent for longer than the adder waits for an answer.
            self._clock.monotonic_s += WINDOW_S
        server: Serving | None = None
        try:
            await process.open()
            if self._settings.public_url:
                server = Serving(Endpoint(process.runtime), self._listener.dup())
                server.start(Stopping())
            for platform in platforms:
                if platform.listens(self._settings.public_url):
                    process.listen(platform)
            if not self._died.is_set():
                self._up.set()
            await self._died.wait()
        except Crash:
            pass  # at its start
        finally:
            self._up.clear()
            await self._end(process, server)

    async def _end(self, process: Process, server: Serving | None) -> None:
        if server is not None:
            server.refuse()
        if self._dies:
            await abandon(process)
        else:
            await process.close()
        if server is not None:
            await server.ended()

    async def ready(self) -> None:
        """Returns once it has said everything that it has to say."""
        async with asyncio.timeout(20):
            await self._up.wait()
            assert self._process is not None
            assert await self._process.runtime.relay.flush(10) == 0


async def abandon(process: Process) -> None:
    """Ends a process as SIGKILL would."""
    runtime: Any = process.runtime
    loops = runtime._loops
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    await process.stop_listening()
    await runtime.abandon()
    await process._http.close()
    await process._store.close()


@asynccontextmanager
async def living(
    app: App, way: str, mode: str, side: Side, clock: Skips, **environ: str
) -> AsyncIterator[Lives]:
    """A bot that lives in one of MODES."""
    with bound("127.0.0.1", 0) as listener:
        environ = side.environment() | environ
        if way in ("webhook", "eventsub"):
            environ["LEGATO_PUBLIC_URL"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if mode != "warm":
            environ["LEGATO_CACHE"] = "0"
        lives = Lives(app, load_settings(environ=environ), clock, listener, dies=mode == "crash")
        await lives.memory.open()
        await side.prepare(lives.memory)
        task = asyncio.create_task(lives.live())
        try:
            yield lives
        finally:
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled(), task.exception()
        assert lives.failures == []
