"""Plays the conversations that stand in the documentation against the App beside them.

    Ann: /size                    she writes
    Bot: Which size? [S] [M]      the bot answers, with these buttons
    Ann: [S]                      she presses one
    (20 seconds pass)             time goes by
    (kill -9)                     the process dies and starts again
    (signal paid 17)              an outside event with a JSON value

Every fenced block of text that begins with somebody speaking is one. Further lines of a message are
set in. Each is played warm, cold, and with a crash after every commit.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta

from legato import App, Message
from legato.testing.people import Person
from legato.testing.script import MODES, Bot
from tests.repo.files import ROOT

BLOCK = re.compile(r"^```text\n(\w+: .*?)^```$", re.DOTALL | re.MULTILINE)
LINE = re.compile(r"^(?:\((.+)\)|(\w+): (.*))$")


def play(page: str, app: App, *headings: str) -> None:
    """Plays the transcripts of `page` (only those below `headings`, if given) against `app`.

    Raises:
        AssertionError: The bot says something else.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    parts = [_below(text, heading) for heading in headings] or [text]
    found = [transcript for part in parts for transcript in BLOCK.findall(part)]
    assert found, f"{page} holds no transcript there"
    for transcript in found:
        lines = list(_lines(transcript))

        async def story(bot: Bot, lines: list[str] = lines) -> None:
            await _follow(bot, lines)

        in_all_modes(app, story)


def _below(text: str, heading: str) -> str:
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"there is no heading {heading!r}"
    return rest.partition(f"\n{heading.split(maxsplit=1)[0]} ")[0]


def in_all_modes(app: App, story: Callable[[Bot], Awaitable[None]]) -> None:
    """Runs `story` with a bot in each mode."""
    for mode in MODES:
        asyncio.run(_told(Bot(app, mode), story))


async def _told(bot: Bot, story: Callable[[Bot], Awaitable[None]]) -> None:
    try:
        await story(bot)
    except BaseException:
        bot.abandon()
        raise
    finally:
        await bot.close()


def _lines(transcript: str) -> Iterator[str]:
    """The transcript's entries; lines that are set in belong to the one before."""
    entry = ""
    for line in transcript.splitlines():
        if entry and line.startswith(" "):
            entry += "\n" + line.strip()
            continue
        if entry:
            yield entry
        entry = line
    yield entry


async def _follow(bot: Bot, lines: list[str]) -> None:
    for line in lines:
        match = re.fullmatch(LINE, line.partition("\n")[0])
        assert match, f"no line of a transcript: {line!r}"
        if match[2] == "Bot":
            said = _shown(bot.expect(""))
            assert said == line.removeprefix("Bot: "), (
                f"the page has {line!r}, the bot says {said!r}"
            )
            continue
        bot.expect_nothing()
        if match[1]:
            await _happen(bot, match[1])
        else:
            await _speak(bot.user(match[2]), line.partition(": ")[2])
    bot.expect_nothing()


async def _speak(person: Person, text: str) -> None:
    if text.startswith("[photo]"):
        await person.sends_photo(text.removeprefix("[photo]").strip())
    elif re.fullmatch(r"\[.+\]", text):
        await person.presses(text[1:-1])
    else:
        await person.says(text)


async def _happen(bot: Bot, what: str) -> None:
    if what == "kill -9":
        await bot.crash()
    elif what.startswith("signal "):
        _, name, value = what.split(" ", 2)
        assert await bot.signal(bot.user("Ann"), name, json.loads(value))
    else:
        number, unit, passes = what.split(" ")
        assert passes.startswith("pass"), what
        await bot.advance(timedelta(**{unit.rstrip("s") + "s": float(number)}))


def _shown(message: Message) -> str:
    """A message as transcripts write it."""
    media = f"[{message.media.kind}] " if message.media is not None else ""
    buttons = "".join(f" [{button.text}]" for row in message.buttons for button in row)
    return f"{media}{message.text}{buttons}"
