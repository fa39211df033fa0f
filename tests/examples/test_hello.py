"""The greeter, played by scripted users."""

import pytest

from legato.testing.script import Bot

pytestmark = pytest.mark.legato_app("examples/hello.py")


@pytest.mark.parametrize("text", ["!hello", "/hello", "!HELLO there"])
async def test_a_greeting_is_answered_by_name(bot: Bot, text: str) -> None:
    await bot.user("Viktor").says(text)
    assert bot.expect("hello").text == "hello Viktor!"
    bot.expect_nothing()


async def test_only_the_command_is_answered(bot: Bot) -> None:
    await bot.user("Viktor").says("hello")
    bot.expect_nothing()


async def test_in_a_room_everybody_is_greeted_for_themselves(bot: Bot) -> None:
    room = bot.group("room")
    await bot.user("Viktor").says("!hello", in_=room)
    await bot.user("Ann").says("!hello", in_=room)
    bot.expect("hello Viktor!", "hello Ann!")
