"""The engine's budgets: what replaying, a cold Turn and a conversation at rest cost.

python -m bench.engine

us a replayed record      CPU of rebuilding a conversation, by the records in its journal
a cold Turn               load, replay of 50 records, one more answer, commit: nothing in memory
bytes of a live dialog    what one more conversation in the cache takes (tracemalloc)
bytes on disk             what one parked conversation with 10 records adds to the database
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from bench._kit import Bot, machine, median, run, table
from legato import App, Chat

BUDGETS = (10.0, 1000.0, 3072.0, 1024.0)


async def count(chat: Chat) -> None:
    """Asks for numbers for ever."""
    total = 0
    while True:
        total += await chat.ask(f"{total}. The next number?", int, timeout=3600)


def counting(folder: Path, *, cache: int) -> Bot:
    """A bot with that dialog."""
    app = App("bench")
    app.command("start")(count)
    return Bot(folder, app=app, cache=cache)


async def answered(bot: Bot, chats: range, records: int) -> None:
    """Brings a conversation in each chat to so many records, and delivers all that is said."""
    for text in (b"/start", *(b"%d" % n for n in range(records))):
        await asyncio.gather(*(bot.says(chat, text) for chat in chats))
        await bot.runtime.relay.flush(60)


async def cold_turn(folder: Path, records: int, turns: int = 100) -> float:
    """CPU us of one Turn without a cache, in conversations of so many records."""
    bot = counting(folder, cache=0)
    await bot.runtime.start()
    chats = range(1, turns + 1)
    await answered(bot, chats, records)
    spent = time.process_time()
    for chat in chats:
        await bot.says(chat, b"7")
    spent = time.process_time() - spent
    await bot.runtime.stop()
    return spent / turns * 1e6


async def live_bytes(folder: Path, dialogs: int = 500) -> float:
    """Bytes that a live conversation takes, waiting for its first answer."""
    bot = counting(folder, cache=100_000)
    await bot.runtime.start()
    await answered(bot, range(1, 51), 0)  # what is made once is there now
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    await answered(bot, range(1001, 1001 + dialogs), 0)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    await bot.runtime.stop()
    return (after - before) / dialogs


async def disk_bytes(folder: Path, records: int = 10, dialogs: int = 1000) -> float:
    """Bytes that a parked conversation adds to the database, once update ids are forgotten."""
    bot = counting(folder, cache=0)
    await bot.runtime.start()
    await answered(bot, range(1, dialogs + 1), records)
    used = await _pages(bot)
    await answered(bot, range(10_001, 10_001 + dialogs), records)
    used = await _pages(bot) - used
    await bot.runtime.stop()
    return used / dialogs


async def _pages(bot: Bot) -> int:
    """Bytes of the conversations and their journals in the database."""
    import sqlite3

    with tempfile.TemporaryDirectory() as folder:
        copy = sqlite3.connect(Path(folder, "copy.db"), isolation_level=None)
        source = sqlite3.connect(bot.path)
        source.backup(copy)
        source.close()
        for gone in ("inbox", "outbox", "kept"):
            copy.execute(f"DELETE FROM {gone}")
        copy.execute("VACUUM")
        (pages,) = copy.execute("PRAGMA page_count").fetchone()
        (size,) = copy.execute("PRAGMA page_size").fetchone()
        copy.close()
    return int(pages) * int(size)


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare: list[Any] = []
        full: list[Any] = []
        for number in range(5):
            for records, found in ((0, bare), (50, full)):
                place = folder / f"{number}-{records}"
                place.mkdir()
                found.append(await cold_turn(place, records))
        for what in ("live", "disk"):
            (folder / what).mkdir()
        measured = (
            (median(full) - median(bare)) / 50,
            median(full),
            await live_bytes(folder / "live"),
            await disk_bytes(folder / "disk"),
        )
    print(machine())
    names = (
        "us CPU a replayed record",
        "us CPU of a cold Turn at 50 records",
        "bytes of a live dialog",
        "bytes on disk of a parked dialog with 10 records",
    )
    rows = [
        (name, f"{value:.1f}" if value < 100 else f"{value:.0f}", f"{budget:.0f}")
        for name, value, budget in zip(names, measured, BUDGETS, strict=True)
    ]
    table(("", "measured", "budget"), rows)


if __name__ == "__main__":
    run(main())
