"""chat.tx on a real Postgres: whatever line a process dies at, the app's row and the journal agree."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from legato import App, Chat
from legato.stores.postgres import PostgresStore
from legato.testing.script import Bot

ROOT = Path(__file__).parents[2]
SOAK = bool(os.environ.get("LEGATO_SOAK"))
EVERY = 1 if SOAK else 16


def died(url: str, *options: str) -> tuple[list[str], int]:
    """What is wrong after deaths at many lines, and how many deaths there were."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.dying_lines", url, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=1500 if SOAK else 100,
    )
    *wrong, last = done.stdout.splitlines()
    found = re.fullmatch(r"(\d+) deaths of (\d+) lines", last)
    assert found is not None, done.stderr
    return wrong, int(found[1])


@pytest.mark.timeout(1600 if SOAK else 120)
def test_a_death_at_any_line_leaves_row_and_record_or_neither(postgres_url: str) -> None:
    wrong, deaths = died(postgres_url, str(EVERY), "1")
    assert not wrong
    assert deaths >= 15


def test_rows_that_are_written_apart_from_the_journal_are_found_out(postgres_url: str) -> None:
    wrong, _ = died(postgres_url, "10", "100", "apart")
    assert any("1 rows, journal []" in line for line in wrong)
    assert any("at the end 2 rows" in line for line in wrong)


async def test_dialogs_that_sell_the_last_piece_at_once_sell_it_once(postgres_url: str) -> None:
    app = App("shop")

    async def take(sql: Any) -> bool:
        return await sql.fetchval("UPDATE stock SET n = n - 1 WHERE n > 0 RETURNING n") is not None

    async def swap(sql: Any, first: int, second: int) -> None:
        for number in (first, second):  # two that go in opposite directions lock each other out
            await sql.execute("UPDATE seat SET taken = taken + 1 WHERE number = $1", number)

    @app.command("take")
    async def taking(chat: Chat) -> None:
        await chat.say("yours" if await chat.tx(take) else "gone")

    @app.command("swap")
    async def swapping(chat: Chat) -> None:
        first, second = map(int, chat.args.split())
        for number in range(5):
            await chat.tx(swap, first, second, key=f"swap {number}")
        await chat.say("swapped")

    sql = await asyncpg.connect(postgres_url)
    await sql.execute("CREATE TABLE stock (n INT); INSERT INTO stock VALUES (3)")
    await sql.execute("CREATE TABLE seat (number INT PRIMARY KEY, taken INT)")
    await sql.execute("INSERT INTO seat VALUES (1, 0), (2, 0)")
    bot = Bot(app, store=lambda: PostgresStore(postgres_url))
    try:
        await bot.user("first").says("/take")
        people = [bot.user(f"{number}") for number in range(12)]
        await asyncio.gather(*(bot.send(one.message("/take")) for one in people))
        assert sorted(message.text for message in bot.unread) == ["gone"] * 10 + ["yours"] * 3
        await asyncio.gather(
            *(bot.send(people[n].message(f"/swap {1 + n % 2} {2 - n % 2}")) for n in range(6))
        )
        assert [message.text for message in bot.unread][13:] == ["swapped"] * 6
        assert await sql.fetch("SELECT taken FROM seat") == [(30,), (30,)]
    finally:
        bot.abandon()
        await bot.close()
        await sql.close()


@pytest.mark.parametrize("mode", ["warm", "cold", "crash"])
async def test_what_it_is_given_is_what_asyncpg_would_give(postgres_url: str, mode: str) -> None:
    app = App("shop")

    async def look(sql: Any, item: str) -> dict[str, Any]:
        row = await sql.fetchrow("SELECT item, n FROM stock WHERE item = $1", item)
        return dict(row)

    @app.command("look")
    async def looking(chat: Chat) -> None:
        found = await chat.tx(look, "tea")
        await chat.say(f"{found['n']} {found['item']}")

    sql = await asyncpg.connect(postgres_url)
    await sql.execute("CREATE TABLE stock (item TEXT, n INT); INSERT INTO stock VALUES ('tea', 3)")
    await sql.close()
    bot = Bot(app, mode, store=lambda: PostgresStore(postgres_url))
    await bot.user().says("/look")
    bot.expect("3 tea")
    await bot.close()
