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
import sqlite3
import tempfile
import time
import tracemalloc
from contextlib import closing
from pathlib import Path

from bench._kit import Bot, machine, median, run, table
from legato import App, Chat

BUDGETS = (10.0, 1000.0, 3072.0, 1024.0)


async def count(chat: Chat) -> None:
    """Asks for numbers for ever."""
    total = 0
    while True:
        total += await chat.ask("The next number?", int)


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


async def cold_turn(folder: Path, records: int, turns: int = 320) -> float:
    """CPU us of one Turn without a cache, in conversations of so many records, 16 at once."""
    bot = counting(folder, cache=0)
    await bot.runtime.start()
    await answered(bot, range(1, turns + 1), records)
    left = iter(range(1, turns + 1))

    async def people() -> None:
        for chat in left:
            await bot.says(chat, b"7")

    spent = time.process_time()
    await asyncio.gather(*(people() for _ in range(16)))
    spent = time.process_time() - spent
    await bot.runtime.stop()
    return spent / turns * 1e6


async def live_bytes(folder: Path, dialogs: int = 1000) -> float:
    """Bytes that the adder takes in memory while it waits for its first answer."""
    bot = Bot(folder, cache=100_000)
    await bot.runtime.start()
    await answered(bot, range(1_000_000, 1_000_500), 0)  # what is made once is there now
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    await answered(bot, range(2_000_000, 2_000_000 + dialogs), 0)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    await bot.runtime.stop()
    return (after - before) / dialogs


async def disk_bytes(folder: Path, records: int = 10, dialogs: int = 1000) -> float:
    """Bytes that a parked conversation takes in the file, its share of half-empty pages included."""
    bot = counting(folder, cache=0)
    await bot.runtime.start()
    await answered(bot, range(1_000_000, 1_000_000 + dialogs), records)
    await bot.runtime.stop()
    with closing(sqlite3.connect(bot.path)) as file:
        pages = (
            "SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%conversation%' OR name = 'journal'"
        )
        (used,) = file.execute(pages).fetchone()
    return float(used) / dialogs


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folders = (Path(name, str(number)) for number in range(100))

        def fresh() -> Path:
            folder = next(folders)
            folder.mkdir()
            return folder

        bare, full = [], []
        for _ in range(5):
            bare.append(await cold_turn(fresh(), 0))
            full.append(await cold_turn(fresh(), 50))
        measured = (
            (median(full) - median(bare)) / 50,
            median(full),
            await live_bytes(fresh()),
            await disk_bytes(fresh()),
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
