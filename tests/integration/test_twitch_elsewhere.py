"""One process hears Twitch, another one answers: a worker, or a function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from legato import App, Chat
from legato.abc import Store
from legato.app.runtime import Runtime
from legato.deploy.clock import SystemClock
from legato.deploy.parts import make_platforms
from legato.deploy.transport import Transport
from legato.model.events import Address
from legato.model.records import Call
from legato.platforms.twitch import Twitch, oauth
from legato.platforms.twitch import state as state_module
from legato.platforms.twitch.rooms import FEW, MANY, Rooms
from legato.platforms.twitch.state import Told
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.fake_twitch import FakeTwitch
from tests.integration import twitch_bot
from tests.integration.twitch_bot import KEY, connected, log_in, settings_for, until

HELD = ("irc", "irc-websocket", "eventsub-websocket")
SAY = Call("send_chat_message", {})


def echo() -> App:
    app = App("echo", apology="")

    @app.message()
    async def echo(chat: Chat) -> None:
        await chat.say(chat.message.text)

    return app


def bot(twitch: FakeTwitch, transport: str) -> Twitch:
    (platform,) = make_platforms(settings_for(twitch, transport), ("!",), SystemClock())
    assert isinstance(platform, Twitch)
    return platform


@asynccontextmanager
async def worker(twitch: FakeTwitch, transport: str, store: Store) -> AsyncIterator[Runtime]:
    """A process that never listens."""
    platform, http = bot(twitch, transport), Transport()
    await platform.load(store)
    runtime = Runtime(echo(), store=store, platforms=[platform], clock=SystemClock(), http=http)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop(1.0)
        await http.close()


@asynccontextmanager
async def listener(
    twitch: FakeTwitch, transport: str, store: Store, runtime: Runtime
) -> AsyncIterator[Twitch]:
    """A process that hears, and hands on what it hears."""
    platform, http = bot(twitch, transport), Transport()

    async def sink(body: bytes) -> None:
        for event in platform.parse(body).events:
            await runtime.handle(event)  # type: ignore[arg-type] # platforms give AnyEvent

    await platform.setup(http, store, "")
    listening = asyncio.create_task(platform.listen(sink, http, store))
    await connected(twitch, transport)
    try:
        yield platform
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await http.close()


@asynccontextmanager
async def opened(scopes: Sequence[str] = oauth.SCOPES) -> AsyncIterator[tuple[FakeTwitch, Store]]:
    store = MemoryStore()
    await store.open()
    async with FakeTwitch(second=0.01) as twitch:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(twitch_bot, "SCOPES", tuple(scopes))
            await log_in(twitch, store)
        yield twitch, store
        assert twitch.violations == []


@pytest.mark.parametrize("transport", HELD)
async def test_who_does_not_hear_answers_through_the_api(transport: str) -> None:
    async with opened() as (twitch, store):
        room = twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        async with worker(twitch, transport, store) as runtime:
            async with listener(twitch, transport, store, runtime):
                for text in ("one", "one", "two"):
                    ann.says(text)
                    await ann.gets()
            assert [text.strip("\U000e0000 ") for text in room.texts if "@ann" in text] == [
                "@ann one",
                "@ann one",
                "@ann two",
            ]


async def test_without_the_right_to_it_answers_wait_and_are_not_lost() -> None:
    scopes = ("chat:read", "chat:edit")
    async with opened(scopes) as (twitch, store):
        twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        async with (
            worker(twitch, "irc", store) as runtime,
            listener(twitch, "irc", store, runtime),
        ):
            ann.says("one")
            await until(lambda: runtime.relay.stats.retried)
            (item,) = await store.outbox(states=("queued", "sending"))
            assert "user:write:chat" in item.error
            assert ann.sees == []


@pytest.mark.parametrize("transport", HELD)
async def test_a_worker_knows_within_seconds_where_the_bot_is_a_moderator(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "LOOK_S", 0.0)
    async with opened() as (twitch, store):
        room = twitch.channel("Ronni")
        room.gives("moderator", twitch.bot)
        ann = twitch.viewer("Ann")
        place = Address("twitch", twitch.bot.id, room.id, ann.id)
        async with (
            worker(twitch, transport, store) as runtime,
            listener(twitch, transport, store, runtime),
        ):
            platform = runtime.platform(place)
            assert platform.limit(SAY, place) == FEW  # as long as it knows nothing
            for text in ("one", "two"):  # before each message it looks
                ann.says(text)
                await ann.gets(text)
                await told(store, twitch, room.id)
            assert platform.limit(SAY, place) == MANY

            room.takes("moderator", twitch.bot)
            for text in ("three", "four"):  # by its own message who hears it learns of it
                ann.says(text)
                await ann.gets(text)
                await told(store, twitch)
            assert platform.limit(SAY, place) == FEW


async def told(store: Store, twitch: FakeTwitch, *powers: str) -> None:
    """Returns once the store says that the bot is a moderator in these channels."""
    async with asyncio.timeout(20):
        while True:
            kept = await store.get("setting", f"twitch:{twitch.bot.id}:powers")
            if kept and msgspec.json.decode(kept)["powers"] == list(powers):
                return
            await asyncio.sleep(0.01)


async def test_what_was_told_long_ago_is_believed_no_more() -> None:
    clock = FakeClock()
    platform = Twitch("id", "secret", ("ronni",), clock=clock, key=KEY)
    state, store = platform._state, MemoryStore()
    state.helix.bot = platform.bot = "1"
    news = Told(clock.now_ms(), ("7",))
    await state.keep(store, "powers", msgspec.json.encode(news))
    place = Address("twitch", "1", "7", "8")

    await state.look_at_roles(store)
    assert platform.limit(SAY, place) == MANY
    assert platform.limit(SAY, Address("twitch", "1", "9", "8")) == FEW
    clock.advance(state_module.BELIEVE_S - 1)
    assert platform.limit(SAY, place) == MANY
    clock.advance(1)
    assert platform.limit(SAY, place) == FEW
    assert platform.limit(SAY, Address("twitch", "1", "1", "8")) == MANY  # its own channel


async def test_what_this_process_hears_itself_counts_more_than_what_it_was_told() -> None:
    rooms = Rooms(("ronni",))
    rooms.learn("ronni", "7")
    assert rooms.window("7", "1", ("7",)) == MANY
    rooms.hold("ronni", ())
    assert rooms.window("7", "1", ("7",)) == FEW
