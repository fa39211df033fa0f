"""Processes of a function, and a server beside them, on one store: while nobody dies, nothing is sent twice."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from legato import App, Chat
from legato.abc import HttpRequest
from legato.app.runtime import Runtime
from legato.app.settings import Settings
from legato.deploy.function import caring
from legato.deploy.function.core import Function
from legato.deploy.function.invocation import Invocation
from legato.deploy.parts import make_platforms, make_store
from legato.deploy.process import Process
from legato.testing.fake_telegram import FakeTelegram
from tests.unit.deploy.function_kit import PROOF, SECRET, TOKEN, UPDATE, Jumping, on_telegram

LONG_S = 100.0
BODY = json.dumps(UPDATE).encode()


def talker() -> App:
    app = App("talker")

    @app.command("start")
    async def start(chat: Chat) -> None:
        for text in ("one", "two", "three"):
            await chat.say(text)

    return app


class Room:
    """Processes of one bot over one file."""

    def __init__(self, telegram: FakeTelegram) -> None:
        self.telegram = telegram
        self.clock = Jumping()

    @asynccontextmanager
    async def function(self) -> AsyncIterator[Function]:
        """A process of a function."""
        process = Function(talker(), {"telegram_api": self.telegram.api})
        process.clock = self.clock
        process.invocation = Invocation(process.clock)
        try:
            yield process
        finally:
            await process.stopped()

    @asynccontextmanager
    async def server(self) -> AsyncIterator[Runtime]:
        """What `legato run` makes."""
        settings = Settings(
            telegram_token=TOKEN, telegram_secret=SECRET, telegram_api=self.telegram.api
        )
        clock = self.clock
        process = Process(
            talker(),
            settings,
            store=make_store("sqlite:///legato.db", shared=True),
            platforms=make_platforms(settings, ("/",), clock),
            clock=clock,
            failed=lambda error: None,
            shared=True,
        )
        await process.open(set_up=False)
        try:
            yield process.runtime
        finally:
            await process.close()

    def said(self) -> dict[str, int]:
        """How often each text is in the chat."""
        return dict(Counter(self.telegram.chat(1001).texts))

    async def until(self, *texts: str) -> None:
        """Returns once these have come to Telegram, which may have refused them."""
        async with asyncio.timeout(20):
            while not set(texts) <= {c.params["text"] for c in self.telegram.called("sendMessage")}:  # noqa: ASYNC110  # another thread's server
                await asyncio.sleep(0.02)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    with on_telegram(tmp_path, monkeypatch) as telegram:
        yield Room(telegram)


def update() -> HttpRequest:
    return HttpRequest("POST", "/telegram", {k.lower(): v for k, v in PROOF.items()}, BODY)


async def started(server: Runtime, update_id: int = 1) -> None:
    """A person writes to the server."""
    body: dict[str, Any] = UPDATE | {"update_id": update_id}
    (platform,) = server.platforms.values()
    await server.receive(platform, json.dumps(body).encode())


async def test_what_a_server_has_in_hand_is_left_to_it_however_old_it_is(room: Room) -> None:
    async with room.server() as server, room.function() as function:
        room.telegram.fails(429, method="sendMessage", retry_after=1)
        await started(server)
        await server.drained()
        room.clock.later_s += 70
        await server.rescan()
        assert await function.touch(8) == {"woken": 0, "left": 0}
        await server.relay.flush(10)
    assert room.said() == {"one": 1, "two": 1, "three": 1}


async def test_a_server_that_stood_still_sends_nothing_that_others_may_have_sent(
    room: Room,
) -> None:
    async with room.server() as server, room.function() as function:
        room.telegram.fails(429, method="sendMessage", retry_after=2)
        await started(server)
        await room.until("one")
        room.clock.later_s += 100
        await function.touch(8)
        await server.rescan()
        await server.relay.flush(10)
    assert room.said() == {"one": 1, "two": 1, "three": 1}


async def test_what_a_server_had_in_hand_is_sent_by_it_after_it_stood_still(room: Room) -> None:
    async with room.server() as server:
        room.telegram.fails(429, method="sendMessage", retry_after=1)
        await started(server)
        await room.until("one")
        room.clock.later_s += 100
        await server.relay.flush(10)
        await server.rescan()
        await server.relay.flush(10)
    assert room.said() == {"one": 1, "two": 1, "three": 1}


async def test_what_a_server_had_in_hand_is_found_again_as_soon_as_it_has_let_go_of_it(
    room: Room,
) -> None:
    async with room.server() as server, room.function() as function:
        room.telegram.fails(429, method="sendMessage", retry_after=2)
        await started(server)
        await room.until("one")
        room.clock.later_s += 100
        async with function.invoked(8, quiet=True) as runtime:
            assert await caring.cares(runtime.store, function.clock, function.invocation)
        await server.rescan()
        await server.relay.flush(10)
    assert room.said() == {"one": 1, "two": 1, "three": 1}


async def test_what_a_server_has_left_is_sent_by_the_next_one_at_once(room: Room) -> None:
    async with room.server() as server:
        fault = room.telegram.fails(500, method="sendMessage", times=-1)
        await started(server)
        await room.until("one")
        await server.abandon()  # as by kill -9
        fault.end()
        async with room.server() as another:
            await another.relay.flush(10)
    assert room.said() == {"one": 1, "two": 1, "three": 1}


async def test_what_a_server_has_left_is_sent_by_a_tick_once_it_is_known_to_be_dead(
    room: Room,
) -> None:
    async with room.server() as server:
        fault = room.telegram.fails(500, method="sendMessage", times=-1)
        await started(server)
        await room.until("one")
        await server.abandon()
        fault.end()
        async with room.function() as function:
            room.clock.later_s += 70
            await function.touch(8)
            assert room.said() == {}
            room.clock.later_s += 30
            await function.touch(8)
    assert room.said() == {"one": 1, "two": 1, "three": 1}


async def test_what_an_invocation_is_sending_is_left_to_it_by_a_server(room: Room) -> None:
    room.telegram.slow(0.3, method="sendMessage")
    async with room.server() as server, room.function() as function:
        request = asyncio.create_task(function.request(update(), 8))
        await room.until("one")
        await server.rescan()
        assert (await request).status == 200
        await server.relay.flush(10)
    assert room.said() == {"one": 1, "two": 1}


async def test_what_an_invocation_is_sending_is_left_to_it_by_a_server_that_starts(
    room: Room,
) -> None:
    room.telegram.slow(0.3, method="sendMessage")
    async with room.function() as function:
        request = asyncio.create_task(function.request(update(), 8))
        await room.until("one")
        async with room.server() as server:
            assert (await request).status == 200
            await server.relay.flush(10)
    assert room.said() == {"one": 1, "two": 1}


async def test_what_an_invocation_has_left_is_sent_by_a_server_once_it_is_over(room: Room) -> None:
    async with room.server() as server:
        await left_behind(room)
        await server.rescan()
        assert room.said() == {}
        room.clock.later_s += 5
        await server.rescan()
        await server.relay.flush(10)
    assert room.said() == {"one": 1, "two": 1}


async def test_a_server_that_starts_while_a_tick_sends_what_was_left_leaves_it_to_that(
    room: Room,
) -> None:
    await left_behind(room)
    room.clock.later_s += 5
    room.telegram.slow(0.3, method="sendMessage")
    async with room.function() as function:
        tick = asyncio.create_task(function.touch(8))
        await room.until("one")
        async with room.server() as server:
            await tick
            await started(server, 2)  # it is no caretaker, and sends its own
            await server.drained()
            await server.relay.flush(10)
    assert room.said() == {"one": 2, "two": 2, "three": 1}


async def test_a_repeated_update_leaves_to_who_has_it_what_is_being_sent(room: Room) -> None:
    room.telegram.slow(0.3, method="sendMessage")
    async with room.function() as first, room.function() as second:
        request = asyncio.create_task(first.request(update(), 8))
        await room.until("one")
        repeated = await second.request(update(), 8)
        answer = await request
        again = await second.request(update(), 8)
    assert room.said() == {"one": 1, "two": 1}
    assert repeated.status == 503  # its answer comes after the others, which are not out yet
    assert again.body == answer.body


async def test_what_a_long_invocation_has_in_hand_for_a_while_is_left_to_it_by_ticks(
    room: Room,
) -> None:
    async with room.function() as slow, room.function() as tick:
        room.telegram.fails(429, method="sendMessage", retry_after=1)
        request = asyncio.create_task(slow.request(update(), LONG_S))
        await room.until("one")
        room.clock.later_s += 40
        assert (await request).status == 200
        assert await tick.touch(8) == {"woken": 0, "left": 0}
    assert room.said() == {"one": 1, "two": 1}


async def test_what_a_long_invocation_has_had_for_too_long_is_sent_by_a_tick_and_not_by_it(
    room: Room,
) -> None:
    async with room.function() as slow, room.function() as tick:
        room.telegram.fails(429, method="sendMessage", retry_after=2)
        request = asyncio.create_task(slow.request(update(), LONG_S))
        await room.until("one")
        room.clock.later_s += 70
        await tick.touch(8)
        assert room.said() == {"one": 1, "two": 1}
        assert (await request).status == 503
        assert (await slow.request(update(), LONG_S)).status == 200
    assert room.said() == {"one": 1, "two": 1}


async def left_behind(room: Room) -> None:
    """An invocation that could not send everything."""
    async with room.function() as function:
        fault = room.telegram.fails(500, method="sendMessage", times=-1)
        assert (await function.request(update(), 1)).status == 503
        fault.end()


async def test_processes_that_start_at_the_same_time_send_what_was_left_once(room: Room) -> None:
    await left_behind(room)
    room.clock.later_s += 5
    room.telegram.slow(0.2, method="sendMessage")
    async with room.function() as one, room.function() as two:
        await asyncio.gather(one.touch(8), two.touch(8))
    assert room.said() == {"one": 1, "two": 1}


@pytest.mark.parametrize("later_s", [0, 5])
async def test_what_an_invocation_has_left_is_sent_by_a_tick_or_its_next_one_and_never_by_both(
    room: Room, later_s: int
) -> None:
    async with room.function() as tick, room.function() as function:
        fault = room.telegram.fails(500, method="sendMessage", times=-1)
        assert (await function.request(update(), 1)).status == 503
        fault.end()
        room.clock.later_s += later_s
        room.telegram.slow(0.2, method="sendMessage")
        await asyncio.gather(tick.touch(8), function.touch(8))
    assert room.said() == {"one": 1, "two": 1}
