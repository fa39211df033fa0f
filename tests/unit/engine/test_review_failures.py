"""Bugs in a bot's code park a conversation, wherever they strike; nothing is lost, nothing hangs."""

import re

import pytest

from legato import App, Chat
from legato.errors import Unsupported
from legato.model.messages import Send
from legato.model.records import FAILED, HELD
from tests.unit.engine.test_changes import _retry

app = App("unused")


def quiz(*, bug: str = "") -> App:
    """One bot, with a bug in one of its places or without."""
    bot = App("quiz")

    @bot.command("go")
    async def go(chat: Chat) -> None:
        if bug == "start":
            raise RuntimeError("at the start")
        first = await chat.ask("First?", str, key="first")
        if bug == "middle":
            raise RuntimeError("in the middle")
        second = await chat.ask("Second?", str, key="second")
        await chat.say(f"{first} {second}")

    return bot


@pytest.mark.parametrize("bug", ["start", "middle"])
async def test_a_deployed_bug_that_strikes_in_a_replay_parks_and_a_retry_goes_on(bot, bug):
    bot.strict = False
    await bot.replace_app(quiz())
    ann = bot.user()
    await ann.says("/go")
    await ann.says("a")
    await bot.replace_app(quiz(bug=bug))
    await ann.says("b")
    bot.expect("First?", "Second?", "Sorry")
    bot.expect_failure("RuntimeError")
    assert (await bot.conversation(ann)).status == FAILED
    await bot.replace_app(quiz())
    await _retry(bot, ann)
    bot.expect("a b")
    bot.expect_nothing()


async def test_a_deployed_bug_parks_a_conversation_whose_timer_is_due(bot):
    def version(*, bug: bool) -> App:
        new = App("new")

        @new.command("go")
        async def go(chat: Chat) -> None:
            if bug:
                raise RuntimeError("new bug")
            await chat.sleep(60)
            await chat.say("awake")

        return new

    bot.strict = False
    await bot.replace_app(version(bug=False))
    ann = bot.user()
    await ann.says("/go")
    await bot.replace_app(version(bug=True))
    await bot.advance(seconds=60)
    bot.expect("Sorry")
    bot.expect_failure("new bug")
    await bot.replace_app(version(bug=False))
    await _retry(bot, ann)
    bot.expect("awake")


async def test_a_dialog_whose_arguments_no_longer_fit_is_parked(bot):
    def version(name: str) -> App:
        new = App("new")
        scope: dict = {"new": new, "Chat": Chat}
        exec(  # the same dialog with another parameter
            f"@new.message(r'^buy (?P<{name}>.+)$')\n"
            f"async def buy(chat, {name}):\n"
            f"    await chat.ask('How many?')\n"
            f"    await chat.say('thanks')\n",
            scope,
        )
        return new

    bot.strict = False
    await bot.replace_app(version("item"))
    ann = bot.user()
    await ann.says("buy tea")
    await bot.replace_app(version("thing"))
    await ann.says("3")
    bot.expect("How many?", "Sorry")
    bot.expect_failure("buy")
    await bot.replace_app(version("item"))
    await _retry(bot, ann)
    bot.expect("thanks")


@pytest.mark.parametrize("when", ["float('inf')", "'20'", "float('nan')", "1e300"])
async def test_a_timeout_that_is_no_duration_is_an_error_at_its_line(bot, when):
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        await chat.ask("First?")
        await chat.ask("Well?", timeout=eval(when))

    await bot.replace_app(new)
    ann = bot.user()
    await ann.says("/go")
    await ann.says("x")
    bot.expect("First?", "Sorry")
    assert "seconds" in bot.expect_failure("Misuse")


async def test_a_pattern_that_is_none_is_an_error_at_its_line(bot):
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        await chat.receive(pattern="(")

    await bot.replace_app(new)
    ann = bot.user()
    await ann.says("/go")
    bot.expect("Sorry")
    bot.expect_failure(re.error.__name__)


async def test_a_parser_with_a_bug_parks_the_conversation_and_keeps_the_answer(bot):
    def version(*, bug: bool) -> App:
        new = App("new")

        def size(text: str) -> str:
            return {"S": "small"}[text] if bug else text

        @new.command("go")
        async def go(chat: Chat) -> None:
            await chat.say(await chat.ask("Size?", size))

        return new

    await bot.replace_app(version(bug=True))
    ann = bot.user()
    await ann.says("/go")
    await ann.says("M")
    bot.expect("Size?", "Sorry")
    bot.expect_failure("KeyError")
    await bot.replace_app(version(bug=False))
    await _retry(bot, ann)
    bot.expect("M")


async def test_what_the_platform_cannot_show_parks_at_the_place_before_it(bot):
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        await chat.ask("First?", str, key="first")
        await chat.say("strange")
        await chat.ask("Second?", str, key="second")
        await chat.say("Done")

    await bot.replace_app(new)
    plain = bot.platform.render

    def render(out, place):
        if isinstance(out, Send) and out.message.text == "strange":
            raise Unsupported("no strange things here")
        return plain(out, place)

    bot.platform.render = render
    ann = bot.user()
    await ann.says("/go")
    await ann.says("a")
    bot.expect("First?", "Sorry")
    bot.expect_failure("no strange things here")
    bot.platform.render = plain
    await _retry(bot, ann)
    bot.expect("strange", "Second?")
    await ann.says("b")
    bot.expect("Done")


async def test_an_on_restart_with_a_bug_holds_the_conversation_and_keeps_the_answer(bot):
    def version(kind: type, **options) -> App:
        new = App("new")

        @new.command("go", **options)
        async def go(chat: Chat) -> None:
            await chat.say(str(await chat.ask("How many?", kind)))

        return new

    def on_restart(answers: dict) -> dict:
        raise RuntimeError("cannot begin anew")

    bot.strict = False
    await bot.replace_app(version(int))
    ann = bot.user()
    await ann.says("/go")
    await bot.replace_app(version(str, on_restart=on_restart))
    await ann.says("3")
    bot.expect("How many?")
    bot.expect_failure("cannot begin anew")
    assert (await bot.conversation(ann)).status == HELD
    await bot.replace_app(version(int))
    await _retry(bot, ann)
    bot.expect("3")


async def test_an_endless_loop_is_found_through_crashes_and_its_retry_begins_to_count_anew(bot):
    def version(*, mended: bool) -> App:
        new = App("new")

        @new.command("go")
        @new.dialog()
        async def around(chat: Chat, rounds: int = 0) -> None:
            if mended and rounds >= 150:
                await chat.ask("Enough?")
            await chat.goto(around, rounds=rounds + 1)

        return new

    await bot.replace_app(version(mended=False))
    ann = bot.user()
    await ann.says("/go")
    bot.expect("Sorry")
    bot.expect_failure("100 times chat.goto without a single wait")
    await bot.replace_app(version(mended=True))
    await _retry(bot, ann)
    bot.expect("Enough?")
