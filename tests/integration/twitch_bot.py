"""Runs a bot against the fake Twitch, by any of the four transports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

from legato import App
from legato.abc import Clock, Store
from legato.app.settings import Settings, load_settings
from legato.deploy.clock import SystemClock
from legato.deploy.http import Endpoint
from legato.deploy.lifecycle import Stopping
from legato.deploy.parts import make_platforms
from legato.deploy.process import Process
from legato.deploy.serving import Serving, bound
from legato.platforms.twitch import Twitch
from legato.platforms.twitch.grants import Account, Grant, Grants
from legato.platforms.twitch.oauth import SCOPES
from legato.stores.memory import MemoryStore
from legato.testing.fake_twitch import FakeTwitch

KEY = "YSBrZXkgb2YgdGhlIHRlc3RzOiBvZiAzMiBieXRlcyE="
"""As `openssl rand -base64 32` makes it: from a passphrase a key is derived for 0.05 s each time."""
TRANSPORTS = ("irc", "irc-websocket", "eventsub", "eventsub-websocket")


async def log_in(twitch: FakeTwitch, store: Store, clock: Clock | None = None) -> None:
    """What `legato twitch login` leaves in the store."""
    account = Account(twitch.bot.id, twitch.bot.login, SCOPES)
    serial = token_hex(8)
    grant = Grant(account, twitch.client_id, twitch.token, twitch.refresh_token, serial=serial)
    await Grants(KEY, clock or SystemClock()).keep(store, grant)


def settings_for(twitch: FakeTwitch, transport: str, **more: str) -> Settings:
    return load_settings(environ=twitch.environment(transport) | {"LEGATO_KEY": KEY} | more)


class Running:
    """A bot that runs.

    Attributes:
        process: Its parts.
        platform: Its adapter.
        failures: What ended it.
    """

    def __init__(self, process: Process, platform: Twitch, failures: list[BaseException]) -> None:
        self.process = process
        self.platform = platform
        self.failures = failures

    @property
    def state(self) -> Any:
        return self.platform._state

    @property
    def relay(self) -> Any:
        return self.process.runtime.relay


@asynccontextmanager
async def running(
    app: App,
    twitch: FakeTwitch,
    transport: str = "irc",
    *,
    store: Store | None = None,
    clock: Clock | None = None,
    crash: bool = False,
    port: int = 0,
    **environ: str,
) -> AsyncIterator[Running]:
    """The bot, logged in and connected; afterwards it has stopped in order, or as in a crash."""
    store = store or MemoryStore()
    clock = clock or SystemClock()
    await store.open()
    await log_in(twitch, store, clock)
    with _listener(transport, port) as listener:
        if transport == "eventsub":
            at = listener.getsockname()[1]
            environ.setdefault("LEGATO_PUBLIC_URL", f"http://127.0.0.1:{at}")
        settings = settings_for(twitch, transport, **environ)
        platforms = make_platforms(settings, app.prefixes, clock)
        (platform,) = (p for p in platforms if isinstance(p, Twitch))
        failures: list[BaseException] = []
        process = Process(
            app, settings, store=store, platforms=platforms, clock=clock, failed=failures.append
        )
        server: Serving | None = None
        try:
            await process.open()
            if transport == "eventsub":
                server = Serving(Endpoint(process.runtime), listener)
                server.start(Stopping())
            for one in platforms:
                process.listen(one)
            yield Running(process, platform, failures)
        finally:
            if server is not None:
                server._server.force_exit = crash
                server.refuse()
            if crash:
                await process.stop_listening()
                loops = process.runtime._loops
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
                await process.runtime.abandon()
                await process._http.close()
                await store.close()
            else:
                await process.close()
            if server is not None:
                await server.ended()


def _listener(transport: str, port: int) -> socket.socket:
    return bound("127.0.0.1", port) if transport == "eventsub" else socket.socket()


def free_port() -> int:
    """A port for a bot that is started again and again at the same address."""
    with bound("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        return port


async def connected(twitch: FakeTwitch, transport: str, timeout_s: float = 10.0) -> None:
    """Returns once the bot hears what is said in every channel."""
    logins = {channel.login for channel in twitch.world.channels.values()}
    ids = {channel.id for channel in twitch.world.channels.values()}

    def hears() -> bool:
        if transport.startswith("irc"):
            return twitch.irc.joined(twitch.bot.login) >= logins
        return ids <= {str(s.condition["broadcaster_user_id"]) for s in twitch.eventsub.enabled}

    await twitch.world.until(hears, timeout_s)


async def until(check: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Returns once something is so, which nothing announces."""
    async with asyncio.timeout(timeout_s):
        while not check():  # noqa: ASYNC110 # nothing announces it
            await asyncio.sleep(0.005)


async def echoed(twitch: FakeTwitch, text: str = "are you there?") -> None:
    """The echo bot hears somebody new, and answers."""
    viewer = twitch.viewer(f"Prober{len(twitch.world.accounts)}")
    viewer.says(text)
    await viewer.gets(text)
