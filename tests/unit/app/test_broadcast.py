"""One message to many."""

import pytest

from legato import App
from legato.abc import Limits
from legato.errors import Misuse
from legato.model.events import Address

app = App("news")


def _people(count: int) -> list[Address]:
    return [Address("test", "bot", str(n), str(n)) for n in range(count)]


async def test_everybody_gets_it_once_however_often_it_is_begun(bot):
    await bot.conversations()
    seen: list[int] = []
    people = _people(250)
    for _ in range(2):
        await bot.repeat(lambda: bot.app.broadcast(people, "News!", id="n1", progress=seen.append))
    assert sorted(s.place.chat for s in bot.platform.shown) == sorted(p.chat for p in people)
    assert list(dict.fromkeys(seen)) == [90, 180, 250]
    await bot.repeat(lambda: bot.app.broadcast(people[:1], "More!", id="n2"))
    assert bot.platform.shown[-1].message.text == "More!"


@pytest.mark.legato_modes("warm", "cold")  # a process that dies forgets what it has sent
async def test_it_keeps_to_the_bulk_limit_while_answers_do_not_wait(bot):
    bot.platform.limits = Limits(bulk=(1, 1, 1))
    await bot.conversations()
    await bot.repeat(lambda: bot.app.broadcast(_people(5), "News!", id="n3"))
    assert len(bot.platform.shown) == 1
    await bot.user("Ann").says("/help")
    assert bot.platform.shown[-1].message.text.startswith("/help")
    await bot.advance(seconds=10)
    assert len(bot.platform.shown) == 6


@pytest.mark.parametrize("who", ["1001", "telegram:4200:7:7:"])
async def test_who_is_no_chat_of_a_bot_that_runs_here_is_named(bot, who):
    await bot.conversations()
    with pytest.raises(Misuse, match=rf"'{who}' is no chat.id of a bot that runs here.*test:bot"):
        await bot.app.broadcast(["test:bot:7:7:", who], "News!", id="n4")
    bot.expect_nothing()
