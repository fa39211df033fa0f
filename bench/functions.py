"""Cloud functions on one machine: density, latency beside others, limits, and the meter.

    python -m bench.functions [--runs 20] [--bots 200] [--install]

`--install` fetches what it is compared with into build/bench/rivals: serverless-offline (npm, by the free
fork osls) and AWS's Runtime Interface Emulator (out of the wheel of aws-sam-cli). What is not there is
left out. All cases run the same handler through the same client (one kept connection, Invoke), in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from zipfile import ZipFile

from bench._kit import ROOT, WORK, machine, median
from bench._kit import table as printed
from legato.functions.config import load_functions
from legato.functions.host import Host, Options
from legato.functions.runtime_api import BODY_LIMIT

RIVALS = WORK / "rivals"
RIE = RIVALS / "aws-lambda-rie-x86_64"
OFFLINE = RIVALS / "node_modules" / "serverless-offline"
DATA = WORK / "functions"
HELLO = "import time\ndef handler(event, context):\n    time.sleep(event['s'])\n    return event\n"
TROUBLE = """
import os, time
def handler(event, context):
    if event == "loop":
        while True: pass
    if event == "leak":
        kept = []
        while True: kept.append(bytearray(1_000_000))
    if event == "fork":
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.01)
"""
EVENT = b'{"s": 0}'
assert len(EVENT) < BODY_LIMIT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--bots", type=int, default=200)
    parser.add_argument("--install", action="store_true")
    options = parser.parse_args()
    if options.install:
        install()
    print(machine())
    asyncio.run(density(options.bots))
    latency(options.runs)
    asyncio.run(limits())
    asyncio.run(meter())


def install() -> None:
    """Fetches the rivals."""
    RIVALS.mkdir(parents=True, exist_ok=True)
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(RIVALS)]
    subprocess.run([*npm, "osls@4", "serverless-offline@14"], check=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(RIVALS)]
    subprocess.run([*pip, "aws-sam-cli==1.170.0"], check=True)
    (wheel,) = RIVALS.glob("aws_sam_cli-*.whl")
    with ZipFile(wheel) as file:
        RIE.write_bytes(file.read("samcli/local/rapid/aws-lambda-rie-x86_64"))
    RIE.chmod(0o755)


def table(head: list[str], rows: list[list[object]]) -> None:
    """Prints it."""
    printed(head, [[str(cell) for cell in row] for row in rows])


def fresh(name: str) -> Path:
    """An empty folder."""
    folder = DATA / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


# -- memory ----------------------------------------------------------------------------------------


def pss(pids: list[int]) -> float:
    """MB: each page counts by its share."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


async def density(bots: int) -> None:
    """`bots` installed, 5 of them talking; then all of them asleep beside each other."""
    rows: list[list[object]] = []
    adder = (ROOT / "examples" / "adder.py").read_text()
    update = {"requestContext": {"http": {"method": "POST"}}, "rawPath": "/telegram", "body": "{}"}
    kinds = {
        "minimal handler": (HELLO, {"s": 0}, {}),
        "adder, a bot of Legato": (adder, update, ENV),
    }
    for kind, (code, event, env) in kinds.items():
        for count in (5, bots):
            folder = fresh("bots")
            for number in range(count):
                write(folder / f"bot{number:03}", code, env)
            host = Host(load_functions(folder), Options(processes=bots))
            host.start()
            body = json.dumps(event).encode()
            for number in range(5):
                for _ in range(3):
                    await host.invoke(f"bot{number:03}", body)
            await asyncio.sleep(0.3)
            talking = [pid for pool in host.pools.values() for pid in pool.pids()]
            family = [os.getpid(), *host.zygotes.pids(), *talking]
            rows.append([kind, count, 5, len(talking), f"{pss(family):.1f}"])
            if count == bots:
                began = time.perf_counter()
                for number in range(5, count):
                    await host.invoke(f"bot{number:03}", body)
                took = (time.perf_counter() - began) * 1e3 / (count - 5)
                await asyncio.sleep(0.3)
                asleep = [pid for pool in host.pools.values() for pid in pool.pids()]
                rows.append([kind, count, count, len(asleep), f"{pss([*family[:2], *asleep]):.1f}"])
                print(f"{kind}: {pss(asleep) / len(asleep):.1f} MB PSS asleep, {took:.1f} ms cold")
            await host.close()
    table(["bots", "installed", "talked", "processes", "PSS of all, MB"], rows)


ENV = {"TELEGRAM_TOKEN": "42:TEST", "TELEGRAM_SECRET": "s", "TELEGRAM_API": "http://127.0.0.1:1"}


def write(folder: Path, code: str, env: dict[str, str] | None = None, **settings: object) -> None:
    folder.mkdir()
    (folder / "bot.py").write_text(code)
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    lines += ["[env]", *(f"{name} = {json.dumps(value)}" for name, value in (env or {}).items())]
    (folder / "function.toml").write_text("\n".join(lines))


# -- latency ---------------------------------------------------------------------------------------


@contextmanager
def started(command: list[str], folder: Path, port: int, **env: str) -> Iterator[HTTPConnection]:
    """A server in a process group of its own, once it listens."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        for _ in range(3000):
            try:
                connection.connect()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, command
                time.sleep(0.01)
        yield connection
    finally:
        connection.close()
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def timed(connection: HTTPConnection, path: str) -> float:
    """Milliseconds of one invocation."""
    began = time.perf_counter()
    connection.request("POST", path, EVENT)
    answer = connection.getresponse()
    body = answer.read()
    took = (time.perf_counter() - began) * 1e3
    assert (answer.status, json.loads(body)) == (200, {"s": 0}), (answer.status, body)
    return took


def latency(runs: int) -> None:
    """Cold starts and warm calls of all, in turn."""
    cold: dict[str, list[float]] = {}
    warm: dict[str, list[float]] = {}
    for turn in range(max(1, runs // 5)):
        ours(turn, cold, warm)
        if RIE.exists():
            emulator(cold, warm)
        if OFFLINE.exists():
            offline(cold, warm)
    rows: list[list[object]] = []
    for name, starts in cold.items():
        calls = sorted(warm[name])
        p99 = calls[int(len(calls) * 0.99)]
        all_of = f"{min(starts):.1f}-{max(starts):.1f}"
        rows.append([name, f"{median(starts):.1f}", all_of, f"{median(calls):.2f}", f"{p99:.1f}"])
    table(["Invoke by HTTP", "cold ms", "all", "warm ms", "p99"], rows)


def ours(turn: int, cold: dict[str, list[float]], warm: dict[str, list[float]]) -> None:
    folder = fresh("ours")
    for number in range(6):
        write(folder / f"bot{number}", HELLO)
    port = 19_000 + turn
    command = [sys.executable, "-m", "legato.cli.main", "functions", ".", "--port", str(port)]
    with started(command, folder, port) as connection:
        path = "/2015-03-31/functions/bot{}/invocations"
        timed(connection, path.format(0))  # it starts the zygote
        for number in range(1, 6):
            cold.setdefault("legato functions", []).append(timed(connection, path.format(number)))
        calls = warm.setdefault("legato functions", [])
        calls += [timed(connection, path.format(1)) for _ in range(100)]


def emulator(cold: dict[str, list[float]], warm: dict[str, list[float]]) -> None:
    folder = fresh("rie")
    (folder / "bot.py").write_text(HELLO)
    name, path = "AWS's emulator", "/2015-03-31/functions/function/invocations"
    for _ in range(5):
        listen = ["--runtime-interface-emulator-address", "127.0.0.1:19200"]
        command = [str(RIE), *listen, sys.executable, "-m", "awslambdaric", "bot.handler"]
        env = {"AWS_LAMBDA_FUNCTION_TIMEOUT": "30", "PYTHONPATH": str(folder)}
        with started(command, folder, 19_200, **env) as connection:
            cold.setdefault(name, []).append(timed(connection, path))
            warm.setdefault(name, []).extend(timed(connection, path) for _ in range(20))


def offline(cold: dict[str, list[float]], warm: dict[str, list[float]]) -> None:
    folder = fresh("offline")
    (folder / "bot.py").write_text(HELLO)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "serverless.yml").write_text(
        f"service: bench\nprovider: {{name: aws, runtime: {version}}}\n"
        "plugins: [serverless-offline]\n"
        "functions: {hello: {handler: bot.handler, timeout: 30}}\n"
    )
    (folder / "node_modules").symlink_to(RIVALS / "node_modules")
    name, path = "serverless-offline", "/2015-03-31/functions/bench-dev-hello/invocations"
    command = [str(RIVALS / "node_modules" / ".bin" / "osls"), "offline", "--lambdaPort", "19300"]
    command += ["--httpPort", "19301", "--host", "127.0.0.1", "--noPrependStageInUrl"]
    with started(command, folder, 19_300, SLS_TELEMETRY_DISABLED="1") as connection:
        cold.setdefault(name, []).append(timed(connection, path))
        warm.setdefault(name, []).extend(timed(connection, path) for _ in range(10))


# -- limits, and the meter -------------------------------------------------------------------------


async def limits() -> None:
    """Latency of one function while another one misbehaves."""
    folder = fresh("limits")
    write(folder / "good", HELLO)
    write(folder / "bad", TROUBLE, timeout_s=2, memory_mb=64, pids=32, cpus=0.5)
    host = Host(load_functions(folder))
    host.start()
    await host.invoke("good", EVENT)
    rows: list[list[object]] = []
    for what in ("nothing", "loop", "leak", "fork"):
        work = asyncio.create_task(host.invoke("bad", json.dumps(what).encode()))
        calls: list[float] = []
        ends = time.perf_counter() + 2.0
        while time.perf_counter() < ends:
            began = time.perf_counter()
            await host.invoke("good", EVENT)
            calls.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(0.005)
        outcome = await work
        p99 = sorted(calls)[int(len(calls) * 0.99)]
        rows.append([what, outcome.kind, len(calls), f"{median(calls):.2f}", f"{p99:.1f}"])
    await host.close()
    print(f"held by {host.limits.kind}")
    table(["another one does", "its end", "calls", "warm ms", "p99"], rows)


async def meter() -> None:
    """What the meter says, beside a clock around each call."""
    folder = fresh("meter")
    write(folder / "bot", HELLO, memory_mb=256)
    host = Host(load_functions(folder))
    host.start()
    await host.zygotes.get(sys.executable, host.functions["bot"].preload)  # it is nobody's
    outside = 0.0
    for number in range(60):
        began = time.perf_counter()
        await host.invoke("bot", json.dumps({"s": (number % 6) / 50}).encode())
        outside += time.perf_counter() - began
    await asyncio.sleep(0.1)
    sum_of = host.meter.sums["bot"]
    await host.close()
    inside = sum_of.billed_ms / 1e3
    gap = (inside / outside - 1) * 100
    rows: list[list[object]] = [
        [60, f"{outside:.3f}", f"{inside:.3f}", f"{gap:+.1f} %", f"{sum_of.gb_s:.4f}"]
    ]
    table(["calls", "s outside", "s billed", "difference", "GB-s"], rows)


if __name__ == "__main__":
    main()
