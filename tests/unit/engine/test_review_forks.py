"""Branches, steps side by side, and what of them outlives a crash."""

import asyncio

from legato import App, Cancelled, Chat, StepInterrupted, TooManyAttempts, UserGone
from legato.model.events import Gone
from legato.model.ids import place_of
from legato.testing.crash import Crash

app = App("forks")
ran: list[str] = []


@app.command("twice")
async def twice(chat: Chat) -> None:
    async def risky(what: str) -> str:
        ran.append(what)
        if len(ran) == 2:
            raise Crash  # both of them had begun
        if len(ran) < 2:
            await asyncio.sleep(3600)
        return what

    async def one(what: str) -> str:
        try:
            return await chat.run(risky, what, at_most_once=True, key=what)
        except StepInterrupted:
            return f"{what} interrupted"

    await chat.say(", ".join(await chat.gather(one("a"), one("b"))))


async def test_no_step_that_runs_at_most_once_runs_again_beside_another_one(bot):
    ran.clear()
    await bot.user().says("/twice")
    bot.expect("a interrupted, b interrupted")
    assert len(ran) == len(set(ran))


@app.command("later")
async def later(chat: Chat) -> None:
    async def long() -> str:
        ran.append("long")
        await asyncio.sleep(3600)
        return "long"

    async def dies() -> str:
        ran.append("dies")
        raise Crash

    async def quick() -> str:
        return "quick"

    async def first() -> str:
        try:
            return await chat.run(long, at_most_once=True)
        except StepInterrupted:
            return "long interrupted"

    async def second() -> str:
        await chat.run(quick)
        try:
            return await chat.run(dies, at_most_once=True)
        except StepInterrupted:
            return "dies interrupted"

    await chat.say(", ".join(await chat.gather(first(), second())))


async def test_an_intent_is_not_forgotten_when_another_step_begins(bot):
    ran.clear()
    await bot.user().says("/later")
    bot.expect("long interrupted, dies interrupted")
    assert len(ran) == len(set(ran))


@app.command("count")
async def count(chat: Chat) -> None:
    async def age() -> str:
        try:
            return str(await chat.ask("Age?", int, retry="A number!", attempts=2, key="age"))
        except TooManyAttempts:
            return "gave up"

    async def tick() -> None:
        return None

    async def paid() -> str:
        await chat.wait_for("paid", int)
        await chat.run(tick)
        return "paid"

    await chat.say(", ".join(await chat.gather(age(), paid())))


async def test_attempts_are_counted_through_a_crash_in_another_branchs_step(bot):
    ann = bot.user()
    await ann.says("/count")
    await ann.says("x")
    await bot.signal(ann, "paid", 1)
    await ann.says("y")
    bot.expect("Age?", "A number!", "gave up, paid")


@app.command("nag")
async def nag(chat: Chat) -> None:
    async def tick() -> None:
        return None

    async def paid() -> None:
        await chat.wait_for("paid", int)
        await chat.run(tick)

    word, _ = await chat.gather(chat.ask("Word?", remind_after=30, remind="Well?"), paid())
    await chat.say(word)


async def test_a_reminder_is_not_repeated_after_a_crash_in_another_branchs_step(bot):
    ann = bot.user()
    await ann.says("/nag")
    await bot.advance(seconds=40)
    await bot.signal(ann, "paid", 1)
    await bot.advance(seconds=40)
    await ann.says("x")
    bot.expect("Word?", "Well?", "x")
    bot.expect_nothing()


@app.command("same")
async def same(chat: Chat) -> None:
    question = chat.ask("Name?")
    await chat.gather(question, question)


async def test_one_coroutine_in_two_branches_is_refused(bot):
    await bot.user().says("/same")
    bot.expect("Sorry")
    assert "twice" in bot.expect_failure("Misuse")


@app.command("none")
async def none(chat: Chat) -> None:
    await chat.race()


async def test_a_race_of_nobody_is_refused(bot):
    await bot.user().says("/none")
    bot.expect("Sorry")
    bot.expect_failure("Misuse")


@app.command("progress")
async def progress(chat: Chat) -> None:
    async def nothing() -> None:
        return None

    async def one() -> None:
        await chat.run(nothing)
        await chat.say("one is done")

    async def two() -> None:
        await chat.run(_one_is_shown)
        await chat.say("two is done")

    await chat.gather(one(), two())


shown: list[str] = []


async def _one_is_shown() -> None:
    for _ in range(1000):
        if "one is done" in shown:
            return
        await asyncio.sleep(0)
    shown.append("in vain")


async def test_what_a_branch_says_does_not_wait_for_another_branchs_step(bot):
    shown.clear()
    bot.platform.answer = lambda call, place: shown.append(call.params["out"]["message"]["text"])
    await bot.user().says("/progress")
    bot.expect("one is done", "two is done")
    assert shown == ["one is done", "two is done"]


async def test_the_branches_of_a_dialog_that_is_cancelled_see_why(bot):
    new = App("new")
    seen: list[str] = []

    async def branch(chat: Chat, name: str) -> None:
        try:
            await chat.ask(f"{name}?", key=name)
        except Cancelled as error:
            seen.append(f"{name} {error.reason}")
            raise

    async def nested(chat: Chat) -> None:
        await chat.gather(branch(chat, "c"), branch(chat, "d"))

    @new.command("go")
    async def go(chat: Chat) -> None:
        try:
            await chat.gather(branch(chat, "a"), nested(chat))
        except Cancelled as error:
            seen.append(f"dialog {error.reason}")
            raise
        except UserGone:
            seen.append("dialog gone")

    await bot.replace_app(new)
    ann = bot.user()
    for why, command in [("replaced", "/go"), ("command", "/cancel")]:
        await ann.says("/go")
        seen.clear()
        await ann.says(command)
        first = [f"a {why}", f"c {why}", f"d {why}", f"dialog {why}"]
        assert seen[:4] == first
    await ann.says("/go")
    key = (await bot.conversation(ann)).key
    row = await bot.conversation(ann)
    seen.clear()
    gone = Gone(id=f"gone:{key}", place=place_of(key), key=key, epoch=row.epoch)
    await bot.repeat(lambda: bot.runtime.handle(gone))
    assert seen[:4] == ["a gone", "c gone", "d gone", "dialog gone"]
