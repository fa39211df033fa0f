"""Bugs and deploys under running conversations: parked, retried, restarted, held; never lost."""

import asyncio
from typing import Any

import msgspec
import pytest

from legato import App, Chat, StepInterrupted
from legato.engine import journal
from legato.model.records import FAILED, HELD, RUNNING, Commit
from legato.testing.crash import Crash
from legato.testing.script import Bot

app = App("unused")


def shop(
    second: Any = int, *, fixed: bool = False, steps: list[str] | None = None, **options
) -> App:
    """The same bot in several versions."""
    bot = App("shop")

    async def charge() -> str:
        if steps is not None:
            steps.append("charged")
        return "receipt"

    @bot.command("buy", **options)
    async def buy(chat: Chat, greeting: str = "Welcome") -> None:
        await chat.say(greeting)
        amount = await chat.ask("How many?", int)
        receipt = await chat.run(charge)
        if not fixed:
            raise RuntimeError(f"bug after {receipt}")
        when = await chat.ask("When?", second)
        await chat.say(f"{amount} on {when} ({receipt})")

    return bot


async def _retry(bot: Bot, person) -> None:
    """What `legato dialogs retry` writes."""
    row = await bot.conversation(person)
    state = msgspec.structs.replace(journal.decode_state(row.state), error="")
    again = msgspec.structs.replace(
        row, status=RUNNING, head=row.head + 1, wake_ms=bot.clock.now_ms(),
        state=journal.encode(state),
    )  # fmt: skip
    expect = (row.epoch, row.head)
    await bot._inner.commit(Commit(at_ms=bot.clock.now_ms(), key=row.key, expect=expect, row=again))
    await bot.advance(seconds=0)


async def test_a_bug_parks_the_conversation_and_a_retry_goes_on_without_repeating_steps(bot):
    steps: list[str] = []
    await bot.replace_app(shop(steps=steps))
    ann = bot.user()
    await ann.says("/buy")
    await ann.says("3", repeat=2)
    bot.expect("Welcome", "How many?", "Sorry, something went wrong")
    bot.expect_nothing()
    assert "bug after receipt" in bot.expect_failure("RuntimeError")
    assert (await bot.conversation(ann)).status == FAILED
    await ann.says("4 then?")  # kept for the conversation, answers the next question

    await bot.replace_app(shop(str, fixed=True, steps=steps))
    await _retry(bot, ann)
    bot.expect("When?", "3 on 4 then? (receipt)")
    assert steps == ["charged"]


async def test_a_user_can_begin_anew_while_the_failed_conversation_stays_for_the_operator(bot):
    await bot.replace_app(shop())
    ann = bot.user()
    await ann.says("/buy")
    await ann.says("3")
    bot.expect_failure("RuntimeError")
    await bot.replace_app(shop(str, fixed=True))
    await ann.says("/buy")
    await ann.says("5")
    await ann.says("now")
    bot.expect("Welcome", "How many?", "Sorry", "Welcome", "How many?", "When?", "5 on now")
    rows = await bot.conversations()
    assert [row.status for row in rows] == [FAILED]
    assert "!" in rows[0].key
    bot._expected_failures |= set(bot._failures)


async def test_a_bug_at_the_very_start_parks_too(bot):
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        raise RuntimeError("at once")

    await bot.replace_app(new)
    ann = bot.user()
    await ann.says("/go", repeat=2)
    bot.expect("Sorry")
    bot.expect_nothing()
    bot.expect_failure("at once")
    assert (await bot.conversation(ann)).status == FAILED


async def test_changed_code_restarts_the_dialog_with_the_answers_so_far(bot):
    await bot.replace_app(shop(fixed=True))
    ann = bot.user()
    await ann.says("/buy")
    await ann.says("3")
    bot.expect("Welcome", "How many?", "When?")
    said: list[dict] = []

    def on_restart(answers: dict) -> dict:
        said.append(answers)
        return {"greeting": "We have changed"}

    bot.strict = False
    await bot.replace_app(shop(str, fixed=True, on_restart=on_restart))
    await ann.says("tomorrow")
    bot.expect("We have changed", "How many?")
    assert said[-1]["int"] == 3
    bot.strict = True
    await ann.says("4")
    await ann.says("now")
    bot.expect("When?", "4 on now")


async def test_policy_hold_parks_it_and_keeps_the_mail(bot):
    await bot.replace_app(shop(fixed=True))
    ann = bot.user()
    await ann.says("/buy")
    await ann.says("3")
    bot.expect("Welcome", "How many?", "When?")
    bot.strict = False
    await bot.replace_app(shop(str, fixed=True, on_change="hold"))
    await ann.says("7")
    bot.expect_nothing()
    row = await bot.conversation(ann)
    assert row.status == HELD
    assert "'ask int'" in journal.decode_state(row.state).error
    await bot.replace_app(shop(fixed=True))
    await _retry(bot, ann)
    bot.expect("3 on 7")


async def test_mending_a_text_or_adding_a_say_breaks_nothing(bot):
    def version(text: str, more: bool) -> App:
        new = App("new")

        @new.command("go")
        async def go(chat: Chat) -> None:
            if more:
                await chat.say("Hello!")
            name = await chat.ask(text)
            await chat.say(name)

        return new

    await bot.replace_app(version("Nmae?", more=False))
    ann = bot.user()
    await ann.says("/go")
    await bot.replace_app(version("Name?", more=True))
    await ann.says("Ann")
    bot.expect("Nmae?", "Ann")
    bot.expect_nothing()


async def test_a_removed_dialog_is_held_not_lost(bot):
    await bot.replace_app(shop(fixed=True))
    ann = bot.user()
    await ann.says("/buy")
    bot.strict = False
    await bot.replace_app(App("empty"))
    await ann.says("3")
    assert (await bot.conversation(ann)).status == HELD
    await bot.replace_app(shop(fixed=True))
    await _retry(bot, ann)
    bot.expect("Welcome", "How many?", "When?")


@pytest.mark.parametrize("once", [False, True])
async def test_a_step_after_a_crash_in_its_middle(bot, once):
    new = App("new")
    tries: list[int] = []

    async def risky() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise Crash
        return len(tries)

    @new.command("go")
    async def go(chat: Chat) -> None:
        try:
            result = await chat.run(risky, at_most_once=once)
            await chat.say(f"ran {result} times")
        except StepInterrupted:
            await chat.say("interrupted")

    await bot.replace_app(new)
    await bot.user().says("/go")
    bot.expect("interrupted" if once else "ran 2 times")
    assert len(tries) <= 1 if once else len(tries) == 2


async def test_at_most_once_steps_side_by_side_never_run_again(bot):
    new = App("new")
    began: list[str] = []

    async def slow(name: str) -> str:
        assert name not in began
        began.append(name)
        await asyncio.sleep(3600)  # until the process dies
        return name

    async def quick(number: int) -> int:
        began.append(f"quick {number}")
        if number == 2 and began.count("quick 2") == 1:
            raise Crash
        return number

    @new.command("go")
    async def go(chat: Chat) -> None:
        async def once(name: str) -> str:
            try:
                return str(await chat.run(slow, name, at_most_once=True))
            except StepInterrupted:
                return f"{name}?"

        async def beside() -> Any:
            await chat.run(quick, 1)
            await chat.say("one")
            return await chat.run(quick, 2)

        await chat.say(f"{await chat.gather(once('a'), once('b'), beside())}")

    await bot.replace_app(new)
    await bot.user().says("/go")
    bot.expect("one", "['a?', 'b?', 2]")


async def test_a_repeated_update_never_runs_a_step_again(bot):
    new = App("new")
    ran: list[str] = []

    async def note(what: str) -> None:
        ran.append(what)

    @new.command("go")
    async def go(chat: Chat) -> None:
        await chat.run(note, "start")
        first = await chat.ask("First?")
        second = await chat.ask("Second?")
        await chat.run(note, first + second)

    await bot.replace_app(new)
    ann = bot.user()
    await ann.says("/go", repeat=3)
    await ann.says("a", repeat=3)
    await ann.says("b", repeat=3)
    assert ran == ["start", "ab"]
    bot.expect("First?", "Second?")
    bot.expect_nothing()


async def test_a_retry_after_a_passing_outage_runs_the_failed_step_again(bot):
    new = App("new")
    down = True

    async def order(item: str) -> str:
        if down:
            raise ConnectionError("the kitchen does not answer")
        return f"{item} is coming"

    @new.command("go")
    async def go(chat: Chat) -> None:
        item = await chat.ask("What?")
        await chat.say("A moment ...")
        await chat.say(await chat.run(order, item))

    await bot.replace_app(new)
    ann = bot.user()
    await ann.says("/go")
    await ann.says("tea")
    bot.expect("What?", "A moment ...", "Sorry")
    bot.expect_failure("the kitchen does not answer")
    down = False
    await _retry(bot, ann)
    bot.expect("tea is coming")
    bot.expect_nothing()
