"""chat.tx: SQL of the app's own in the Turn's transaction. Both are written, or neither, once."""

import sqlite3
from typing import Any

import pytest

from legato import App, Chat, StepError, Unsupported, register, step
from legato.errors import StoreUnavailable
from legato.model.records import FAILED
from legato.stores.memory import MemoryStore
from legato.testing.script import Bot
from tests.unit.engine.test_changes import _retry

app = App("shop")


@register
class SoldOut(Exception):
    pass


async def reserve(sql: Any, item: str, n: int = 1) -> int:
    left = await sql.fetchval(
        "UPDATE stock SET n = n - $1 WHERE item = $2 AND n >= $1 RETURNING n", n, item
    )
    if left is None:
        raise SoldOut(item)
    await sql.execute("INSERT INTO sold VALUES ($1)", item)
    return left


@step
async def note(text: str) -> str:
    return text


def filled(bot: Bot) -> None:
    bot.sql.script("""CREATE TABLE stock (item, n); CREATE TABLE sold (item);
        INSERT INTO stock VALUES ('tea', 3), ('milk', 1)""")


def sold(bot: Bot) -> list[str]:
    return [item for (item,) in bot.sql.fetch("SELECT item FROM sold ORDER BY item")]


@app.command("buy")
async def buy(chat: Chat) -> None:
    item = await chat.ask("What?")
    await chat.say("Let me see.")
    left = await chat.tx(reserve, item)
    again = await chat.tx(reserve, item, n=1, key="again")
    await chat.ask("Sure?")
    await chat.say(f"{item}: {left}, then {again} left.")


async def test_the_result_is_journaled_with_what_it_is_about_and_never_made_again(bot):
    filled(bot)
    ann = bot.user()
    await ann.says("/buy")
    await ann.says("tea", repeat=2)
    bot.expect("What?", "Let me see.", "Sure?")
    assert sold(bot) == ["tea", "tea"]
    records = [(kind, name, value) for _, kind, name, value in await bot.records(ann)]
    assert records == [("ask", "str", "tea"), ("tx", "reserve", 2), ("tx", "again", 1)]
    await bot.crash()
    await ann.says("yes")
    bot.expect("tea: 2, then 1 left.")
    assert sold(bot) == ["tea", "tea"]


@app.command("poor")
async def poor(chat: Chat) -> None:
    try:
        await chat.tx(reserve, "milk", 5)
    except SoldOut as error:
        await chat.say(f"{error} is sold out.")
    await chat.ask("Else?")
    await chat.say("Bye.")


async def test_what_raises_is_undone_and_may_be_caught(bot):
    filled(bot)
    ann = bot.user()
    await ann.says("/poor")
    bot.expect("milk is sold out.", "Else?")
    assert sold(bot) == []
    records = await bot.records(ann)
    assert records == [
        ("0", "tx", "reserve", ("tests.unit.engine.test_transactions:SoldOut", ["milk"]))
    ]
    await ann.says("no")
    bot.expect("Bye.")


@app.command("bare")
async def bare(chat: Chat) -> None:
    item = await chat.ask("What?")
    await chat.say("Reserving.")
    await chat.tx(reserve, item)
    await chat.say("Reserved.")


async def test_what_nobody_catches_parks_and_a_retry_runs_it_again(bot):
    filled(bot)
    bot.sql.script("UPDATE stock SET n = 0")
    ann = bot.user()
    await ann.says("/bare")
    await ann.says("tea")
    bot.expect("What?", "Sorry, something went wrong.")
    bot.expect_failure("SoldOut")
    assert (await bot.conversation(ann)).status == FAILED
    bot.sql.script("UPDATE stock SET n = 1")
    await _retry(bot, ann)
    bot.expect("Reserving.", "Reserved.")
    assert sold(bot) == ["tea"]


@app.command("both")
async def both(chat: Chat) -> None:
    got = await chat.gather(
        chat.tx(reserve, "tea"), note("a"), chat.tx(reserve, "milk"), chat.ask("And?")
    )
    await chat.say(repr(got))
    which, value = await chat.race(chat.tx(reserve, "tea", key="more"), note("b"))
    await chat.say(f"{which} {value}")


async def test_it_may_be_a_branch_beside_steps_and_questions(bot):
    filled(bot)
    ann = bot.user()
    await ann.says("/both")
    assert sold(bot) == ["milk", "tea"]
    await ann.says("x")
    bot.expect("And?", "[2, 'a', 0, 'x']", "0 1")
    assert sold(bot) == ["milk", "tea", "tea"]


async def slow(text: str) -> str:
    slow_ones.append(text)
    return text


slow_ones: list[str] = []


@app.command("guarded")
async def guarded(chat: Chat) -> None:
    async def paid() -> str:
        return await chat.run(slow, "charge", at_most_once=True)

    async def then() -> int:
        await note("first")
        return await chat.tx(reserve, "tea")

    await chat.say(repr(await chat.gather(paid(), then())))


@pytest.mark.legato_modes("warm", "cold")
async def test_intents_of_steps_beside_it_are_kept(bot):
    filled(bot)
    slow_ones.clear()
    await bot.user().says("/guarded")
    bot.expect("['charge', 2]")
    assert slow_ones == ["charge"]


class Serial(Exception):
    """As a driver raises it."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate
        super().__init__(sqlstate)


@pytest.mark.legato_modes("warm", "cold")
@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_what_another_transaction_is_to_blame_for_is_tried_again_unseen(bot, state):
    new, runs = App("new"), []

    async def contended(sql: Any, worse: int) -> int:
        runs.append(await sql.execute("INSERT INTO sold VALUES ('x')"))
        if len(runs) <= worse:
            raise Serial(state)
        return len(runs)

    @new.command("go")
    async def go(chat: Chat, worse: int = 3) -> None:
        await chat.say(str(await chat.tx(contended, worse)))
        runs.clear()
        try:
            await chat.tx(contended, 100)
        except StepError as error:
            await chat.say(f"{error.type_name} after {len(runs)}")

    await bot.replace_app(new)
    filled(bot)
    await bot.user().says("/go")
    bot.expect("4", "Serial after 6")
    assert sold(bot) == ["x"]


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda sql: 5, "async def"),
        (reserve, "positional"),
    ],
)
async def test_a_function_that_is_none_fails_at_its_line(bot, work, said):
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        await chat.tx(work)

    await bot.replace_app(new)
    await bot.user().says("/go")
    bot.expect("Sorry")
    assert said in bot.expect_failure()


async def test_a_result_that_cannot_be_kept_is_undone(bot):
    new = App("new")

    async def work(sql: Any) -> object:
        await sql.execute("INSERT INTO sold VALUES ('x')")
        return object()

    @new.command("go")
    async def go(chat: Chat) -> None:
        await chat.tx(work)

    await bot.replace_app(new)
    filled(bot)
    await bot.user().says("/go")
    bot.expect("Sorry")
    bot.expect_failure("the result of work")
    assert sold(bot) == []


@pytest.mark.legato_modes("warm")
async def test_one_that_takes_too_long_is_undone_and_one_that_is_cut_off_is_an_error(bot):
    import asyncio

    new = App("new")

    async def hangs(sql: Any) -> None:
        await sql.execute("INSERT INTO sold VALUES ('x')")
        await asyncio.Event().wait()

    async def own(sql: Any) -> None:
        raise TimeoutError("its own")

    async def cancelled(sql: Any) -> None:
        raise asyncio.CancelledError

    @new.command("go")
    async def go(chat: Chat) -> None:
        for work, timeout in [(hangs, 0.01), (own, None), (own, 0), (cancelled, None)]:
            try:
                await chat.tx(work, timeout=timeout)
            except (TimeoutError, StepError) as error:
                await chat.say(str(error))

    await bot.replace_app(new)
    filled(bot)
    await bot.user().says("/go")
    bot.expect("transaction 'hangs' took longer than 0.01 s", "its own", "its own", "Cancelled")
    assert sold(bot) == []


class Broken:
    """A database whose connection is lost."""

    async def fetchval(self, *_: object) -> None:
        raise StoreUnavailable("the connection is closed")


@pytest.mark.legato_modes("cold")
async def test_a_store_that_cannot_do_it_now_leaves_the_update_to_be_repeated(bot):
    from legato.errors import Unavailable

    filled(bot)
    good = bot.sql
    ann = bot.user()
    await ann.says("/bare")
    event = ann.message("tea")
    bot.sql = Broken()
    with pytest.raises(Unavailable):
        await bot.send(event)
    bot.sql = good
    await bot.send(event)
    bot.expect("What?", "Reserving.", "Reserved.")


async def test_a_fake_may_stand_in_for_the_database(bot):
    class Fake:
        async def fetchval(self, *_: object) -> int:
            return 41

        async def execute(self, *_: object) -> None:
            return None

    bot.sql = Fake()
    ann = bot.user()
    await ann.says("/bare")
    await ann.says("tea")
    bot.expect("What?", "Reserving.", "Reserved.")


async def test_a_store_without_transactions_says_so_at_the_line():
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        try:
            await chat.tx(reserve, "tea")
        except Unsupported as error:
            await chat.say(str(error))

    bot = Bot(new, store=MemoryStore)
    await bot.user().says("/go")
    bot.expect("chat.tx() needs a store that has one")
    await bot.close()


async def test_it_runs_on_a_sqlite_store_as_well(tmp_path):
    from legato.stores.sqlite import SQLiteStore

    path = tmp_path / "bot.db"
    for mode in ("warm", "cold", "crash"):
        bot = Bot(app, mode, store=lambda: SQLiteStore(path))
        ann = bot.user(mode)
        await ann.says("/cancel")
        file = sqlite3.connect(path)
        file.executescript("""DROP TABLE IF EXISTS stock; DROP TABLE IF EXISTS sold;
            CREATE TABLE stock (item, n); CREATE TABLE sold (item);
            INSERT INTO stock VALUES ('tea', 3), ('milk', 1)""")
        await ann.says("/buy")
        await ann.says("tea")
        await ann.says("yes")
        bot.expect("Cancelled.", "What?", "Let me see.", "Sure?", "tea: 2, then 1 left.")
        await ann.says("/poor")
        bot.expect("milk is sold out.")
        assert file.execute("SELECT item FROM sold").fetchall() == [("tea",)] * 2
        file.close()
        await bot.close()
        path.unlink()
