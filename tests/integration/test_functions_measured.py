"""What functions take, measured from outside: memory of the machine, and whether the meter says the same."""

import asyncio
import os
import time
from pathlib import Path

import psutil
import pytest

from legato.functions.limits import Limits
from tests.integration.functions_kit import (
    BOTH,
    Functions,
    call,
    called,
    hosted,
    may_limit,
    serving,
    until,
    write,
)
from tests.integration.run_kit import EXAMPLES, SECRET

SOAK = bool(os.environ.get("LEGATO_SOAK"))
INSTALLED, TALKING, MORE = (200, 5, 40) if SOAK else (60, 3, 12)
"""Bots; with LEGATO_SOAK as many as are promised."""
SLEEPS = """
import time
def handler(event, context):
    began = time.monotonic()
    time.sleep(event)
    return time.monotonic() - began
"""
KEEPS = """
import os
kept = []
def handler(event, context):
    if event:
        kept.append(b"x" * event)
    return os.getpid()
"""
MB = 1024 * 1024


# -- memory of the machine -------------------------------------------------------------------------


def family(leader: int) -> list[int]:
    """A process and all that come from it."""
    return [leader, *(one.pid for one in psutil.Process(leader).children(recursive=True))]


def pss_mb(leader: int) -> float:
    """Of all of them: each page counts by its share, so that one that many have is counted once."""
    found = 0
    for pid in family(leader):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        found += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return found / 1024


def install(folder: Path, count: int) -> None:
    adder = (EXAMPLES / "adder.py").read_text()
    env = {"TELEGRAM_TOKEN": "42:of-nobody", "TELEGRAM_SECRET": SECRET}
    for number in range(count):
        write(folder, f"bot{number}", adder, env=env | {"TELEGRAM_API": "http://127.0.0.1:1"})


async def talk(functions: Functions, numbers: range) -> None:
    """Ann begins to talk to each of these bots, and thinks about her answer."""
    proof = {"x-telegram-bot-api-secret-token": SECRET}
    for number in numbers:
        update = {
            "update_id": 1,
            "message": {
                "message_id": 1,
                "date": 1,
                "from": {"id": 7, "is_bot": False, "first_name": "Ann"},
                "chat": {"id": 7, "type": "private"},
                "text": "/start",
            },
        }
        path = f"/bot{number}/telegram"
        status, answer = await functions.json("POST", path, update, **proof)
        assert (status, answer["text"]) == (200, "First number?")
    await all_frozen(functions, numbers)


async def all_frozen(functions: Functions, numbers: range) -> None:
    async with asyncio.timeout(30):
        while True:
            states = (await functions.json("GET", "/-/status"))[1]["functions"]
            if all(states[f"bot{number}"]["frozen"] == 1 for number in numbers):
                return
            await asyncio.sleep(0.01)


async def test_memory_is_that_of_the_bots_that_talk_however_many_are_installed(
    tmp_path: Path,
) -> None:
    install(tmp_path / "few", TALKING)
    install(tmp_path / "many", INSTALLED)
    async with serving(tmp_path / "few") as few, serving(tmp_path / "many") as many:
        for functions in (few, many):
            await talk(functions, range(TALKING))
        small, large = few.process.pid, many.process.pid
        assert len(family(large)) == len(family(small)) == 2 + TALKING  # it, its zygote, the bots
        small_mb, large_mb = pss_mb(small), pss_mb(large)
        assert large_mb < 1.05 * small_mb

        await talk(many, range(TALKING, TALKING + MORE))  # the measure can see bots
        assert pss_mb(large) > 1.5 * small_mb


# -- the meter -------------------------------------------------------------------------------------


async def test_the_meters_time_is_that_of_a_clock_outside_within_five_percent(
    tmp_path: Path,
) -> None:
    write(tmp_path, "bot", SLEEPS, memory_mb=256)
    async with hosted(tmp_path) as host:
        await call(host, "bot", 0)
        used = host.meter.sums["bot"]
        await until(lambda: used.invocations == 1)
        gap = 1.0
        for _ in range(5):  # on a machine with much to do, we may notice the end late
            before_ms, calls = used.billed_ms, used.invocations
            inside_s = outside_s = 0.0
            for pause_s in (0.05, 0.1, 0.15, 0.2):
                began, calls = time.monotonic(), calls + 1
                inside_s += await call(host, "bot", pause_s)
                while used.invocations < calls:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                outside_s += time.monotonic() - began
            billed_s = (used.billed_ms - before_ms) / 1000
            assert inside_s <= billed_s <= outside_s + 0.004  # each is rounded up
            gap = outside_s / billed_s - 1
            if abs(gap) <= 0.05:
                break
        assert abs(gap) <= 0.05
        assert used.gb_s == pytest.approx(used.billed_ms / 1000 * 0.25)


@pytest.mark.parametrize("limits", BOTH, ids=["best", "rlimits"])
async def test_the_meters_memory_is_what_proc_says_within_five_percent(
    tmp_path: Path, limits: Limits | None
) -> None:
    write(tmp_path, "bot", KEEPS, memory_mb=256)
    async with hosted(tmp_path, limits=limits) as host:
        used = host.meter.sums["bot"]
        readings = []
        for number, size in enumerate((0, 48 * MB), 1):
            pid = await call(host, "bot", size)
            await until(lambda: host.pools["bot"].states()["frozen"] == 1)
            assert used.invocations == number
            readings.append((psutil.Process(pid).memory_info().rss / MB, used.peak_mb))

        (rss, peak), (rss_after, peak_after) = readings
        assert rss_after - rss == pytest.approx(48, rel=0.05)
        assert peak_after - peak == pytest.approx(rss_after - rss, rel=0.05)


@pytest.mark.skipif(not may_limit(), reason="no control groups here")
async def test_a_loop_has_the_share_of_a_processor_that_it_is_given(tmp_path: Path) -> None:
    code = "import os\ndef handler(e, c):\n    while e:\n        pass\n    return os.getpid()"
    write(tmp_path, "bot", code, cpus=0.2, timeout_s=1)
    async with hosted(tmp_path) as host:
        process = psutil.Process(await call(host, "bot"))
        times = process.cpu_times()
        at_first = times.user + times.system

        work = asyncio.create_task(called(host, "bot", 1))
        began, used_s, took_s = time.monotonic(), 0.0, 0.0
        while not work.done():
            with process.oneshot():
                try:
                    times = process.cpu_times()
                except psutil.NoSuchProcess:
                    break
            used_s, took_s = times.user + times.system - at_first, time.monotonic() - began
            await asyncio.sleep(0.02)

        assert (await work).kind == "timeout"
        assert 0 < used_s <= 0.2 * took_s + 0.1
