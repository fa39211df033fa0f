"""A small cluster for the peers' benchmark: a gateway and workers, as children of one process.

    PORT=28480 API=http://127.0.0.1:28481 TOKEN=42:TEST DATA=/tmp/empty WORKERS=1 \\
        LEGATO_STORE=postgresql://... LEGATO_QUEUE=amqp://... python -m bench.bots.legato_cluster

What runs are `legato gateway` and `legato worker`. The load's requests go to /webhook and carry no secret,
which Telegram's always do: both are mended here, so that checking the secret is in the price. Twice a second
the CPU time so far of each child, and of the process $BROKER_PID, is written to $CPU_LOG, one line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

BOT = str(Path(__file__).with_name("legato_bot.py"))
SECRET = "bench"


def gateway() -> int:
    """`legato gateway` that takes the load's requests for Telegram's."""
    from legato.cli.main import main
    from legato.deploy.http import Receive, Scope, Send
    from legato.deploy.ingress import Ingress

    honest = Ingress.__call__

    async def call(self: Ingress, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == "/webhook":
            scope["path"] = "/telegram"
            scope["headers"].append((b"x-telegram-bot-api-secret-token", SECRET.encode()))
        await honest(self, scope, receive, send)

    Ingress.__call__ = call  # type: ignore[method-assign]
    return main(["gateway", BOT, "--listen", f"127.0.0.1:{os.environ['PORT']}"])


def worker(name: str) -> int:
    """`legato worker`; all but the first run on the other core."""
    from legato.cli.main import main

    if name != "0":
        os.sched_setaffinity(0, {1})
    return main(["worker", BOT, "--name", f"bench{name}"])


def cluster() -> None:
    """Starts all of them and watches what they use, until it is stopped."""
    import psutil

    os.environ |= {
        "TELEGRAM_TOKEN": os.environ["TOKEN"],
        "TELEGRAM_API": os.environ["API"],
        "TELEGRAM_SECRET": SECRET,
        "LEGATO_SHARDS": "16",
    }
    names = ["gateway", *(f"worker {n}" for n in range(int(os.environ.get("WORKERS", "1"))))]
    children = [
        subprocess.Popen([sys.executable, "-m", "bench.bots.legato_cluster", *name.split()])
        for name in names
    ]

    def stop(number: int, frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(signal.SIGTERM)
        for child in children:
            child.wait(20)
        sys.exit(0)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    watched: list[Any] = [psutil.Process(child.pid) for child in children]
    if "BROKER_PID" in os.environ:  # not a child, but worth watching
        names.append("broker")
        watched.append(psutil.Process(int(os.environ["BROKER_PID"])))
    with Path(os.environ["CPU_LOG"]).open("w") as log:
        while all(child.poll() is None for child in children):
            used = {
                name: sum(process.cpu_times()[:2])
                for name, process in zip(names, watched, strict=True)
            }
            log.write(json.dumps({"at": time.time(), **used}) + "\n")
            log.flush()
            time.sleep(0.5)
    stop(0, None)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["gateway"]:
            sys.exit(gateway())
        case ["worker", name]:
            sys.exit(worker(name))
        case _:
            cluster()
