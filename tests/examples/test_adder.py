"""The adder, played by scripted users."""

import pytest

from legato.testing.script import Bot

pytestmark = pytest.mark.legato_app("examples/adder.py")


async def test_two_numbers_are_added(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/start")
    bot.expect("First number?")
    await ann.says("2")
    bot.expect("Second number?")
    await ann.says("3")
    bot.expect("Sum: 5")
    bot.expect_nothing()


async def test_what_is_no_number_is_asked_for_again(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/start")
    bot.expect("First number?")
    for text in ("two", "12abc", "1.5", ""):
        await ann.says(text)
        bot.expect("That is not a number.")
    await ann.says(" -7 ")
    await ann.says("7")
    bot.expect("Second number?", "Sum: 0")


async def test_twenty_seconds_of_silence_end_the_dialog(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/start")
    await ann.says("2")
    bot.expect("First number?", "Second number?")
    await bot.advance(seconds=19)
    bot.expect_nothing()
    await bot.advance(seconds=1)
    bot.expect("You went quiet. /start to begin again.")
    await ann.says("3")
    bot.expect_nothing()


async def test_repeated_updates_are_applied_once(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/start", repeat=3)
    await ann.says("2", repeat=3)
    await ann.says("3", repeat=3)
    bot.expect("First number?", "Second number?", "Sum: 5")
    bot.expect_nothing()


async def test_two_people_do_not_meet(bot: Bot) -> None:
    ann, bob = bot.user("Ann"), bot.user("Bob")
    await ann.says("/start")
    await bob.says("/start")
    await ann.says("1")
    await bob.says("10")
    await ann.says("2")
    await bob.says("20")
    bot.expect("First", "First", "Second", "Second", "Sum: 3", "Sum: 30")


async def test_a_start_in_the_middle_begins_again(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/start")
    await ann.says("1")
    await ann.says("!start")
    await ann.says("5")
    await ann.says("6")
    bot.expect("First", "Second", "First", "Second", "Sum: 11")
