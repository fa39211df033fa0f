"""Dialogs at rest: memory and disk that each takes, and waking them all.

    python -m bench.parked [--dialogs 100000]

So many people say "/start" and get their question; then all of them answer it, in one go. The bot runs as
`legato run` runs it (2,000 conversations in memory, SQLite with synchronous=FULL) but without sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from pathlib import Path

from bench._kit import Bot, machine, rss, run, table

AT_ONCE = 64
FIRST = 5000
"""So many dialogs come before the measurement: more than are kept in memory."""


async def all_say(bot: Bot, chats: range, text: bytes, answer: bytes) -> float:
    """Lets everybody say it, and checks that all are answered; returns CPU us for each."""
    bot.http.expected, bot.http.right = answer, 0
    left = iter(chats)

    async def people() -> None:
        for chat in left:
            await bot.says(chat, text)

    spent = time.process_time()
    await asyncio.gather(*(people() for _ in range(AT_ONCE)))
    await bot.runtime.relay.flush(600)
    spent = time.process_time() - spent
    assert bot.http.right == len(chats), f"{bot.http.right} right answers for {len(chats)} people"
    return spent / len(chats) * 1e6


async def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and disk of dialogs at rest")
    parser.add_argument("--dialogs", type=int, default=100_000)
    dialogs: int = parser.parse_known_args()[0].dialogs
    chats = range(1_000_000, 1_000_000 + dialogs)
    with tempfile.TemporaryDirectory() as folder:
        bot = Bot(Path(folder))
        await bot.runtime.start()
        await all_say(bot, range(1, 1 + FIRST), b"/start", b"First number?")
        gc.collect()
        memory, disk = rss(), bot.disk
        started = await all_say(bot, chats, b"/start", b"First number?")
        gc.collect()
        after, disk = rss(), bot.disk - disk
        resumed = await all_say(bot, chats, b"2", b"Second number?")
        await bot.runtime.stop()
    print(machine())
    table(
        (
            "dialogs",
            "RSS before, after MB",
            "bytes of memory each",
            "bytes on disk each",
            "us CPU to start one",
            "us CPU to resume one",
        ),
        [
            (
                f"{dialogs}",
                f"{memory / 2**20:.1f}, {after / 2**20:.1f}",
                f"{max(0, after - memory) / dialogs:.0f}",
                f"{disk / dialogs:.0f}",
                f"{started:.0f}",
                f"{resumed:.0f}",
            )
        ],
    )


if __name__ == "__main__":
    run(main())
