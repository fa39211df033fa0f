"""`legato listen --to https://...`: a bot whose updates come over a connection, behind a webhook."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from legato.app.settings import load_settings
from legato.deploy.clock import SystemClock
from legato.deploy.loader import load_app
from legato.deploy.parts import make_platforms
from legato.stores.memory import MemoryStore
from legato.stores.sqlite import SQLiteStore
from legato.testing.fake_telegram import FakeTelegram
from legato.testing.fake_twitch import FakeTwitch
from tests.integration.listen_kit import command, echo, served
from tests.integration.test_twitch_function import function_url
from tests.integration.twitch_bot import KEY, connected, log_in, until

SECRET = "canary-of-the-secret"


def environment(telegram: FakeTelegram, **more: str) -> dict[str, str]:
    return {"TELEGRAM_TOKEN": telegram.token, "TELEGRAM_API": telegram.api} | more


async def test_people_on_telegram_talk_with_a_bot_behind_a_webhook(tmp_path: Path) -> None:
    bot = echo(tmp_path)
    async with FakeTelegram(second=0.01) as telegram:
        env = environment(telegram, TELEGRAM_SECRET=SECRET)
        platforms = make_platforms(load_settings(environ=env), ("/",), SystemClock())
        async with (
            served(load_app(str(bot)), platforms, MemoryStore()) as (webhook, url),
            command("listen", bot, "--to", url, folder=tmp_path, env=env) as listener,
        ):
            await listener.says("no other process may listen")
            ann, bob = telegram.user("Ann"), telegram.user("Bob")
            for n in range(5):
                ann.sends(f"a{n}")
                bob.sends(f"b{n}")
                if n == 1:
                    webhook.down = True
                    await until(lambda: webhook.requests > 7, 30)
                    webhook.down = False
                    webhook.deaf = 3
            for n in range(5):
                assert (await ann.gets(timeout_s=30)).text == f"a{n}"
                assert (await bob.gets(timeout_s=30)).text == f"b{n}"
            assert await listener.ends(signal.SIGTERM) == 0
            assert [len(one.sees) for one in (ann, bob)] == [5, 5]
        assert "503" in listener.output


async def test_a_webhook_that_refuses_us_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    bot = echo(tmp_path)
    async with FakeTelegram(second=0.01) as telegram:
        env = environment(telegram, TELEGRAM_SECRET=SECRET)
        platforms = make_platforms(load_settings(environ=env), ("/",), SystemClock())
        ann = telegram.user("Ann")
        async with served(load_app(str(bot)), platforms, MemoryStore()) as (_, url):
            wrong = env | {"TELEGRAM_SECRET": "another"}
            async with command("listen", bot, "--to", url, folder=tmp_path, env=wrong) as one:
                ann.sends("hello")
                await one.says("HTTP 401: is the secret (or LEGATO_KEY) the same there?")
            async with command("listen", bot, "--to", url, folder=tmp_path, env=env):
                assert (await ann.gets()).text == "hello"


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        ((), {}, "say where updates go: --to amqp://"),
        (("--to", "nowhere"), {}, "LEGATO_QUEUE is no queue"),
        (("--to", "http://x"), {}, "set LEGATO_KEY or TELEGRAM_SECRET to the same value"),
        (("--to", "http://x"), {"LEGATO_KEY": "abc123"}, "LEGATO_KEY is too short"),
        (("--to", "http://x"), {"LEGATO_PUBLIC_URL": "https://x"}, "there is nothing to listen to"),
        (("--to", "http://x", "--heartbeat", "0"), {}, "--heartbeat is a number of seconds"),
        (("--to", "http://x"), {"TELEGRAM_TOKEN": ""}, "no platform has a token"),
    ],
)
async def test_what_cannot_work_is_said_in_one_line(
    arguments: tuple[str, ...], env: dict[str, str], said: str, tmp_path: Path
) -> None:
    bot = echo(tmp_path)
    token = {"TELEGRAM_TOKEN": "4200:canary-of-the-token"}
    async with command("listen", bot, *arguments, folder=tmp_path, env=token | env) as one:
        assert await one.ends() == 2
    assert one.output.startswith("legato: "), one.output
    assert said in one.output
    assert one.output.count("\n") == 1


@pytest.mark.parametrize("transport", ["irc", "irc-websocket", "eventsub-websocket"])
async def test_a_cloud_function_talks_on_twitch_by_a_listener(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = echo(tmp_path)
    store = f"sqlite:///{tmp_path}/bot.db"
    async with FakeTwitch(second=0.01) as twitch:
        room = twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        env = twitch.environment(transport) | {"LEGATO_KEY": KEY, "LEGATO_STORE": store}
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        account = SQLiteStore(f"{tmp_path}/bot.db", shared=True)
        await account.open()
        await log_in(twitch, account)
        await account.close()
        with function_url(load_app(str(bot))) as url:
            async with command("listen", bot, "--to", url, folder=tmp_path, env=env) as one:
                await connected(twitch, transport, 30)
                for text in ("one", "two", "three"):
                    ann.says(text)
                    assert (await ann.gets(timeout_s=30)).plain == text
                assert await asyncio.to_thread(lambda: room.texts[-1]) == "@ann three"
                assert await one.ends(signal.SIGTERM) == 0
        assert twitch.violations == []
