"""The first invocation of a process: settings, store and platforms; and what earlier processes have left."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from legato.app.runtime import Runtime, RuntimeSettings
from legato.app.settings import Settings, load_settings
from legato.app.share import Share
from legato.deploy.function.lazy import LazyHttp
from legato.deploy.parts import hosted_platforms, make_platforms, make_store
from legato.errors import ConfigError, StoreError, StoreUnavailable, Unavailable
from legato.model.ids import place_of
from legato.outbox.backlog import is_broadcast
from legato.outbox.caretaker import Claims, is_own, is_strange
from legato.outbox.settings import RelaySettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from legato.abc import Clock, Platform, Store
    from legato.app.app import App
    from legato.deploy.function.invocation import Invocation
    from legato.deploy.function.queueing import Queues
    from legato.engine.outcomes import Elsewhere
    from legato.model.records import OutboxItem
    from legato.outbox.relay import Only

RESUME_S = 1.0
"""So long the store is asked for what was left, at most: a broadcast may have left a million."""
ONE_MACHINE = "LEGATO_FUNCTIONS"
"""Is set by `legato functions`: all processes of the function are on one machine, and share its disk."""
_CURE = (
    "set LEGATO_STORE=dynamodb://table?region=eu-central-1 or postgresql://user:password@host/database, which "
    "all processes of the function reach"
)


log: logging.Logger = logging.getLogger("legato.function")


class Enough(Exception):
    """So much was found that the rest is left."""


class Own(Share):
    """Everything; but of messages only those that this invocation has committed, for a while, unless it is the caretaker.

    Args:
        store, clock, invocation: Where it stands who that is, what time it is, and how much is left.
    """

    def __init__(self, store: Store, clock: Clock, invocation: Invocation) -> None:
        self._parts = store, clock, invocation
        self._clock = clock
        self._invocation = invocation

    def sends(self, item: OutboxItem) -> bool:
        care = self._invocation.care
        if item.id in self._invocation.taken:
            return care is not None and care.holds
        return is_own(item, self._clock.now_ms()) or (care is not None and care.is_safe(item))

    async def claim(self, item: OutboxItem) -> None:
        if self._invocation.care is None and self.sends(item):
            return
        from legato.deploy.function.caring import cares

        try:
            await cares(*self._parts)
        except StoreError as error:
            log.debug("what was left waits: %s", error)


class Seen(NamedTuple):
    """What one look at the outbox has found.

    Attributes:
        found, others: Lanes in which there is something for us, and those in which there is something of others.
        stopped: The id up to which there was time for it, 0 if for all.
    """

    found: set[str]
    others: set[str]
    stopped: int


class Parts(NamedTuple):
    """What one process is made of.

    Attributes:
        runtime: The running bot.
        platforms: By name.
        queues: Those that are set.
        settings: All of them.
    """

    runtime: Runtime
    platforms: dict[str, Platform]
    queues: Queues | None
    settings: Settings


def make(
    app: App,
    flags: Mapping[str, str],
    clock: Clock,
    invocation: Invocation,
    *,
    build: int = 0,
    elsewhere: Elsewhere | None = None,
) -> Parts:
    """Makes the parts of a process, by its settings. Nothing is asked or opened yet.

    Args:
        app: The bot.
        flags: Settings that go before the environment.
        clock, invocation: What time it is, and how much is left.
        build, elsewhere: See RuntimeSettings.

    Raises:
        ConfigError: It cannot run like this.
    """
    settings = load_settings(flags, folders=["."])
    platforms = _hosted(app, settings, clock)
    # Shared: the service runs several of us at once, or has one frozen that would hold the lock
    # for ever. The fence keeps conversations whole.
    store = make_store(settings.store or "sqlite:///legato.db", threads=False, shared=True)
    http = LazyHttp()
    queues: Queues | None = None
    if settings.queue or settings.timers:
        from legato.deploy.function.queueing import Queues

        queues = Queues(settings, http, clock, invocation)
    runtime = Runtime(
        app,
        store=store,
        platforms=platforms,
        clock=clock,
        http=http,
        settings=replace(_knobs(settings, invocation), build=build, elsewhere=elsewhere),
        share=Own(store, clock, invocation),
    )
    invocation.earlier, invocation.carer = Earlier(runtime, invocation), None
    return Parts(runtime, {platform.name: platform for platform in platforms}, queues, settings)


def fleeting(settings: Settings, environ: Mapping[str, str] = os.environ) -> str:
    """Why the store does not outlive the process, and what to do; "" if it does."""
    scheme = settings.store.partition("://")[0] or "sqlite"
    if scheme == "memory":
        return f"LEGATO_STORE=memory:// forgets all conversations when this process ends: {_CURE}"
    if scheme != "sqlite" or environ.get(ONE_MACHINE):
        return ""
    named = f"={settings.store}" if settings.store else " is not set, so the store"
    return (
        f"LEGATO_STORE{named} is a file on this process's own disk, which is gone with it, with all "
        f"conversations: {_CURE}"
    )


async def opened(parts: Parts) -> Runtime:
    """Opens the store, and lets the platforms read what they need of it. If it fails, all is to be discarded.

    Raises:
        ConfigError, StoreError: It cannot run like this.
    """
    runtime = parts.runtime
    try:
        await runtime.store.open()
    except StoreUnavailable as error:
        if parts.settings.store:
            raise
        raise ConfigError(
            f"LEGATO_STORE is not set, and there is no place for a file here ({error}): write "
            "dynamodb://table?region=eu-central-1 or postgresql://user:password@host/database"
        ) from error
    for platform in parts.platforms.values():
        await platform.load(runtime.store)
    runtime.app.attach(runtime)
    return runtime


async def resume(runtime: Runtime, clock: Clock, invocation: Invocation) -> None:
    """Takes up what earlier processes have left.

    Raises:
        StoreError: The store cannot be read; harmless to be called again.
    """
    await leftover(runtime, clock, invocation)
    # What takes long goes on beside: the request that this process was started for comes first.
    await runtime.resume(_patience_s(invocation))


async def leftover(runtime: Runtime, clock: Clock, invocation: Invocation) -> bool:
    """Takes over messages whose invocation is over, or whose process died; returns whether there are broadcasts, which
    are not taken. Where there is no time for all of them, the next look of this process goes on there.

    Raises:
        StoreError: The store cannot be read.
    """
    now_ms, broadcasts = clock.now_ms(), False

    def only(item: OutboxItem) -> bool:
        nonlocal broadcasts
        if not is_strange(item, now_ms):
            return False
        broadcasts = broadcasts or is_broadcast(item)
        return not is_broadcast(item)

    before = invocation.looked
    invocation.looked = (await _taken(runtime, invocation, only, after=before)).stopped
    return broadcasts or before > 0  # what was passed over by earlier looks is hardly anything else


async def taken_over(
    runtime: Runtime, invocation: Invocation, only: Only, *, ended: Only | None = None
) -> set[str]:
    """Takes over what the store holds as undelivered, as far as it is found in a short time, the oldest first, and as
    far as no other process has it: which takes what is left is the caretaker.

    Args:
        runtime: Takes it over.
        invocation: Has the time.
        only: What is meant.
        ended: What of it was an invocation's that is over, whatever it says itself.

    Returns:
        Lanes in which something that is meant is another process's.

    Raises:
        StoreError: The store cannot be read.
    """
    return (await _taken(runtime, invocation, only, ended=ended)).others


async def _taken(
    runtime: Runtime,
    invocation: Invocation,
    only: Only,
    *,
    ended: Only | None = None,
    after: int = 0,
) -> Seen:
    seen = await looked_through(runtime, invocation, only, ended=ended, after=after)
    if not seen.found:
        return seen
    from legato.deploy.function.caring import cares

    if not await cares(runtime.store, runtime.clock, invocation):
        return seen._replace(others=seen.found | seen.others)
    return await looked_through(runtime, invocation, only, ended=ended, after=after, take=True)


class Earlier:
    """Takes over what interrupted Turns have said in other processes, before they are gone on with.

    Args:
        runtime: Goes on with them.
        invocation: Has the time.
    """

    def __init__(self, runtime: Runtime, invocation: Invocation) -> None:
        self._runtime = runtime
        self._invocation = invocation
        self._asked: set[str] = set()
        self._others: dict[str, set[str]] = {}
        self._one = asyncio.Lock()

    async def __call__(self, key: str) -> None:
        """Does it for one conversation. The outbox is looked through for all that come meanwhile at once.

        Raises:
            StoreError: The store cannot be read.
            Unavailable: Another process is sending it.
        """
        self._asked.add(key)
        async with self._one:
            if key in self._asked:
                keys = frozenset(self._asked)
                found = await taken_over(
                    self._runtime, self._invocation, lambda item: item.key in keys
                )
                self._asked -= keys
                self._others |= dict.fromkeys(keys, found)
        if place_of(key).lane in self._others.pop(key, ()):
            raise Unavailable(f"another process sends what {key} has said")


async def looked_through(
    runtime: Runtime,
    invocation: Invocation,
    only: Only,
    *,
    ended: Only | None = None,
    after: int = 0,
    take: bool = False,
) -> Seen:
    """Looks at what is undelivered, beginning behind an item, and takes it, if so wanted. `only` may raise Enough.

    Raises:
        StoreError: The store cannot be read.
    """
    rest_s = invocation.left_s - _patience_s(invocation)
    claims, found, others, stopped = Claims(runtime.clock.now_ms()), set[str](), set[str](), 0

    def wanted(item: OutboxItem) -> bool:
        nonlocal stopped
        if invocation.left_s < rest_s:
            log.warning("there are more undelivered messages than can be looked through now")
            stopped = item.id - 1
            raise Enough
        free = claims.free(item) or (ended is not None and ended(item))
        if not only(item):
            return False
        (found if free else others).add(item.lane)
        if take and free:
            invocation.taken.add(item.id)
        return take and free

    try:
        await runtime.relay.recover(wanted, after=after)
    except Enough:
        pass  # a later invocation takes the next ones
    return Seen(found, others, stopped)


def _patience_s(invocation: Invocation) -> float:
    """How long it may take to look for what others have left."""
    return min(RESUME_S, invocation.left_s / 4)


def _hosted(app: App, settings: Settings, clock: Clock) -> list[Platform]:
    if not settings.web_socket:
        return hosted_platforms(settings, app.prefixes, clock)
    from legato.deploy.function.websocket import SocketWeb

    web = SocketWeb(clock, settings.web_socket, app.name, prefixes=app.prefixes)
    return [*make_platforms(settings, app.prefixes, clock), web]


def _knobs(settings: Settings, invocation: Invocation) -> RuntimeSettings:
    return RuntimeSettings(
        cache=settings.cache,
        webhook_reply=settings.webhook_reply,
        reply_last=True,
        step_timeout_s=settings.step_timeout,
        term=invocation,
        # What is not sent within an invocation leaves memory anyway, with what is known of its tries.
        relay=RelaySettings(bulk_lanes=0, persist_over_s=0),
    )


__all__ = [
    "ONE_MACHINE",
    "Earlier",
    "Enough",
    "Parts",
    "fleeting",
    "leftover",
    "looked_through",
    "make",
    "opened",
    "resume",
    "taken_over",
]
