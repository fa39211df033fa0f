"""From `legato twitch login` to a bot that talks, and to the end of its account."""

import asyncio
import sys
import urllib.request
from pathlib import Path

from legato.testing.fake_twitch import FakeTwitch
from tests.integration.run_kit import adder, environment, running

KEY = "canary-passphrase-of-the-test"


async def logged_in(bot: Path, env: dict[str, str]) -> str:
    """Logs the bot in as a person does; returns what the command said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "legato.cli.main",
        *("twitch", "login", "--bot", bot.name, "--redirect", "http://localhost:0", "--no-browser"),
        cwd=bot.parent,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(30):
        while "http" not in said:
            said += (await process.stdout.readline()).decode()
        address = said[said.index("http") :].split()[0]
        await asyncio.to_thread(_visit, address)
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return said + out.decode()


def _visit(address: str) -> None:
    with urllib.request.urlopen(address, timeout=10) as response:
        assert response.status == 200


async def test_a_bot_that_is_logged_in_talks_until_its_account_is_lost(tmp_path: Path) -> None:
    bot = adder(tmp_path)
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        env = environment() | twitch.environment() | {"LEGATO_KEY": KEY}
        said = await logged_in(bot, env)
        assert f"logged in as {twitch.bot.login} (user id {twitch.bot.id})" in said
        assert "canary" not in said

        async with running(bot.name, folder=tmp_path, env=env) as process:
            await process.says("in Twitch chat as")
            await twitch.world.until(lambda: twitch.irc.joined(twitch.bot.login), 10)
            ann.says("!start")
            await ann.gets("First number?")
            twitch.auth.expire()
            twitch.irc.drop()  # the token is wanted again, and has to be renewed
            await twitch.world.until(lambda: twitch.auth.refreshed and twitch.irc.sessions, 10)
            await twitch.world.until(lambda: twitch.irc.joined(twitch.bot.login), 10)
            ann.says("2")
            await ann.gets("Second number?")
            ann.says("3")
            await ann.gets("Sum: 5")

            twitch.auth.forget(twitch.bot)
            twitch.irc.drop()

            assert await process.ends() == 2
            last = process.output.strip().splitlines()[-1]
            assert last.startswith(f"legato: Twitch does not accept the account {twitch.bot.login}")
            assert "`legato twitch login`" in last
        assert len(twitch.auth.refreshed) == 2  # once, and once more in vain
        tokens = [*twitch.auth.tokens, *(t.refresh for t in twitch.auth.tokens.values())]
        assert not any(token and token in process.output for token in tokens)
        assert twitch.violations == []


async def test_a_bot_that_nobody_logged_in_says_so_in_one_line(tmp_path: Path) -> None:
    bot = adder(tmp_path)
    async with FakeTwitch(second=0.01) as twitch:
        twitch.channel("Ronni")
        env = environment() | twitch.environment() | {"LEGATO_KEY": KEY}
        async with running(bot.name, folder=tmp_path, env=env) as process:
            assert await process.ends() == 2
        assert process.output.splitlines()[-1] == (
            "legato: no Twitch account is logged in: `legato twitch login`"
        )
