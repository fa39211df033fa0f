"""A cold function: CPU from the start of a process to its first answered update.

    python -m bench.coldstart [--runs 20]

Each run is a new process that imports Legato, builds the adder, takes "/start" from its input through
`app.aws_lambda()`, commits to an (already made) SQLite store and ends. All cases take turns. `real send`
sends the answer by HTTP; else it rides in the response. limit-raw is the peers' bare bot, which keeps
nothing; without the peers' benchmark it is left out, and so is the real send.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from bench._kit import ROOT, TOKEN, WORK, machine, median, peers_folder, table, update
from bench.load import register
from legato.stores.sqlite import SQLiteStore

PASS = "python -c pass"
BARE = "python -c 'import asyncio, json, sqlite3'"
BOT = str(ROOT / "bench" / "bots" / "legato_bot.py")
EVENT = update(7, 7, b"/start")
DATA = WORK / "cold"


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """(wall, CPU) milliseconds of one process."""
    for file in DATA.glob("*.db*"):
        file.unlink()
    shutil.copy(WORK / "empty.db", DATA / "once.db")
    event, into = os.pipe()
    os.write(into, EVENT)
    os.close(into)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=event, stdout=subprocess.DEVNULL, env=environment)
    os.close(event)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3


def cases(folder: Path | None) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name -> command and environment."""
    python = sys.executable
    plain = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    legato = plain | {"TOKEN": TOKEN, "DATA": str(DATA), "API": "http://127.0.0.1:1"}
    found = {
        PASS: ([python, "-c", "pass"], plain),
        BARE: ([python, "-c", "import asyncio, json, sqlite3"], plain),
        "legato": ([python, BOT, "once"], legato | {"REPLY": "webhook"}),
    }
    if folder is not None:
        peers = import_module("peers")
        api = {"API": f"http://127.0.0.1:{peers.API_PORT}"}
        found["legato, real send"] = ([python, BOT, "once"], legato | api)
        found["limit-raw"] = (peers.command("limit-raw", "once"), peers.environment("limit-raw"))
    return found


def telegram(folder: Path | None) -> AbstractContextManager[Any]:
    """The peers' fake Telegram, running."""
    if folder is None:
        return nullcontext()
    peers, services = import_module("peers"), import_module("services")
    command = [sys.executable, str(folder / "fake_telegram.py"), "--port", str(peers.API_PORT)]
    server: AbstractContextManager[Any] = services.server(command, peers.API_PORT)
    return server


async def prepare() -> None:
    """Makes the store that every run starts on."""
    DATA.mkdir(parents=True, exist_ok=True)
    (WORK / "empty.db").unlink(missing_ok=True)
    store = SQLiteStore(WORK / "empty.db")
    await store.open()
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of a cold function")
    parser.add_argument("--runs", type=int, default=20)
    args = parser.parse_known_args()[0]
    folder = peers_folder()
    if folder is not None:
        register(folder)
    asyncio.run(prepare())
    todo = cases(folder)
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in todo}
    with telegram(folder):
        for case in todo.values():
            measure(*case)  # byte code and disk cache are warm from here on
        for _ in range(args.runs):
            for name, case in todo.items():
                runs[name].append(measure(*case))
    cpu = {name: median(c for _, c in found) for name, found in runs.items()}
    print(f"{machine()}; medians of {args.runs} runs")
    table(
        ("process", "wall ms", "CPU ms", "x bare imports"),
        [
            (
                name,
                f"{median(w for w, _ in found):.0f}",
                f"{cpu[name]:.0f}",
                f"{cpu[name] / cpu[BARE]:.2f}",
            )
            for name, found in runs.items()
        ],
    )


if __name__ == "__main__":
    main()
