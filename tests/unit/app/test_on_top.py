"""A dialog on top of another one: whatever ends it, the one below asks its question again, once."""

from legato import App, Chat
from legato.testing.script import Bot

app = App("notes")


@app.command("start")
async def start(chat: Chat) -> None:
    await chat.say(f"Hello {await chat.ask('Name?')}")


@app.command("note", anywhere=True)
async def note(chat: Chat) -> None:
    await chat.say(f"Noted: {await chat.ask('What?', timeout=20)}")


async def test_its_own_last_answer_ends_it(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/start")
    await ann.says("/note", repeat=2)
    await ann.says("milk", repeat=2)
    bot.expect("Name?", "What?", "Noted: milk", "Name?")
    await ann.says("Ann")
    bot.expect("Hello Ann")
    bot.expect_nothing()


async def test_its_deadline_ends_it(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/start")
    await ann.says("/note")
    await bot.advance(seconds=20)
    bot.expect("Name?", "What?", "Name?")
    await ann.says("Ann")
    bot.expect("Hello Ann")


async def test_another_one_takes_its_place_and_ends(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/start")
    await ann.says("/note")
    await ann.says("/note")
    await ann.says("milk")
    bot.expect("Name?", "What?", "What?", "Noted: milk", "Name?")
    bot.expect_nothing()


async def test_cancelled_with_the_one_below_nothing_is_asked(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/start")
    await ann.says("/note")
    await ann.says("/cancel")
    bot.expect("Name?", "What?", "Cancelled.")
    bot.expect_nothing()
    assert await bot.conversations() == []


async def test_alone_it_is_no_dialog_on_top_however_often_it_comes(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/note", repeat=3)
    await ann.says("milk", repeat=3)
    bot.expect("What?", "Noted: milk")
    bot.expect_nothing()
