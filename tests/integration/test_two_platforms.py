"""The same bots on Telegram and on Twitch: whoever talks with them cannot tell the difference."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from legato import App
from legato.deploy.loader import load_app
from legato.deploy.serving import bound
from legato.stores.sqlite import SQLiteStore
from legato.testing.fake_telegram import FakeTelegram
from legato.testing.fake_twitch import FakeTwitch
from tests.integration.lives import MODES, WAYS, Lives, Side, Skips, living, side
from tests.integration.run_kit import EXAMPLES, TOKEN, adder, environment, running
from tests.integration.twitch_bot import KEY, connected, log_in

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


# -- both at once ----------------------------------------------------------------------------------

SAY = "/helix/chat/messages"


async def logged_in(twitch: FakeTwitch, folder: Path) -> str:
    """The address of a store in which the bot's account is."""
    store = SQLiteStore(folder / "both.db")
    await store.open()
    try:
        await log_in(twitch, store)
    finally:
        await store.close()
    return f"sqlite:///{folder / 'both.db'}"


def served() -> dict[str, str]:
    """An address at which a process can be reached."""
    with bound("127.0.0.1", 0) as probe:
        at = f"127.0.0.1:{probe.getsockname()[1]}"
    return {"LEGATO_LISTEN": at, "LEGATO_PUBLIC_URL": f"http://{at}"}


@pytest.mark.parametrize("transport", ["irc", "eventsub"])
async def test_one_process_serves_both_at_once_and_ends_with_nothing_left_to_say(
    tmp_path: Path, transport: str
) -> None:
    async with FakeTelegram(token=TOKEN) as telegram, FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        ann, bob = telegram.user("Ann"), twitch.viewer("Bob")
        store = await logged_in(twitch, tmp_path)
        env = environment(telegram, LEGATO_STORE=store, LEGATO_KEY=KEY)
        env |= twitch.environment(transport)
        webhooks = served() if transport == "eventsub" else {}
        async with running(adder(tmp_path), folder=tmp_path, env=env | webhooks) as bot:
            await connected(twitch, transport, 20)
            ann.sends("/start")
            bob.says("!start")
            for hers, his, question in (
                ("1", "10", "First number?"),
                ("2", "20", "Second number?"),
            ):
                await ann.gets(question)
                await bob.gets(question)
                if question.startswith("Second"):
                    telegram.slow(0.3, method="sendMessage")
                    twitch.slow(0.3, SAY)
                ann.sends(hers)
                bob.says(his)
            await telegram.wait_for(lambda: len(telegram.called("sendMessage")) == 3)
            if transport == "eventsub":
                await twitch.wait_for(lambda: len(twitch.called(SAY)) == 3)
            else:
                await bob.gets("Sum: 30")

            assert await bot.ends(signal.SIGTERM) == 0
            assert "stopped; nothing is left" in bot.output
        assert ann.sees == ["First number?", "Second number?", "Sum: 3"]
        assert bob.sees == ["First number?", "Second number?", "Sum: 30"]
        assert twitch.violations == []
