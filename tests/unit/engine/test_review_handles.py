"""Changing messages whose handle is gone when the segment is committed."""

from legato import App, Chat

app = App("handles")


async def flash(chat: Chat) -> None:
    message = await chat.say("now you see me")
    await message.delete()


@app.command("flash")
async def flashing(chat: Chat) -> None:
    await flash(chat)
    await chat.ask("Seen?")


async def test_a_message_deleted_by_a_helper_that_returned_is_gone(bot):
    await bot.user().says("/flash")
    bot.expect("Seen?")


@app.command("over")
async def over(chat: Chat) -> None:
    message = await chat.say("one")
    await message.edit("two")


async def test_an_edit_right_before_the_end_is_made(bot):
    await bot.user().says("/over")
    bot.expect("two")


@app.command("answer")
async def answer(chat: Chat) -> None:
    await chat.say("a reply", reply_to=await chat.say("first"))


async def test_a_reply_to_a_message_just_said_points_at_it(bot):
    await bot.user().says("/answer")
    bot.expect("first", "a reply")
    assert bot.platform.shown[0].id


@app.command("menu")
async def menu(chat: Chat, round: int = 0) -> None:
    shown = await chat.say(f"menu {round}")
    await chat.ask("What?")
    await shown.edit(f"closed {round}")
    await chat.goto(menu, round=round + 1)


async def test_an_edit_right_before_goto_reaches_the_message_of_the_old_epoch(bot):
    ann = bot.user()
    await ann.says("/menu")
    await ann.says("x")
    await ann.says("y")
    texts = [shown.message.text for shown in bot.platform.shown]
    assert texts == ["closed 0", "What?", "closed 1", "What?", "menu 2", "What?"]
