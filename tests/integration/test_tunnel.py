"""`legato run --tunnel-by`: the webhook leads through a tunnel, and the tunnel ends with the bot."""

import asyncio
import shlex
import signal
import sys
from pathlib import Path

from legato.deploy.serving import bound
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.run_kit import TOKEN, adder, environment, running

PROGRAM = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path("ended").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
print(f"https://port{sys.argv[1]}.example.org", flush=True)
time.sleep(600)
"""


async def test_the_webhook_is_set_to_the_tunnel_which_ends_with_the_bot(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    how = f"{shlex.quote(sys.executable)} program.py {{port}}"
    with bound("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    async with FakeTelegram(token=TOKEN) as telegram:
        env = environment(telegram)
        flags = ("--tunnel-by", how, "--listen", f"127.0.0.1:{port}")
        async with running(adder(tmp_path), *flags, folder=tmp_path, env=env) as bot:
            await bot.says("through a server of somebody else's")
            await telegram.wait_for(lambda: bool(telegram.called("setWebhook")))
            url = telegram.called("setWebhook")[0].params["url"]
            assert url == f"https://port{port}.example.org/telegram"
            assert await bot.ends(signal.SIGINT) == 0
    assert (tmp_path / "ended").exists()


async def test_without_a_program_or_a_platform_it_says_what_to_do(tmp_path: Path) -> None:
    async with FakeTelegram(token=TOKEN) as telegram:
        for env, flag, cure in (
            (environment(telegram, PATH=str(tmp_path)), "--tunnel", "install cloudflared"),
            (environment(), "--tunnel", "set TELEGRAM_TOKEN"),
            (environment(telegram, LEGATO_LISTEN="127.0.0.1:0"), "--tunnel", "127.0.0.1:8080"),
            (environment(telegram, LEGATO_PUBLIC_URL="https://a.org"), "--tunnel", "take"),
        ):
            async with running(adder(tmp_path), flag, folder=tmp_path, env=env) as bot:
                async with asyncio.timeout(60):
                    assert await bot.ends() != 0
                assert cure in bot.output
