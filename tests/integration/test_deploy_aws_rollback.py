"""`legato deploy aws rollback` while people stand in the newer version's dialogs, on a cloud of this machine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.integration.aws_kit import Account
from tests.servers import Ministack

HEAD = """
from legato import App, Cancelled, Chat, Timeout

app = App("adder")

"""
OLD = """
@app.command("order")
async def order(chat: Chat) -> None:
    what = await chat.ask("What?", key="what", timeout=300)
    await chat.say(f"one {what}")
"""
NEW = """
@app.command("order")
async def order(chat: Chat) -> None:
    try:
        count = await chat.ask("How many?", int, key="count", timeout=300)
        what = await chat.ask("Of what?", key="of", timeout=2)
    except Timeout:
        await chat.say("You went quiet, in the new one.")
        return
    except Cancelled:
        await chat.say("Not any more.")
        raise
    await chat.say(f"{count} {what}")
"""
OTHER = """
@app.command("other")
async def other(chat: Chat) -> None:
    await chat.say("Another one.")
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ministack]:
    """All services of one."""
    with Ministack("") as server:
        yield server


@asynccontextmanager
async def an_account(cloud: Ministack, file: Path) -> AsyncIterator[tuple[Account, FakeTelegram]]:
    """Somebody's, and where the bot is."""
    async with FakeTelegram() as telegram:
        found = Account(cloud, telegram, file)
        try:
            yield found, telegram
        finally:
            found.close()


@pytest.mark.timeout(300)
async def test_people_stay_in_the_newer_dialogs_after_a_rollback(
    cloud: Ministack, tmp_path: Path
) -> None:
    file = tmp_path / "adder.py"
    file.write_text(HEAD + OLD, encoding="utf-8")
    async with an_account(cloud, file) as (account, telegram):
        await account.deploy()
        function = {"FunctionName": "legato-adder"}
        await account.ask(
            "lambda", "put_function_concurrency", ReservedConcurrentExecutions=1, **function
        )
        account.edit(HEAD + NEW)
        assert "the function has a reserved concurrency of 1" in await account.deploy()
        assert await account.live() == 2
        ann, bob, cid, dan = (telegram.user(name) for name in ("Ann", "Bob", "Cid", "Dan"))
        for one in (ann, bob, cid):
            one.sends("/order")
            await one.gets("How many?", timeout_s=30)

        assert "a reserved concurrency of 1" in await account.legato("rollback", code=2)
        await account.ask("lambda", "delete_function_concurrency", **function)
        told = await account.legato("rollback")
        assert "version 1 is live, 2 was" in told
        assert "3 open conversations stay with version 2" in told
        assert await account.live() == 1

        dan.sends("/order")
        await dan.gets("What?", timeout_s=30)
        ann.sends("2")
        await ann.gets("Of what?", timeout_s=30)
        ann.sends("teas")
        await ann.gets("2 teas", timeout_s=30)
        cid.sends("/order")
        await cid.gets("Not any more.", timeout_s=30)
        await cid.gets("What?", timeout_s=30)
        cid.sends("tea")
        await cid.gets("one tea", timeout_s=30)
        bob.sends("7")
        await bob.gets("Of what?", timeout_s=30)
        await _ticks(account, bob)

        status = json.loads(await account.legato("status", "--json"))
        assert (status["live"], status["written"]) == (1, {"1": 1})  # Dan is left
        dan.sends("milk")
        await dan.gets("one milk", timeout_s=30)

        account.edit(HEAD + OLD + OTHER)
        await account.deploy()
        assert await account.live() == 3
        ann.sends("/order")
        await ann.gets("What?", timeout_s=30)
        ann.sends("/other")
        await ann.gets("Another one.", timeout_s=30)
        await account.legato("destroy")


async def _ticks(account: Account, bob: FakeUser) -> None:
    """As the schedule would, but not once a minute."""
    tick = await account.ask("scheduler", "get_schedule", Name="legato-adder-tick")
    target = tick["Target"]
    for _ in range(50):
        answer = await account.ask(
            "lambda", "invoke", FunctionName=target["Arn"], Payload=target["Input"].encode()
        )
        if json.loads(answer["Payload"].read())["woken"]:
            break
    await bob.gets("You went quiet, in the new one.", timeout_s=30)
