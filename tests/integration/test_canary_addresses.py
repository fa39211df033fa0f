"""A password in the address of a server shows in no log and no error, whatever is wrong with the address."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.listen_kit import command, echo
from tests.integration.run_kit import SECRET, TOKEN

QUEUE = "amqp://bot:canary-of-a-broker@127.0.0.1:1/"
STORE = "postgresql://bot:canary-of-a-store@127.0.0.1:1/bot"
ENV = {"TELEGRAM_TOKEN": TOKEN, "TELEGRAM_SECRET": SECRET, "LEGATO_LISTEN": "127.0.0.1:0"}


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("worker", "--queue", QUEUE, "--store", STORE), "127.0.0.1:1"),
        (("gateway", "--queue", QUEUE, "--store", STORE), "127.0.0.1:1"),
        (("listen", "--to", QUEUE, "--store", STORE), "127.0.0.1:1"),
        (("worker", "--queue", QUEUE.replace("amqp", "ampq"), "--store", STORE), "LEGATO_QUEUE"),
        (("gateway", "--queue", QUEUE.replace(":1/", ":x/"), "--store", STORE), "legato"),
        (("worker", "--queue", QUEUE, "--store", STORE.replace("sql", "sqk")), "LEGATO_STORE"),
        (("worker", "--queue", QUEUE, "--store", STORE.replace(":1/", ":x/")), "legato"),
        (("run", "--store", STORE), "127.0.0.1:1"),
        (("run", "--store", STORE.replace("-of-a", "/of-a")), "%2F"),
        (("run", "--store", STORE.replace("canary-of-a", "1/canary-of-a")), "%2F"),
        (("run", "--store", STORE.replace("-store", "#store")), "%23"),
        (("run", "--store", STORE.replace("-store", "?x=store")), "%3F"),
        (("worker", "--queue", QUEUE.replace("-of-a", "/of-a"), "--store", STORE), "%2F"),
    ],
)
async def test_a_password_in_an_address_does_not_show(
    tmp_path: Path, form: str, arguments: tuple[str, ...], said: str
) -> None:
    name, *flags = arguments
    env = ENV | {"LEGATO_LOG": form}

    async with command(name, echo(tmp_path), *flags, "--verbose", folder=tmp_path, env=env) as bot:
        await bot.says(said)
        if bot.process.returncode is None:
            bot.process.kill()
        await bot.ends()  # looks for canaries

    assert said in bot.output
