"""The quiz, played by a room of scripted users."""

import pytest

from legato.testing.script import Bot

pytestmark = pytest.mark.legato_app("examples/quiz.py")


async def test_the_first_right_answer_wins_the_point(bot: Bot) -> None:
    room = bot.group()
    mod = bot.user("Mod", username="mod", roles=("moderator",))
    ann, bob = bot.user("Ann", username="ann"), bot.user("Bob", username="bob")
    await mod.says("!quiz", in_=room)
    bot.expect("Question 1 of 3: What is the capital of Latvia?")
    await ann.says("Vilnius?", in_=room)
    await bob.says("it must be RIGA", in_=room)
    await ann.says("riga!", in_=room)
    bot.expect("Riga! @bob was first.", "Question 2")
    await ann.says("14", in_=room)
    await ann.says("4", in_=room)
    bot.expect("Four! @ann was first.", "Question 3")
    await ann.says("Jupiter", in_=room)
    bot.expect("Jupiter! @ann was first.")
    assert bot.expect("The end.").text == "The end. @ann: 2, @bob: 1"
    bot.expect_nothing()


async def test_each_question_has_its_own_time(bot: Bot) -> None:
    room = bot.group()
    mod = bot.user("Mod", roles=("broadcaster",))
    await mod.says("!quiz", in_=room)
    bot.expect("Question 1")
    await bot.advance(seconds=19)
    bot.expect_nothing()
    await bot.advance(seconds=1)
    bot.expect("Nobody knew: Riga.", "Question 2")
    await mod.says("four", in_=room)
    bot.expect("Four! Mod was first.", "Question 3")
    await bot.advance(seconds=20)
    bot.expect("Nobody knew: Jupiter.", "The end. Mod: 1")


async def test_nobody_may_know_anything(bot: Bot) -> None:
    room = bot.group()
    await bot.user("Mod", roles=("moderator",)).says("!quiz", in_=room)
    await bot.advance(minutes=1)
    bot.expect("Question 1", "Nobody", "Question 2", "Nobody", "Question 3", "Nobody", "Next time")


async def test_only_moderators_start_and_stop_it(bot: Bot) -> None:
    room = bot.group()
    ann, mod = bot.user("Ann"), bot.user("Mod", roles=("moderator",))
    await ann.says("!quiz", in_=room)
    bot.expect_nothing()
    await mod.says("!quiz", in_=room)
    bot.expect("Question 1")
    for command in ("!quiz", "!stop", "!cancel"):
        await ann.says(command, in_=room)
    bot.expect_nothing()
    await mod.says("!stop", in_=room)
    bot.expect("The quiz is over.")
    await ann.says("riga", in_=room)
    bot.expect_nothing()


async def test_two_rooms_play_for_themselves(bot: Bot) -> None:
    here, there = bot.group("here"), bot.group("there")
    mod = bot.user("Mod", roles=("moderator",))
    await mod.says("!quiz", in_=here)
    await mod.says("!quiz", in_=there)
    bot.expect("Question 1", "Question 1")
    await mod.says("riga", in_=there)
    await mod.says("four", in_=here)
    bot.expect("Riga! Mod was first.", "Question 2")
    bot.expect_nothing()
