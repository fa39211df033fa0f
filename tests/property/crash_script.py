"""One long conversation that uses everything, as a script for processes that die."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from legato import App, Cancelled, Chat, StepInterrupted, Timeout, idempotency_key

if TYPE_CHECKING:
    from tests.property.crash_world import World

app = App("everything")
effects: list[tuple[str, str]] = []
"""(step, idempotency key) of every effect on the outside world."""


async def look_up(name: str) -> int:
    effects.append(("look up", idempotency_key()))
    return len(name)


def book(total: int) -> str:
    effects.append(("book", idempotency_key()))
    return f"B{total}"


async def charge(total: int) -> None:
    effects.append(("charge", idempotency_key()))


async def sell(sql: Any, what: str) -> int:
    await sql.execute("INSERT INTO sold VALUES ($1)", what)
    return await sql.fetchval("SELECT count(*) FROM sold WHERE what = $1", what)


@app.command("start")
async def first(chat: Chat) -> None:
    await chat.say("Welcome!")
    name = await chat.ask("Name?")
    handle = await chat.say("Let me see ...")
    price = await chat.run(look_up, name)
    await handle.edit(f"One costs {price}.")
    count = await chat.ask("How many?", int, retry="A number, please.")
    await chat.goto(second, name=name, total=price * count)


@app.dialog()
async def second(chat: Chat, name: str, total: int) -> None:
    try:
        colour, words = await chat.gather(
            chat.choose("Colour?", ["red", "green"], key="colour"), two_words(chat)
        )
        booked = await chat.run(book, total)
        note = await chat.say(f"Booked: {booked}")
        times = await chat.tx(sell, booked)
        words = (await chat.gather(chat.tx(sell, words), chat.run(look_up, words)))[1], words
        which, value = await chat.race(chat.wait_for("paid", int), chat.ask("Coupon?"))
        await note.delete()
        try:
            await chat.run(charge, total, at_most_once=True)
        except StepInterrupted:
            pass  # the till knows
        comment = "none"
        try:
            async with chat.timeout(60):
                comment = await chat.ask("Comment?", remind_after=30, remind="Any comment?")
        except Timeout:
            await chat.say("No comment, then.")
        await chat.sleep(timedelta(days=1))
        await chat.say(
            f"{name} {total} {colour} {words} {which} {value} {comment} {booked} {times}"
        )
        await chat.goto(third, rounds=2)
    except Cancelled:
        await chat.say("Goodbye from the second.")
        raise


async def two_words(chat: Chat) -> str:
    one = await chat.ask("One word?", key="one", user="1")
    two = await chat.ask("Another?", key="two")
    return f"{one}-{two}"


@app.dialog()
async def third(chat: Chat, rounds: int) -> None:
    try:
        await chat.receive()
        await chat.say(f"Round {rounds}.")
        await chat.goto(third, rounds=rounds - 1)
    except Cancelled:
        await chat.run(look_up, "bye")
        await chat.say(f"Goodbye in round {rounds}.")
        raise


@app.command("hint", anywhere=True)
async def hint(chat: Chat) -> None:
    await chat.say("A hint.")


@app.command("note", anywhere=True)
async def note(chat: Chat) -> None:
    await chat.say(f"Noted: {await chat.ask('What?')}")


async def play(world: World) -> None:
    """Everything that the person, time and the outside do."""
    await world.says("/start")
    await world.says("Ann")
    await world.says("many")
    await world.says("/hint")
    await world.says("/note")
    await world.says("milk")
    await world.says("3")
    await world.signals("paid", 9)  # before it is waited for
    await world.presses("green")
    await world.says("x")
    await world.says("y")
    await world.passes(30)
    await world.passes(30)
    await world.passes(86_400)
    await world.says("go on")
    await world.says("/cancel")
    await world.says("/start")
    await world.says("Bob")
    await world.says("1")
    await world.says("/start")  # in the middle of the other


def misdone(expected: Sequence[tuple[str, str]], found: Sequence[tuple[str, str]]) -> list[str]:
    """What is wrong with the effects: a step may run again under its own key; one that is
    `at_most_once` may be missing, but not run again.
    """
    wrong = [f"{what} under another key" for what, key in found if (what, key) not in expected]
    for what, key in expected:
        times = found.count((what, key))
        if times > 1 if what == "charge" else times < 1:
            wrong.append(f"{what} {times} times")
    return wrong
