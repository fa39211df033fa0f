"""A deployment that fails leaves the bot as it was, on a cloud of this machine: its version, its code and its secrets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from legato.testing.fake_telegram import FakeTelegram
from tests.integration.aws_kit import PLAIN, Account
from tests.servers import Ministack

BOT = """
from legato import App, Chat

app = App("adder")


@app.command("start")
async def start(chat: Chat) -> None:
    await chat.say("{said}")
"""
BROKEN = """
import sys
from legato.cli.main import main
from legato.deploy.aws import deploying

right = deploying.template


def broken(wanted):
    found = right(wanted)
    allow = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [allow]}
    policy = {"PolicyName": "x", "Roles": ["nobody"], "PolicyDocument": document}
    found["Resources"]["Broken"] = {"Type": "AWS::IAM::Policy", "Properties": policy, "DependsOn": "Live"}
    return found


deploying.template = broken
sys.exit(main())
"""
"""A command line whose stacks fail when the alias has been moved already."""
WITHOUT_PIP = "import sys; sys.modules['pip'] = None\n"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ministack]:
    """All services of one."""
    with Ministack("") as server:
        yield server


@pytest.mark.timeout(300)
async def test_a_deployment_that_fails_leaves_the_version_and_the_secrets_of_before(
    cloud: Ministack, tmp_path: Path
) -> None:
    file = tmp_path / "bot.py"
    async with FakeTelegram() as telegram:
        account = Account(cloud, telegram, file)
        try:
            account.environment["TELEGRAM_SECRET"] = "first"
            for said in ("one", "two"):
                account.edit(BOT.format(said=said))
                await account.deploy("--schedule", "off")
            await account.legato("rollback")
            shown = await account.deploy("--schedule", "off", "--diff")
            assert shown.strip() == "live    version 2 again, after a rollback to 1"
            sound = account.program

            account.edit(BOT.format(said="three"))
            account.environment["TELEGRAM_SECRET"] = "second"
            broken = tmp_path / "broken.py"
            broken.write_text(BROKEN if sound == PLAIN else WITHOUT_PIP + BROKEN)
            account.program = (str(broken),)
            refused = await account.deploy("--schedule", "off", code=2)

            assert "UPDATE_ROLLBACK_COMPLETE: Broken: " in refused
            assert "version 1 is live, as it was" in refused
            assert await account.live() == 1
            await _check(cloud, telegram, "one", secret="first")

            account.program = sound
            del account.environment["TELEGRAM_SECRET"]  # what was stored stays
            await account.deploy("--schedule", "off")
            await _check(cloud, telegram, "three", secret="second")
            await account.legato("rollback", "--to", "1")
            await _check(cloud, telegram, "one", secret="first")
        finally:
            account.close()


async def _check(cloud: Ministack, telegram: FakeTelegram, said: str, secret: str) -> None:
    """Somebody is answered, by a process of the function that starts now and reads its secrets."""
    for process in psutil.Process(cloud.pid).children(recursive=True):
        process.kill()
    assert telegram.called("setWebhook")[-1].params["secret_token"] == secret
    ann = telegram.user("Ann")
    ann.sends("/start")
    await ann.gets(said, timeout_s=60)
