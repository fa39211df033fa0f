"""A gateway and workers beside what a user would pick instead with a database: CPU per update.

    python -m bench.cluster [--rounds 3] [--seconds 6] [--bots legato-cluster,aiogram-fsm-redis,...]

Postgres (Debian's defaults), Redis and RabbitMQ are private and run on core 1 with the load; gateway and
first worker on core 0, a second worker on core 1. A peer is played with the server that it needs. The load, the
fake Telegram and the peers are those of bench/load.py (bench/README.md says where they lie).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from bench._kit import ROOT, WORK, machine, median, peers_folder, run, table
from tests.servers import Rabbit

OURS = {
    "legato-cluster": ("a gateway and one worker: Postgres, RabbitMQ", {"WORKERS": "1"}),
    "legato-cluster-2": ("a gateway and two workers", {"WORKERS": "2"}),
}
BOTS = ("legato-cluster", "legato-cluster-2", "aiogram-fsm-redis", "dbos-postgres")
CPU_LOG = WORK / "cluster-cpu.jsonl"
PEERS_VENV = WORK / "peers-venv"
PARTS = {
    "gateway_us": "gateway us",
    "workers_us": "workers us",
    "broker_us": "broker us",
    "database_us": "database us",
}
SHOWN = (
    ("updates/s", "updates_s", "{:.0f}"),
    ("p50 ms", "p50_ms", "{:.1f}"),
    ("p99 ms", "p99_ms", "{:.1f}"),
    ("others' cores", "foreign_core", "{:.2f}"),
    ("errors", "errors", "{:.0f}"),
    ("wrong", "wrong", "{:.0f}"),
)


def register(folder: Path) -> Any:
    """Adds our cluster to the peers' list, and keeps what they write out of their folder."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    peers: Any = import_module("peers")
    peers.WORK, peers.DATA = str(WORK), str(WORK / "data")
    peers.PYTHON = str(PEERS_VENV / "bin" / "python")
    script = str(ROOT / "bench" / "bots" / "legato_cluster.py")
    for name, (what, extra) in OURS.items():
        peers.PEERS[name] = (what, script, extra)
    command = peers.command

    def own(name: str, mode: str = "serve") -> list[str]:
        if name in OURS:
            return [sys.executable, "-m", "bench.bots.legato_cluster"]
        found: list[str] = command(name, mode)
        return found

    peers.command = own
    return peers


def install(folder: Path) -> bool:
    """Whether the peers' packages are in an environment of their own, after an attempt to."""
    if not (PEERS_VENV / "bin" / "python").exists():
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "-q"]
        environment = os.environ | {"VIRTUAL_ENV": str(PEERS_VENV), "UV_SYSTEM_CERTS": "1"}
        steps = (
            [sys.executable, "-m", "venv", str(PEERS_VENV)],
            [*uv, "-r", str(folder / "requirements.txt")],
        )
        for step in steps:
            done = subprocess.run(step, env=environment, capture_output=True, check=False)
            if done.returncode:
                print(f"The peers are left out: {done.stderr.decode()[-300:]}")
                return False
    return True


# -- one run ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def servers(bot: str, peers: Any) -> Iterator[list[str]]:
    """The servers that a bot needs, on core 1; gives the load's arguments for them."""
    services: Any = import_module("services")
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {1})
    try:
        with contextlib.ExitStack() as stack:
            if "redis" in bot:
                pid = stack.enter_context(services.redis())
            else:
                pid = stack.enter_context(services.postgres())
            if bot in OURS:
                rabbit = stack.enter_context(Rabbit())
                os.environ["LEGATO_QUEUE"] = rabbit.url
                os.environ["BROKER_PID"] = (rabbit.folder / "pid").read_text().strip()
                os.environ["LEGATO_STORE"] = peers.POSTGRES
                os.environ["CPU_LOG"] = str(CPU_LOG)
            yield ["--database-pid", str(pid)]
    finally:
        os.sched_setaffinity(0, mine)


def one(bot: str, rest: list[str], peers: Any) -> None:
    """One run of the peers' load against one bot; prints its JSON."""
    (WORK / "data").mkdir(parents=True, exist_ok=True)
    load: Any = import_module("load")
    load.command = peers.command
    with servers(bot, peers) as arguments:
        sys.argv = ["load.py", bot, *arguments, *rest]
        run(load.main())


def play(bot: str, seconds: float) -> dict[str, Any] | None:
    """One run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.cluster", "--one", bot, "--seconds", str(seconds)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{bot} failed: see build/bench/{bot}.log")
        return None
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if bot in OURS:
        result |= shares(result["seconds"], result["cpu_us_per_update"])
    result["database_us"] = (result["database_core"] or 0) / max(1, result["updates_s"]) * 1e6
    return result


def shares(seconds: float, us: float) -> dict[str, float]:
    """How the CPU of an update is divided between gateway and workers, by the last `seconds`."""
    lines = [json.loads(line) for line in CPU_LOG.read_text().splitlines()]
    last = lines[-2]  # the last one may be of the end
    first = next(line for line in lines if line["at"] >= last["at"] - seconds)
    used = {name: last[name] - first[name] for name in last if name != "at"}
    broker = used.pop("broker", 0.0)
    total = sum(used.values()) or 1.0
    gateway = used["gateway"] / total * us
    return {"gateway_us": gateway, "workers_us": us - gateway, "broker_us": broker / total * us}


def show(runs: dict[str, list[dict[str, Any]]]) -> None:
    """The table of medians."""
    cost = {bot: median(r["cpu_us_per_update"] for r in rows) for bot, rows in runs.items() if rows}
    base = cost.get("legato-cluster", 0.0)
    head = ["bot", "us CPU per update", "all runs", "x legato-cluster", *PARTS.values()]
    rows = []
    for bot, us in cost.items():
        all_runs = sorted(r["cpu_us_per_update"] for r in runs[bot])
        cells = [bot, f"{us:.0f}", f"{all_runs[0]:.0f}-{all_runs[-1]:.0f}"]
        cells.append(f"{us / base:.2f}" if base else "-")
        for key in PARTS:
            known = all(key in r for r in runs[bot])
            cells += [f"{median(r[key] for r in runs[bot]):.0f}" if known else "-"]
        cells += [form.format(median(r[key] for r in runs[bot])) for _, key, form in SHOWN]
        rows.append(cells)
    table([*head, *(title for title, _, _ in SHOWN)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="A cluster beside other bots with a database")
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
    peers = register(folder)
    if args.one:
        one(args.one, ["--seconds", str(args.seconds), *rest], peers)
        return
    bots = args.bots.split(",")
    if not set(bots) <= set(OURS) and not install(folder):
        bots = [bot for bot in bots if bot in OURS]
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
