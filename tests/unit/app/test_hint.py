"""Whoever writes a command that there is not is told so, where nobody else is disturbed."""

import pytest

from legato import App, Chat

app = App("shop")


@app.command("buy", only="private")
async def buy(chat: Chat) -> None:
    await chat.say(f"One {await chat.ask('What?')}.")


@app.command("nap")
async def nap(chat: Chat) -> None:
    await chat.sleep(60)
    await chat.say("Awake.")


@app.command("vote", only="groups")
async def vote(chat: Chat) -> None:
    await chat.say("Vote!")


UNKNOWN = "I do not know /foo. /help lists what I can do."


async def test_an_unknown_command_is_named_and_help_is_pointed_to(bot):
    ann = bot.user()
    await ann.says("/foo bar", repeat=2)
    bot.expect(UNKNOWN)
    await ann.says("!Foo")
    bot.expect("I do not know !Foo. !help lists")
    await ann.says("hello")
    await ann.sends_photo()
    await ann.edits("/foo")
    await ann.says("/vote")  # there is one, but not here
    bot.expect_nothing()
    assert await bot.conversations() == []


async def test_a_question_takes_it_for_an_answer_and_a_sleeping_dialog_sleeps_on(bot):
    ann = bot.user()
    await ann.says("/buy")
    await ann.says("/foo")
    bot.expect("What?", "One /foo.")
    await ann.says("/nap")
    await ann.says("/foo")
    await ann.says("thanks")
    bot.expect(UNKNOWN)
    await bot.advance(seconds=60)
    bot.expect("Awake.")


async def test_in_a_group_nothing_is_said(bot):
    ann, room = bot.user(), bot.group("room")
    await ann.says("/foo", in_=room)
    await ann.joins(room)
    bot.expect_nothing()


@pytest.mark.parametrize("hint", [False, ""])
async def test_it_can_be_off(bot, hint):
    new = App("new", hint=hint)
    new.command("buy")(buy)
    await bot.replace_app(new)
    await bot.user().says("/foo")
    bot.expect_nothing()


async def test_a_text_of_its_own_answers_everything_that_nobody_takes(bot):
    new = App("new", hint="Write /buy.")
    new.command("buy")(buy)
    new.command("nap")(nap)
    await bot.replace_app(new)
    ann = bot.user()
    await ann.says("/foo")
    await ann.says("hello", repeat=2)
    await ann.sends_photo()
    bot.expect("Write /buy.", "Write /buy.")
    await ann.says("/nap")
    await ann.says("thanks")
    await ann.says("/foo")
    bot.expect("Write /buy.")
    bot.expect_nothing()


async def test_without_help_nothing_points_there(bot):
    new = App("new", help=False)
    new.command("buy")(buy)
    await bot.replace_app(new)
    await bot.user().says("/help")
    bot.expect("I do not know /help.")
    assert bot.transcript == ["I do not know /help."]


async def test_a_handler_for_everything_goes_before(bot):
    new = App("new", hint="Never.")

    @new.message()
    async def echo(chat: Chat) -> None:
        await chat.say(chat.message.text)

    await bot.replace_app(new)
    ann = bot.user()
    await ann.says("/foo")
    await ann.says("hello")
    bot.expect("/foo", "hello")
