"""Dies by SIGKILL at each line that runs between an answer and the end of its Turn, on a real Postgres, and
looks each time what is left. A program: it forks, so nothing of a test may be in its memory.

    python -m tests.integration.dying_lines URL EVERY FIRST [apart]

At every EVERY-th line from the FIRST on a process dies. The app's row and the record in the journal must both
be there, or neither; and once the platform has repeated its update, both are there, once. "apart": the app
writes its row over a connection of its own, as it would without `chat.tx`, and the first
line that shows it is the last. Prints what is wrong, a line each.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

import asyncpg
import msgspec

import legato
from legato import App, Chat
from legato.app.runtime import Runtime
from legato.engine import journal
from legato.model.events import Address, MessageReceived, User
from legato.platforms.telegram.platform import SystemClock
from legato.stores.postgres import PostgresStore
from legato.testing.platform import ScriptedPlatform
from legato.testing.script import NoNetwork

SOURCE = Path(legato.__file__).parent
WATCHED = {
    __file__,
    *(str(SOURCE / "engine" / f"{name}.py") for name in ("turn", "transactions", "writer")),
    *(str(SOURCE / "stores/postgres" / f"{name}.py") for name in ("store", "within")),
}
URL, APART = sys.argv[1], "apart" in sys.argv
app = App("shop")


async def sell(sql: Any, chat: str) -> int:
    if APART:
        sql = await asyncpg.connect(URL)
    await sql.execute("INSERT INTO sold VALUES ($1)", chat)
    count = await sql.fetchval("SELECT count(*) FROM sold WHERE chat = $1", chat)
    if APART:
        await sql.close()
    return int(count)


@app.command("buy")
async def buy(chat: Chat) -> None:
    await chat.ask("What?")
    await chat.say("Let me see.")
    count = await chat.tx(sell, chat.user.id)
    await chat.ask(f"{count} sold. Sure?")


class Lines:
    """Counts lines of the files that are watched; at the fatal one the process dies."""

    def __init__(self, fatal: int) -> None:
        self.seen = 0
        self._fatal = fatal

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            self.seen += 1
            if self.seen == self._fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def said(chat: str, number: int, text: str) -> MessageReceived:
    command = text[1:] if text.startswith("/") else ""
    return MessageReceived(
        id=f"test:bot:{chat}-{number}",
        place=Address("test", "bot", chat, chat),
        user=User(chat, "Ann"),
        text=text,
        command=command,
        private=True,
    )


async def live(chat: str, fatal: int = 0) -> int:
    """One life of the bot, to which all updates are sent; returns how many lines the last took."""
    platform, store = ScriptedPlatform(), PostgresStore(f"{URL}?pool=1")
    runtime = Runtime(app, store=store, platforms=[platform], clock=SystemClock(), http=NoNetwork())
    await runtime.start(loops=False)
    await runtime.resume()
    await runtime.receive(platform, msgspec.json.encode(said(chat, 1, "/buy")))
    lines = Lines(fatal)
    sys.settrace(lines)
    await runtime.receive(platform, msgspec.json.encode(said(chat, 2, "tea")))
    sys.settrace(None)
    await runtime.stop()
    return lines.seen


async def left(chat: str) -> tuple[int, list[str]]:
    """What is there: rows of the app, and kinds of records in the journal."""
    store = PostgresStore(f"{URL}?pool=1")
    await store.open()
    loaded = await store.load(f"test:bot:{chat}:{chat}:")
    await store.close()
    sql = await asyncpg.connect(URL)
    rows = await sql.fetchval("SELECT count(*) FROM sold WHERE chat = $1", chat)
    await sql.close()
    kinds = [] if loaded is None else [record.kind for record in journal.read(loaded.segments)]
    return rows, kinds


async def looked(chat: str) -> list[str]:
    """What is wrong after a death, and once the next process has been sent the updates again."""
    wrong = []
    rows, kinds = await left(chat)
    if rows != kinds.count("tx"):
        wrong.append(f"{rows} rows, journal {kinds}")
    await live(chat)
    rows, kinds = await left(chat)
    if (rows, kinds) != (1, ["ask", "tx"]):
        wrong.append(f"at the end {rows} rows, journal {kinds}")
    return wrong


def forked(work: Coroutine[Any, Any, Any]) -> Any:
    """What `work` returns in a process of its own; None if that died."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        code = 1
        try:
            os.write(writing, json.dumps(asyncio.run(work)).encode())
            code = 0
        finally:
            os._exit(code)
    work.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    assert status == 0, "a process failed; see above"
    return json.loads(told)


async def prepared() -> None:
    sql = await asyncpg.connect(URL)
    await sql.execute("CREATE TABLE sold (chat TEXT)")
    await sql.close()


def main() -> None:
    every, first = int(sys.argv[2]), int(sys.argv[3])
    forked(prepared())
    total = forked(live("count"))
    deaths = 0
    for fatal in range(first, total + 1, every):
        chat = f"at {fatal}"
        deaths += forked(live(chat, fatal)) is None
        wrong = forked(looked(chat))
        sys.stdout.writelines(f"line {fatal}: {one}\n" for one in wrong)
        if wrong and APART:
            break  # it was found out
    sys.stdout.write(f"{deaths} deaths of {total} lines\n")


if __name__ == "__main__":
    main()
