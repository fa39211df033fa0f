"""What a Turn, a replay and a conversation at rest may cost, in units that no busy machine changes.

The same in microseconds: `make bench`. Here are counts and bytes, and one ratio with a wide margin.
"""

import asyncio
import gc
import sqlite3
import sys
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bench._kit import Bot
from bench.engine import counting
from legato.engine.versions import rebuild
from legato.model.ids import place_of
from legato.model.records import Loaded

KB = 1024
KEY = "telegram:42:1:1:"


async def say(bot: Bot, chats: Iterable[int], *texts: bytes) -> None:
    """Everybody says everything, and is answered."""
    for text in texts:
        await asyncio.gather(*(bot.says(chat, text) for chat in chats))
        await bot.runtime.relay.flush(60)


async def _memory_of_a_dialog(folder: Path, cache: int) -> float:
    """Bytes for each of 400 people who were asked their first question, when 400 others were. The best of
    three such groups: tables of the runtime grow by leaps, and hold for a while what is under way.
    """
    bot = Bot(folder, cache=cache)
    await bot.runtime.start(loops=False)
    tracemalloc.start()
    try:
        await say(bot, range(1_000_000, 1_000_400), b"/start")
        grown = []
        for first in (2_000_000, 3_000_000, 4_000_000):
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            await say(bot, range(first, first + 400), b"/start")
            gc.collect()
            grown.append((tracemalloc.get_traced_memory()[0] - before) / 400)
        return min(grown)
    finally:
        tracemalloc.stop()
        await bot.runtime.stop()


async def test_a_live_dialog_takes_3_kb_of_memory(tmp_path: Path) -> None:
    assert await _memory_of_a_dialog(tmp_path, cache=10_000) <= 3.2 * KB


async def test_a_parked_dialog_takes_no_memory(tmp_path: Path) -> None:
    assert await _memory_of_a_dialog(tmp_path, cache=100) <= 0.1 * KB


async def test_a_parked_dialog_with_10_records_takes_1_kb_of_disk(tmp_path: Path) -> None:
    bot = counting(tmp_path, cache=0)
    await bot.runtime.start(loops=False)
    await say(bot, range(1_000_000, 1_000_200), b"/start", *(b"%d" % n for n in range(10)))
    await bot.runtime.stop()
    file = sqlite3.connect(bot.path, isolation_level=None)
    file.execute("DELETE FROM inbox")  # ids of updates, which are kept for some days
    file.execute("VACUUM")
    (size,) = file.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    file.close()

    tables = 16 * 4 * KB  # an empty database's pages
    assert (size[0] - tables) / 200 <= 1 * KB


async def test_a_turn_runs_7_statements_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = Bot(tmp_path)
    await bot.runtime.start(loops=False)
    await say(bot, [1], b"/start")
    store: Any = bot.runtime.store
    statements: list[str] = []
    store._transactions.connection().set_trace_callback(statements.append)
    store._reader.set_trace_callback(statements.append)

    await say(bot, [1], b"2")

    work = [sql for sql in statements if not sql.startswith(("BEGIN", "COMMIT"))]
    await bot.runtime.stop()
    assert len(work) <= 7, "\n".join(work)


async def _journal_of(bot: Bot, records: int) -> Loaded:
    await say(bot, [1], b"/start", *(b"%d" % n for n in range(records)))
    loaded = await bot.runtime.store.load(KEY)
    assert loaded is not None
    assert len(loaded.segments) == records
    return loaded


def _replay(bot: Bot, loaded: Loaded) -> None:
    dialog = bot.runtime.app.dialogs.get("count")
    assert dialog is not None
    live = rebuild(loaded, dialog, bot.runtime.services.chat_services(place_of(KEY)))
    live.driver.evict()


async def test_a_replayed_record_makes_50_calls_at_most(tmp_path: Path) -> None:
    bot = counting(tmp_path, cache=0)
    await bot.runtime.start(loops=False)
    loaded = await _journal_of(bot, 50)
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    _replay(bot, loaded)
    sys.setprofile(before)
    await bot.runtime.stop()

    assert calls / 50 <= 50


async def test_a_replayed_record_costs_less_than_120_steps_of_a_loop(tmp_path: Path) -> None:
    """6 us where a step of a loop that makes a text takes 0.1; both are timed in turn."""
    bot = counting(tmp_path, cache=0)
    await bot.runtime.start(loops=False)
    loaded = await _journal_of(bot, 50)
    ratios = []
    for _ in range(20):
        started = time.process_time()
        kept: dict[int, str] = {}
        for number in range(10_000):
            kept[number & 255] = str(number)
        step = (time.process_time() - started) / 10_000
        started = time.process_time()
        for _ in range(5):
            _replay(bot, loaded)
        ratios.append((time.process_time() - started) / 250 / step)
    await bot.runtime.stop()

    assert min(ratios) <= 120
