"""Commands in a room with many people: whose dialogs they end."""

import pytest

from legato import App, Cancelled, Chat

app = App("room")


@app.command("quiz", scope="chat")
async def quiz(chat: Chat) -> None:
    try:
        await chat.say(f"Right, {(await chat.ask('Capital of Latvia?'))}!")
    except Cancelled as error:
        await chat.say(f"No quiz, then ({error.reason}).")
        raise


@app.command("vote", scope="chat")
async def vote(chat: Chat) -> None:
    await chat.ask("Tea or milk?")


@app.command("order")
async def order(chat: Chat) -> None:
    try:
        await chat.say(f"{(await chat.ask('What?'))} it is.")
    except Cancelled as error:
        await chat.say(f"No order ({error.reason}).")
        raise


@app.command("hours")
async def hours(chat: Chat) -> None:
    await chat.say("9 to 5.")


@app.command("topic", scope="thread")
async def topic(chat: Chat) -> None:
    await chat.ask("Of what?")


@pytest.mark.parametrize("who", ["Ann", "Bob"])
async def test_somebodys_command_leaves_the_rooms_dialog_alone(bot, who):
    room = bot.group("room")
    await bot.user("Ann").says("/quiz", in_=room)
    await bot.user(who).says("/hours", in_=room)
    bot.expect("Capital", "9 to 5.")
    await bot.user(who).says("Riga", in_=room)
    bot.expect("Right, Riga!")


async def test_it_ends_the_persons_own_dialog(bot):
    room = bot.group("room")
    ann, bob = bot.user("Ann"), bot.user("Bob")
    await ann.says("/order", in_=room)
    await bob.says("/order", in_=room)
    await ann.says("/hours", in_=room)
    bot.expect("What?", "What?", "No order (replaced).", "9 to 5.")
    await bob.says("tea", in_=room)
    bot.expect("tea it is.")


async def test_a_command_for_the_whole_room_takes_the_place_of_the_rooms_dialog(bot):
    room = bot.group("room")
    await bot.user("Ann").says("/quiz", in_=room)
    await bot.user("Bob").says("/vote", in_=room, repeat=2)
    bot.expect("Capital", "No quiz, then (replaced).", "Tea or milk?")


async def test_cancel_ends_the_rooms_dialog_as_well(bot):
    room = bot.group("room")
    ann = bot.user("Ann")
    await ann.says("/quiz", in_=room)
    await ann.says("/order", in_=room)
    await ann.says("/cancel", in_=room)
    bot.expect("Capital", "What?", "No order (command).", "No quiz, then (command).", "Cancelled.")


async def test_between_two_a_command_ends_whatever_runs(bot):
    ann = bot.user("Ann")
    await ann.says("/quiz")
    await ann.says("/hours")
    bot.expect("Capital", "No quiz, then (replaced).", "9 to 5.")
