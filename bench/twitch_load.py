"""100 channels of Twitch and 5,000 viewers in dialogs at once, on one core.

    python -m bench.twitch_load [--viewers 5000] [--rounds 2]

The bot runs as `legato run` runs it (2,000 conversations in memory, SQLite with synchronous=FULL), but
Twitch's chat is in memory and time passes only where the bot waits for Twitch's limit. A turn is an
update from its arrival until it is committed, 64 of them at once; what is shown is real time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.integration.crowd_in_memory import AT_ONCE, CHANNELS, Crowd


def rss_mb() -> float:
    """Megabytes of memory that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def one_round(crowd: Crowd) -> tuple[float, float]:
    """Everybody adds two numbers; returns (CPU seconds, memory while all dialogs wait)."""
    cpu = time.process_time()
    crowd.start()
    patient = crowd.patient = []
    await crowd.play(lambda: len(patient) == len(crowd.viewers))
    gc.collect()
    memory = rss_mb()
    crowd.patient = None
    for viewer in patient:
        crowd.say(viewer, str(viewer.number + 1))
    await crowd.play(crowd.all_done)
    crowd.clock.advance(30)
    return time.process_time() - cpu, memory


async def main() -> None:
    parser = argparse.ArgumentParser(description="5,000 viewers of Twitch in dialogs at once")
    parser.add_argument("--viewers", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=2)
    options, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        crowd = Crowd(Path(folder, "crowd.db"), options.viewers, cache=2000)
        async with crowd.bot():
            await one_round(crowd)  # warms up
            print(f"{CHANNELS} channels, {options.viewers} viewers, {AT_ONCE} updates at once")
            for _ in range(options.rounds):
                crowd.turns_s = []
                spent, memory = await one_round(crowd)
                parts = statistics.quantiles(crowd.turns_s, n=100)
                print(
                    f"turn p50 {parts[49] * 1e3:.1f} ms, p99 {parts[98] * 1e3:.1f} ms; "
                    f"{spent / len(crowd.turns_s) * 1e6:.0f} us CPU a turn with its answer; "
                    f"{memory:.1f} MB with all dialogs open"
                )
    mistakes = (crowd.api.too_fast, crowd.wrong, crowd.repeats)
    assert mistakes == (0, [], 0), mistakes


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
