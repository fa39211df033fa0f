"""Legato beside the bots that a user would pick instead: CPU per update under one load.

    python bench/load.py [--rounds 3] [--seconds 6] [--bots legato,limit-uvicorn,grammy]
    python bench/load.py --one legato --seconds 8       # one bot, one run, JSON out

The load generator, the fake Telegram and the other bots are the peers' benchmark's own (bench/README.md
says where it lies). Its code is imported as it is; only its list of bots gets one more, and its
working folder is ours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from bench._kit import ROOT, WORK, machine, median, peers_folder, run, table

BOTS = ("limit-uvicorn", "legato", "legato-reply", "grammy")
NPM = ("grammy@1.46.0", "@grammyjs/conversations@2.1.1")
SHOWN = (
    ("dialogs per bot CPU s", "dialogs_per_cpu_s", "{:.0f}"),
    ("p50 ms", "p50_ms", "{:.1f}"),
    ("p99 ms", "p99_ms", "{:.1f}"),
    ("others' cores", "foreign_core", "{:.2f}"),
    ("RSS MB", "rss_mb", "{:.0f}"),
    ("errors", "errors", "{:.0f}"),
    ("wrong", "wrong", "{:.0f}"),
)


def register(folder: Path) -> None:
    """Adds our bot to the peers' list, and keeps what they write out of their folder."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    peers: Any = import_module("peers")
    peers.WORK, peers.DATA, peers.PYTHON = str(WORK), str(WORK / "data"), sys.executable
    script = str(ROOT / "bench" / "bots" / "legato_bot.py")
    peers.PEERS["legato"] = ("Legato, SQLite with synchronous=FULL", script, {})
    peers.PEERS["legato-reply"] = ("the same, answering in the response", script, REPLY)


REPLY = {"REPLY": "webhook"}


def one(bot: str, rest: list[str]) -> None:
    """One run of the peers' load against one bot; prints its JSON."""
    (WORK / "data").mkdir(parents=True, exist_ok=True)
    load = import_module("load")
    sys.argv = ["load.py", bot, *rest]
    run(load.main())


def grammy() -> bool:
    """Whether grammY is installed, after an attempt to."""
    folder = WORK / "node"
    if not (folder / "node_modules" / "grammy").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", *NPM]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"grammY is left out, since npm cannot install it: {error}")
            return False
    return True


def play(bot: str, seconds: float) -> dict[str, Any] | None:
    """One run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", "--one", bot, "--seconds", str(seconds)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{bot} failed: see build/bench/{bot}.log")
        return None
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def show(runs: dict[str, list[dict[str, Any]]]) -> None:
    """The table of medians."""
    cost = {bot: median(r["cpu_us_per_update"] for r in rows) for bot, rows in runs.items() if rows}
    against = [bot for bot in ("limit-uvicorn", "grammy") if bot in cost]
    head = ["bot", "us CPU per update", "all runs", *(f"x {bot}" for bot in against)]
    rows = []
    for bot, us in cost.items():
        all_runs = sorted(r["cpu_us_per_update"] for r in runs[bot])
        cells = [bot, f"{us:.0f}", f"{all_runs[0]:.0f}-{all_runs[-1]:.0f}"]
        cells += [f"{us / cost[other]:.2f}" for other in against]
        cells += [form.format(median(r[key] for r in runs[bot])) for _, key, form in SHOWN]
        rows.append(cells)
    table([*head, *(title for title, _, _ in SHOWN)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Legato beside other bots under one load")
    parser.add_argument(
        "--one", help="one run of this bot; further arguments go to the peers' load"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--bots", default=",".join(BOTS))
    args, rest = parser.parse_known_args()
    folder = peers_folder()
    if folder is None:
        return
    register(folder)
    if args.one:
        one(args.one, ["--seconds", str(args.seconds), *rest])
        return
    bots = [bot for bot in args.bots.split(",") if bot != "grammy" or grammy()]
    runs: dict[str, list[dict[str, Any]]] = {bot: [] for bot in bots}
    for _ in range(args.rounds):
        for bot in bots:
            result = play(bot, args.seconds)
            if result is not None:
                runs[bot].append(result)
    print(f"{machine()}; medians of {args.rounds} runs of {args.seconds:g} s, 64 users at once")
    show(runs)


if __name__ == "__main__":
    main()
