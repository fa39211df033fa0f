"""`make demo`: a dialog that survives kill -9, in ten seconds and without any input.

A fake Telegram runs in this process, and the adder in one of its own. Between the two questions the
bot is killed with SIGKILL, and started again. Ends with 0 only if the sum is right.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from legato.testing.fake_telegram import FakeTelegram

ADDER = Path(__file__).with_name("adder.py")
PATIENCE_S = 60


def tell(who: str, text: str) -> None:
    print(f"{who:>8}  {text}", flush=True)


@asynccontextmanager
async def running_bot(
    telegram: FakeTelegram, store: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`legato run examples/adder.py`, talking to the fake Telegram."""
    bot = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "legato.cli.main",
        "run",
        str(ADDER),
        env={
            **os.environ,
            "TELEGRAM_TOKEN": telegram.token,
            "TELEGRAM_API": telegram.api,
            "LEGATO_STORE": f"sqlite:///{store}",
        },
        stderr=asyncio.subprocess.DEVNULL,
    )
    tell("", f"-- legato run adder.py: process {bot.pid}")
    try:
        yield bot
    finally:
        if bot.returncode is None:
            bot.send_signal(signal.SIGTERM)
        await bot.wait()


async def demo() -> int:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "demo.db"
        async with FakeTelegram() as telegram:
            ann = telegram.user("Ann")

            def says(text: str) -> None:
                tell("Ann:", text)
                ann.sends(text)

            async def hears() -> str:
                message = await ann.gets(timeout_s=PATIENCE_S)
                tell("bot:", message.text)
                return message.text

            async with running_bot(telegram, store) as bot:
                says("/start")
                await hears()
                says("two")
                await hears()
                says("2")
                await hears()
                await asyncio.sleep(0.5)  # a kill within the same millisecond may repeat a message
                bot.send_signal(signal.SIGKILL)
                await bot.wait()
                tell("", f"-- kill -9 {bot.pid}: the process is gone, and everything it knew")
            says("3")
            async with running_bot(telegram, store):
                while (answer := await hears()) == "Second number?":
                    pass  # it was killed between the sending and the mark that it was sent
    right = answer == "Sum: 5"
    tell("", "-- it went on where it stood" if right else "-- that is wrong")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(demo()))
