"""The same bots on Telegram and on Twitch: whoever talks with them cannot tell the difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from legato import App
from legato.deploy.loader import load_app
from tests.integration.lives import MODES, WAYS, Lives, Side, Skips, living, side
from tests.integration.run_kit import EXAMPLES

SILENCE_S = 20.0
SILENCE = ""
Talk = tuple[tuple[str, str], ...]
"""What Ann says, or that she says nothing; and what the bot says then."""

ADDER: Talk = (
    ("!start", "First number?"),
    ("two", "That is not a number."),
    ("2", "Second number?"),
    (SILENCE, "You went quiet. /start to begin again."),
    ("/start", "First number?"),
    ("-7", "Second number?"),
    ("8", "Sum: 1"),
)
HELLO: Talk = (("!hello", "hello Ann!"), ("/hello", "hello Ann!"))
TALKS = {"adder": ADDER, "hello": HELLO}


def example(name: str) -> App:
    return load_app(str(Path(EXAMPLES, f"{name}.py")))


async def talk(bot: Lives, there: Side, clock: Skips, said: Talk) -> None:
    """Says it all, each thing once the answer to the one before is there."""
    for text, answer in said:
        await bot.ready()
        await there.hears()
        if text == SILENCE:
            clock.wall_s += SILENCE_S
        else:
            there.says(text)
        assert await there.gets() == answer
    await bot.ready()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TALKS)
async def test_the_transcript_is_the_same_by_every_way(name: str, way: str, mode: str) -> None:
    clock, said = Skips(), TALKS[name]
    async with side(way, clock) as there, living(example(name), way, mode, there, clock) as bot:
        await talk(bot, there, clock, said)
        assert there.reads == [answer for _, answer in said]
        assert bot.deaths >= len(said) if mode == "crash" else bot.deaths == 0
