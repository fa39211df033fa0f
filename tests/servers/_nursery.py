"""A Python that has imported what Legato's commands import. Who asks gets a copy of it, by a fork, which becomes
what was asked for: a process like any other, without the fifth of a second that each start takes.

python _nursery.py FD    # of the socket that asks; all ends with its other end
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

LARGEST = 1 << 17
COMMANDS = ("run", "gateway", "worker", "listen", "queue", "dialogs", "deploy", "check")
MODULES = (
    *(f"legato.cli.{name}" for name in COMMANDS),
    *(f"legato.deploy.{name}" for name in ("run", "gateway", "worker", "listen", "aws", "package")),
    *("legato.stores.sqlite", "legato.stores.postgres", "legato.queues.rabbitmq"),
    *("legato.platforms.telegram", "legato.platforms.twitch", "legato.platforms.web"),
    *(
        "asyncpg",
        "boto3",
        "httptools",
        "msgspec",
        "pamqp",
        "prometheus_client",
        "uvicorn",
        "uvloop",
    ),
    *("asyncio", "email", "logging.config", "multiprocessing.connection", "sqlite3", "ssl"),
)


def serve(number: int) -> None:
    """Until the other end of the socket is closed. Comes back in a copy, too: as what it shall be."""
    watch, asks = selectors.DefaultSelector(), socket.socket(fileno=number)
    watch.register(asks, selectors.EVENT_READ)
    born: dict[int, tuple[int, int]] = {}  # by its pidfd: its number, and where its end is told
    while True:
        for key, _ in watch.select():
            if key.fd != number:
                watch.unregister(key.fd)
                _tell_end(key.fd, *born.pop(key.fd))
                continue
            data, fds, _, _ = socket.recv_fds(asks, LARGEST, 4)
            if not data:
                _end(born)
                return
            pid = os.fork()
            if pid == 0:
                watch.close()
                asks.close()
                _become(json.loads(data), fds)
            one = os.pidfd_open(pid)
            born[one] = (pid, fds[3])
            watch.register(one, selectors.EVENT_READ)
            os.write(fds[3], f"{pid}\n".encode())
            for fd in fds[:3]:
                os.close(fd)


def _tell_end(one: int, pid: int, told: int) -> None:
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):
        os.write(told, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os.close(told)
    os.close(one)


def _end(born: dict[int, tuple[int, int]]) -> None:
    for one, (pid, told) in born.items():
        signal.pidfd_send_signal(one, signal.SIGKILL)
        _tell_end(one, pid, told)


def _become(want: Any, fds: list[int]) -> None:
    """Ends this process with what it was asked for."""
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(want["folder"])
    os.environ.clear()
    os.environ.update(want["env"])
    first, *arguments = want["words"]
    module = arguments.pop(0) if first == "-m" else ""
    sys.path.insert(0, want["folder"] if module else str(Path(first).parent))
    sys.argv = [first, *arguments]
    if module:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")
    sys.exit()


def main() -> None:
    """Imports, and serves."""
    for name in MODULES:
        with suppress(ImportError):  # an extra that is not there is for those to tell who need it
            importlib.import_module(name)
    sys.path.pop(0)  # where this file is
    gc.collect()
    gc.freeze()
    serve(int(sys.argv[1]))


if __name__ == "__main__":
    main()
