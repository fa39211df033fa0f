"""A million parked conversations in Postgres: disk, memory of workers, resuming any of them, and timers.

    python -m bench.parked_postgres [--count 1000000] [--timers 100000] [--within 60] [--workers 2]

The rows are those that the Runtime writes: it parks one conversation, and its rows are copied with another
chat, bot and time (tests/integration/parked_kit.py). Postgres and RabbitMQ are private and share this machine
with all else. No network: the platform is Telegram's adapter with a client that takes each message at once.

Timers are those of `--timers` more conversations, due evenly over `--within` seconds, shared by `--workers`
processes. "Fired" is when the Turn is committed. Then the Relay paces: 64 bots, of which each may send 30
messages a second, as Telegram allows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg

from bench._kit import machine, rss, run, table
from bench._parked_bot import (
    BOTS,
    FIRST,
    IDLE_MS,
    LONG,
    LONG_FIRST,
    PER_BOT_S,
    TIMERS_FIRST,
    Worker,
    bot_of,
    working,
)
from legato.app.share import Part
from legato.deploy.clock import SystemClock
from legato.model.shards import slots_of
from legato.testing.clock import START_MS, FakeClock
from tests.integration.parked_kit import Copy, Seed, Watched, multiply, seed
from tests.servers import Postgres, Rabbit

BOT = Path(__file__).with_name("bots") / "legato_bot.py"


# -- filling ------------------------------------------------------------------------------------------


async def seeded(url: str, chat: int, words: list[bytes]) -> Seed:
    """Parks one conversation in a schema of its own."""
    url = f"{url}?schema=seed{chat}"
    async with working(Worker(url, clock=FakeClock()), loops=False) as worker:
        for step, text in enumerate(words):
            await worker.says(chat, step, text)
            await worker.runtime.relay.flush(10)
    return await seed(url, Copy(chat, START_MS, START_MS + IDLE_MS, "7001"))


def copies(first: int, count: int, from_ms: int, to_ms: int) -> Iterator[Copy]:
    """So many, whose deadlines are spread over a time."""
    for number in range(count):
        wake_ms = from_ms + number * (to_ms - from_ms) // count
        chat = first + 1 + number
        yield Copy(chat, wake_ms - IDLE_MS, wake_ms, str(7001 + bot_of(chat)))


async def sizes(url: str) -> dict[str, int]:
    """Bytes of each table with its indexes."""
    connection = await asyncpg.connect(url)
    try:
        names = ("conversation", "journal", "inbox")
        asked = "SELECT pg_total_relation_size($1::regclass)"
        return {name: await connection.fetchval(asked, f"legato.{name}") for name in names}
    finally:
        await connection.close()


async def fill(url: str, one: Seed, long: Seed, args: argparse.Namespace) -> list[tuple[str, str]]:
    """Fills the store; what that took."""
    async with working(Worker(url), loops=False):
        began = time.perf_counter()
    now_ms = time.time_ns() // 1_000_000
    hour_ms, week_ms = 3_600_000, IDLE_MS - 60_000
    await multiply(url, one, copies(FIRST, args.count, now_ms + 2 * hour_ms, now_ms + week_ms))
    took_s = time.perf_counter() - began
    used = await sizes(url)
    await multiply(url, long, copies(LONG_FIRST, args.long, now_ms + 2 * hour_ms, now_ms + week_ms))
    each = ", ".join(f"{name} {size / args.count:.0f}" for name, size in used.items())
    return [
        ("parked conversations", f"{args.count}, and {args.long} with {LONG} answers each"),
        ("seconds to fill", f"{took_s:.0f}"),
        ("bytes on disk each", f"{sum(used.values()) / args.count:.0f} ({each})"),
    ]


# -- memory of a real worker --------------------------------------------------------------------------


def memory_of(pid: int) -> tuple[float, float]:
    """Megabytes that a process holds now, and held at most."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    now, most = (re.search(rf"{name}:\s+(\d+)", status) for name in ("VmRSS", "VmHWM"))
    assert now is not None
    assert most is not None
    return int(now[1]) / 1024, int(most[1]) / 1024


def at_rest(store: str, rabbit: Rabbit, name: str, seconds: float = 12) -> str:
    """What `legato worker` holds when it has been there for a while; it gets all shards."""
    environment = os.environ | {
        "LEGATO_STORE": store,
        "LEGATO_QUEUE": rabbit.vhost(name),
        "TELEGRAM_TOKEN": "7001:TEST",
        "TELEGRAM_API": "http://127.0.0.1:9",
        "TELEGRAM_SECRET": "bench",
    }
    command = [sys.executable, "-m", "legato.cli.main", "worker", str(BOT)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stderr is not None
        for line in worker.stderr:
            if "works for" in line:
                break
        else:
            raise AssertionError("the worker did not start")
        time.sleep(seconds)
        now, most = memory_of(worker.pid)
        worker.terminate()
        worker.stderr.read()
    return f"{now:.1f} MB, at most {most:.1f}"


# -- resuming -----------------------------------------------------------------------------------------


def percentiles(values: list[float]) -> str:
    """p50, p99 and the largest, in milliseconds."""
    ordered = sorted(values)
    p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return f"{p50:.1f} / {p99:.1f} / {ordered[-1]:.1f} ms"


async def resumed(url: str, chats: list[int], step: int) -> str:
    """Times of load, replay and commit, one after another."""
    found = []
    async with working(Worker(url), loops=False) as worker:
        for chat in chats:
            began = time.perf_counter()
            await worker.says(chat, step, b"2")
            found.append((time.perf_counter() - began) * 1000)
        await worker.runtime.relay.flush(60)
        assert worker.http.sent == len(chats), "somebody was not answered"
    return percentiles(found)


async def read(url: str, chats: list[int]) -> str:
    """Pages that the load of one reads."""
    watched, found = Watched(), []
    async with working(Worker(url, _connect=watched.connect), loops=False) as worker:
        await watched.look()
        for chat in chats:
            assert await worker.store.load(f"telegram:{7001 + bot_of(chat)}:{chat}:{chat}:")
            reading = await watched.look()
            assert not reading.scanned
            found.append(reading.buffers)
    return f"{sum(found) / len(found):.1f} on average, at most {max(found)}"


async def resume(url: str, args: argparse.Namespace) -> list[tuple[str, str]]:
    """Random ones of each kind."""
    chance = random.Random(1)
    short = chance.sample(range(FIRST + 1, FIRST + 1 + args.count), min(2200, args.count))
    long = chance.sample(range(LONG_FIRST + 1, LONG_FIRST + 1 + args.long), min(1100, args.long))
    what = "resume (load, replay, commit), p50 / p99 / max"
    return [
        ("pages read by a load", await read(url, short[:200])),
        (f"the same with {LONG} answers", await read(url, long[:100])),
        (what, await resumed(url, short[200:], 1)),
        (f"the same with {LONG} answers", await resumed(url, long[100:], LONG + 1)),
    ]


# -- timers -------------------------------------------------------------------------------------------


async def one_of(url: str, number: int, workers: int, until: float) -> None:
    """Fires its share of the timers until that time; prints what it saw as JSON."""
    clock = SystemClock()
    share = Part(clock)
    share.gain(slots_of(number, workers))
    share.last(3600, clock.monotonic(), clock.now_ms())
    held = []
    async with working(Worker(url, share=share, workers=workers), loops=True) as worker:
        due = worker.store.due
        while (
            time.time() < until
            or worker.runtime.relay.left
            or await due(clock.now_ms(), 1, slots=share.slots)
        ):
            held.append(rss() / 2**20)
            await asyncio.sleep(1)
        spent = time.process_time()
    json.dump(
        {
            "fired": worker.store.notes.all(),
            "heard": worker.http.notes.all(),
            "rss": held,
            "cpu": spent,
        },
        sys.stdout,
    )


def lateness(found: dict[str, float], due_ms: Callable[[int], int]) -> list[float]:
    """How late each was, in milliseconds."""
    return [at_ms - due_ms(int(chat)) for chat, at_ms in found.items()]


async def timers(url: str, one: Seed, args: argparse.Namespace) -> list[tuple[str, str]]:
    """Adds the conversations whose timers are due soon, and has them fired."""
    fill_s = 15 + args.timers / 4000
    from_ms = int((time.time() + fill_s) * 1000)
    count, span_ms = int(args.timers), int(args.within) * 1000
    await multiply(url, one, copies(TIMERS_FIRST, args.timers, from_ms, from_ms + span_ms))
    spare_s = from_ms / 1000 - time.time()
    assert spare_s > 4, "filling took too long"
    until = str(from_ms / 1000 + args.within + 3)
    command = [sys.executable, "-m", "bench.parked_postgres", "--url", url, "--until", until]
    command += ["--workers", str(args.workers), "--one"]
    children = [
        await asyncio.create_subprocess_exec(*command, str(number), stdout=subprocess.PIPE)
        for number in range(args.workers)
    ]
    told = [json.loads((await child.communicate())[0]) for child in children]
    fired: dict[str, float] = {}
    heard: dict[str, float] = {}
    for child in told:
        assert not fired.keys() & child["fired"].keys(), "a timer fired twice"
        fired |= child["fired"]
        heard |= child["heard"]
    assert len(fired) == len(heard) == args.timers, f"{len(fired)} of {args.timers} timers fired"

    def due_ms(chat: int) -> int:
        return from_ms + (chat - TIMERS_FIRST - 1) * span_ms // count

    late = lateness(fired, due_ms)
    assert min(late) >= 0, "a timer fired early"
    flat = "; ".join(f"{c['rss'][0]:.0f}, {max(c['rss']):.0f}, {c['rss'][-1]:.0f}" for c in told)
    return [
        ("timers, due evenly within", f"{args.timers} in {args.within} s"),
        ("all fired", f"{(max(fired.values()) - from_ms) / 1000:.1f} s after the first was due"),
        ("late when committed, p50 / p99 / max", percentiles(late)),
        (
            f"late when sent by {BOTS} bots at {PER_BOT_S}/s",
            percentiles(lateness(heard, due_ms)),
        ),
        ("CPU us of a worker each", f"{sum(c['cpu'] for c in told) / args.timers * 1e6:.0f}"),
        ("RSS MB of each worker: first, most, last", flat),
    ]


async def main(args: argparse.Namespace) -> None:
    if args.one is not None:
        await one_of(args.url, args.one, args.workers, args.until)
        return
    rows: list[tuple[str, str]] = []
    settings = {"shared_buffers": "512MB", "max_wal_size": "4GB", "wal_level": "minimal"}
    with Postgres(**settings, max_wal_senders=0) as server, Rabbit() as rabbit:
        one = await seeded(server.url, FIRST, [b"/start"])
        long = await seeded(server.url, LONG_FIRST, [b"/count", *[b"2"] * LONG])
        before = at_rest(server.create("empty"), rabbit, "empty")
        rows += await fill(server.url, one, long, args)
        rows.append(("RSS of `legato worker`, store empty", before))
        rows.append(("the same with all parked", at_rest(server.url, rabbit, "full")))
        rows += await resume(server.url, args)
        rows += await timers(server.url, one, args)
    print(f"{machine()}; load average {os.getloadavg()[0]:.1f}")
    table(("", "measured"), rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A million parked conversations in Postgres")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--long", type=int, default=10_000, help="more, with long journals")
    parser.add_argument("--timers", type=int, default=100_000)
    parser.add_argument("--within", type=int, default=60, help="seconds in which they are due")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    run(main(parser.parse_known_args()[0]))
