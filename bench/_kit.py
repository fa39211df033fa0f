"""What the benchmarks share: a bot without a network, the peers' folder, medians and tables."""

from __future__ import annotations

import asyncio
import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from legato import App, Chat
from legato.abc import HttpClient, HttpRequest, HttpResponse, Limits
from legato.app.runtime import Runtime, RuntimeSettings
from legato.deploy.clock import SystemClock
from legato.platforms.telegram import Telegram
from legato.stores.sqlite import SQLiteStore

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "bench"
"""What the benchmarks install and write; git ignores it, and `make clean` removes it."""

# -- the dialog, and an App that runs it without a network ------------------------------------------


async def add(chat: Chat) -> None:
    """The dialog that all bots of the peers' benchmark play."""
    first = await chat.ask("First number?", int)
    second = await chat.ask("Second number?", int)
    await chat.say(str(first + second))


def adder() -> App:
    """A new App with that dialog."""
    app = App("bench")
    app.command("start")(add)
    return app


TOKEN = "42:TEST"
_COMMAND = b',"entities":[{"offset":0,"length":6,"type":"bot_command"}]'


def update(number: int, chat: int, text: bytes) -> bytes:
    """A Telegram update as the peers' load generator writes it."""
    return (
        b'{"update_id":%d,"message":{"message_id":%d,"from":{"id":%d,"is_bot":false,'
        b'"first_name":"Ann","last_name":"Lee","username":"u%d","language_code":"en"},'
        b'"chat":{"id":%d,"first_name":"Ann","last_name":"Lee","username":"u%d","type":"private"},'
        b'"date":%d,"text":"%b"%b}}'
        % (
            *(number, number, chat, chat, chat, chat, 1_750_000_000, text),
            _COMMAND if text.startswith(b"/") else b"",
        )
    )


class NoNetwork(HttpClient):
    """A Telegram that takes every message one round of the loop later.

    Attributes:
        sent: Requests so far.
        expected: What the bodies of requests are to hold.
        right: Requests that held it.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.expected = b""
        self.right = 0
        self._answer = HttpResponse(
            200,
            {"content-type": "application/json"},
            b'{"ok":true,"result":{"message_id":7,"from":{"id":42,"is_bot":true,"first_name":"Bench",'
            b'"username":"bench_bot"},"chat":{"id":1000001,"type":"private","first_name":"Ann"},'
            b'"date":1750000000,"text":"First number?"}}',
        )

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.sent += 1
        self.right += self.expected in request.body
        await asyncio.sleep(0)
        return self._answer

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise AssertionError("nothing is downloaded")

    async def close(self) -> None:
        return


class Bot:
    """The adder on SQLite (synchronous=FULL) and Telegram, without sockets.

    Args:
        folder: Where its database is.
        app: Instead of the adder.
        cache: Live conversations kept in memory.
    """

    def __init__(self, folder: Path, *, app: App | None = None, cache: int = 2000) -> None:
        self.path = folder / "bot.db"
        self.http = NoNetwork()
        self.telegram = Telegram(TOKEN, secret="bench", limits=Limits())
        self._numbers = 0
        self.runtime = Runtime(
            app or adder(),
            store=SQLiteStore(self.path),
            platforms=[self.telegram],
            clock=SystemClock(),
            http=self.http,
            settings=RuntimeSettings(cache=cache, webhook_reply=False),
        )

    async def says(self, chat: int, text: bytes) -> None:
        """Somebody in a private chat says something; returns once it may be acknowledged."""
        self._numbers += 1
        await self.runtime.receive(self.telegram, update(self._numbers, chat, text))

    @property
    def disk(self) -> int:
        """Bytes of the database and its log."""
        return sum(file.stat().st_size for file in self.path.parent.glob("bot.db*"))


def run(work: object) -> None:
    """Runs a coroutine on uvloop, as `legato run` does."""
    import uvloop

    uvloop.run(work)  # type: ignore[arg-type]


# -- the peers --------------------------------------------------------------------------------------


def peers_folder() -> Path | None:
    """The peers' benchmark, None (and one line that says so) if it is not there.

    It lies outside of the repository: LEGATO_PEERS says where, by default ../shared/bench/peers.
    """
    given = os.environ.get("LEGATO_PEERS")
    folder = Path(given) if given else ROOT.parent / "shared" / "bench" / "peers"
    if (folder / "load.py").is_file():
        return folder
    print(f"no peers' benchmark at {folder} (set LEGATO_PEERS): only Legato itself is measured")
    return None


# -- numbers ----------------------------------------------------------------------------------------


def rss() -> int:
    """Bytes of memory that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no path of ours
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def machine() -> str:
    """One line on where and when the numbers were taken."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = found[0].partition(": ")[2] if found else model
    return (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} x {model}, Python "
        f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}, {sys.platform}"
    )


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a Markdown table; all columns but the first are numbers."""
    print(f"| {' | '.join(head)} |")
    print(f"|---|{'---:|' * (len(head) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
