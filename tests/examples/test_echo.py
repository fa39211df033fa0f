"""The echo, played by scripted users."""

from pathlib import Path

import pytest

from legato.testing.script import Bot

pytestmark = pytest.mark.legato_app("examples/echo.py")


async def test_whatever_is_said_comes_back(bot: Bot) -> None:
    ann = bot.user("Ann")
    for text in ("hello", "two\nlines", "/start", "concatenate", "🐈 <b>&amp;"):
        await ann.says(text)
        assert bot.expect(text).text == text
    bot.expect_nothing()
    assert await bot.conversations() == []


def content(path: str) -> bytes:
    return Path(path).read_bytes()


@pytest.mark.parametrize("text", ["cat", "cats", "Cats"])
async def test_who_asks_for_a_cat_gets_a_picture(bot: Bot, text: str) -> None:
    await bot.user("Ann").says(text)
    picture = bot.expect("Meow!").media
    bot.expect_nothing()
    assert picture is not None
    assert picture.kind == "photo"
    assert content(picture.path).startswith(b"\x89PNG")


async def test_pictures_and_files_come_back_as_they_are(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.sends_photo("look")
    photo = bot.expect("look").media
    await ann.sends_file("a.txt")
    file = bot.expect("").media
    assert photo is not None
    assert photo.id == "photo-1"
    assert file is not None
    assert file.id == "file-1"
    await ann.sends_location(57.0, 24.0)
    bot.expect_nothing()


async def test_an_edit_is_not_echoed(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("hello")
    await ann.edits("hallo")
    bot.expect("hello")
    bot.expect_nothing()
