"""What a dialog must not do is an error at its own line."""

import asyncio
import datetime as dt
import random
import time
import uuid

import pytest

from legato import App, Chat
from legato.errors import Nondeterminism

app = App("careless")


async def _foreign(chat: Chat, what: str) -> None:
    if what == "sleep":
        await asyncio.sleep(1)
    elif what == "zero":
        await asyncio.sleep(0)
    elif what == "timeout":
        async with asyncio.timeout(1):
            await chat.ask("x?")
    elif what == "gather":
        await asyncio.gather(chat.ask("x?"))
    elif what == "task":
        await asyncio.create_task(chat.ask("x?"))
    elif what == "group":
        async with asyncio.TaskGroup():
            pass
    elif what == "wait_for":
        await asyncio.wait_for(chat.ask("x?"), 1)
    elif what == "thread":
        await asyncio.to_thread(print)


@app.message(r"^foreign (?P<what>\w+)$")
async def foreign(chat: Chat, what: str) -> None:
    await _foreign(chat, what)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize(
    "what", ["sleep", "zero", "timeout", "gather", "task", "group", "wait_for", "thread"]
)
async def test_a_foreign_await_is_an_error_at_the_users_line(bot, what):
    await bot.user().says(f"foreign {what}")
    bot.expect("Sorry, something went wrong")
    error = bot.expect_failure("ForeignAwait")
    assert "in _foreign" in error
    assert "chat.run(fn, ...)" in error


def _forbidden(what: str) -> object:
    if what == "time":
        return time.time()
    if what == "now":
        return dt.datetime.now()  # noqa: DTZ005
    if what == "random":
        return random.random()
    if what == "randint":
        return random.randint(1, 6)
    if what == "uuid":
        return uuid.uuid4()
    return open(__file__)  # noqa: PTH123  # what strict mode is to find


@app.message(r"^forbidden (?P<what>\w+)$")
async def forbidden(chat: Chat, what: str) -> None:
    await chat.say(str(_forbidden(what)))


@pytest.mark.parametrize("what", ["time", "now", "random", "randint", "uuid", "open"])
async def test_strict_mode_reports_calls_that_replays_cannot_repeat(bot, what):
    with pytest.raises(Nondeterminism, match=r"test_guard\.py:\d+"):
        await bot.user().says(f"forbidden {what}")
    bot.expect_failure("Nondeterminism")
