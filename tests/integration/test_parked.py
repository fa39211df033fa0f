"""Dialogs that wait hold no memory: open them, park them, resume them all. LEGATO_SOAK=34: 100,000."""

import asyncio
import gc
import os
import tracemalloc
from collections.abc import Iterator

import msgspec

from legato import App, Chat
from legato.abc import Verdict
from legato.app.runtime import Runtime, RuntimeSettings
from legato.model.events import Address, MessageReceived, User
from legato.model.records import WAITING
from legato.stores.sqlite import SQLiteStore
from legato.testing.clock import FakeClock
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork

DIALOGS = 3_000 * int(os.environ.get("LEGATO_SOAK", "1"))
CACHE = 200

app = App("adder")


@app.command("start")
async def add(chat: Chat) -> None:
    first = await chat.ask("First?", int)
    second = await chat.ask("Second?", int)
    await chat.say(f"Sum: {first + second}")


class Quiet(ScriptedPlatform):
    """Remembers only how much was said, and the last words."""

    said = 0
    last = ""

    async def send(self, call, place, http):
        self.said += 1
        self.last = call.params["out"]["message"]["text"]
        return Verdict("sent", message_id="1")


def _message(number: int, step: int, text: str) -> bytes:
    person = str(number)
    event = MessageReceived(
        id=f"test:bot:{number}-{step}",
        place=Address("test", "bot", person, person),
        user=User(person, "Ann"),
        text=text,
        command=text.removeprefix("/") if text.startswith("/") else "",
        private=True,
    )
    return msgspec.json.encode(event)


async def _open(path) -> tuple[Runtime, Quiet]:
    platform = Quiet()
    runtime = Runtime(
        app,
        store=SQLiteStore(path),
        platforms=[platform],
        clock=FakeClock(),
        http=NoNetwork(),
        settings=RuntimeSettings(cache=CACHE),
    )
    await runtime.start(loops=False)
    return runtime, platform


def batched(numbers: range) -> Iterator[range]:
    """64 people at a time, whose commits share their fsync."""
    for start in range(0, len(numbers), 64):
        yield numbers[start : start + 64]


async def _all_say(runtime: Runtime, platform: Quiet, step: int, text: str, numbers) -> None:
    for some in batched(numbers):
        await asyncio.gather(
            *(runtime.receive(platform, _message(number, step, text)) for number in some)
        )
    assert await runtime.relay.flush(60) == 0


async def test_parked_dialogs_hold_no_memory_and_all_go_on_after_a_restart(tmp_path):
    path = tmp_path / "parked.db"
    tracemalloc.start()
    try:
        runtime, platform = await _open(path)
        await _all_say(runtime, platform, 0, "/start", range(1_000))
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        await _all_say(runtime, platform, 0, "/start", range(1_000, DIALOGS))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 50 * (DIALOGS - 1_000), f"{grown / (DIALOGS - 1_000):.0f} bytes a dialog"
    await runtime.stop()
    assert path.stat().st_size < 1_000 * DIALOGS

    runtime, platform = await _open(path)
    await _all_say(runtime, platform, 1, "2", range(DIALOGS))
    await _all_say(runtime, platform, 2, "3", range(DIALOGS))
    assert platform.said == 2 * DIALOGS
    assert platform.last == "Sum: 5"
    assert await runtime.store.find(status=WAITING, limit=1) == []
    await runtime.stop()
