"""`legato deploy aws` from the first deployment to the end, on a cloud of this machine that runs the code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.integration.aws_kit import ADDER, PLAIN, Account
from tests.servers import Ministack

EXAMPLE = ADDER.read_text(encoding="utf-8")
SOON = (
    EXAMPLE.partition("@app.command")[2]
    .replace('("start")', '("quick")')
    .replace("def add", "def quick")
    .replace("timeout=20", "timeout=1")
)
ORDER = """

@app.command("order")
async def order(chat: Chat) -> None:
    what = await chat.ask("What?")
    await chat.say(f"{what} it is.")
"""
NEW_ORDER = """

@app.command("order")
async def order(chat: Chat) -> None:
    what = await chat.ask("What?")
    count = await chat.ask("How many?", int)
    await chat.say(f"{count} {what}")

"""
OTHER_ORDER = ORDER.replace('"What?"', '"How many?", int')
FIRST = f"{EXAMPLE}\n\n@app.command{SOON}{ORDER}"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ministack]:
    """All services of one."""
    with Ministack("") as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The adder, with more commands."""
    path = tmp_path / "adder.py"
    path.write_text(FIRST, encoding="utf-8")
    return path


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
async def test_a_bot_is_deployed_changed_rolled_back_and_destroyed(
    cloud: Ministack, file: Path
) -> None:
    async with an_account(cloud, file) as (account, telegram):
        usual, account.program = account.program, PLAIN
        await account.deploy()
        account.program = usual
        await _check_what_was_made(account, telegram)
        await _add_and_go_quiet(account, telegram)
        cid = telegram.user("Cid")
        cid.sends("/order")
        await cid.gets("What?", timeout_s=30)

        refused = await account.legato("destroy", code=2)
        assert "open conversations (1 waiting)" in refused
        account.edit(EXAMPLE + OTHER_ORDER)
        refused = await account.deploy(code=2)
        assert "cannot replay 1 open conversations" in refused
        assert await account.live() == 1

        account.edit(f"{EXAMPLE}\n\n@app.command{SOON}{NEW_ORDER}")
        shown = await account.deploy("--timers", "--diff")
        assert "modify  Function (AWS::Lambda::Function" in shown, shown
        assert "add     Timers (AWS::SQS::Queue)" in shown
        assert await account.live() == 1
        await account.deploy("--timers")
        assert await account.live() == 2
        cid.sends("tea")
        await cid.gets("How many?", timeout_s=30)

        await _roll_back_while_somebody_orders(account, cid)

        told = await account.deploy("--queue")
        assert "as before: --timers (--no-timers ends it)" in told
        await _go_quiet_by_a_queue(account, telegram)
        assert "is from before --queue" in await account.legato("rollback", code=2)
        await _keep_the_queue_while_something_lies_in_it(account, telegram)
        assert await account.live() == 3
        await _leave_out_what_was_said(account)

        table = (await account.outputs())["Table"]
        await _check_status(account)
        assert "a request to /telegram was refused" in await account.legato("logs")
        await account.legato("destroy")
        await _check_that_nothing_is_left(account, telegram, table)


async def _roll_back_while_somebody_orders(account: Account, cid: FakeUser) -> None:
    """Who stands in the newer version ends there; the next order is one of the older."""
    told = await account.legato("rollback")
    assert "1 open conversation stays with version 2" in told
    assert await account.live() == 1
    cid.sends("2")
    await cid.gets("2 tea", timeout_s=30)
    cid.sends("/order")
    await cid.gets("What?", timeout_s=30)
    cid.sends("milk")
    await cid.gets("milk it is.", timeout_s=30)


async def _check_status(account: Account) -> None:
    told = json.loads(await account.legato("status", "--json"))
    assert told["live"] == 4
    assert [one["number"] for one in told["versions"]] == [1, 2, 3, 4]
    assert told["conversations"] == {}


async def _check_what_was_made(account: Account, telegram: FakeTelegram) -> None:
    outputs = await account.outputs()
    function = "legato-adder"
    (hook,) = telegram.called("setWebhook")
    label = outputs["Url"].partition("://")[2].partition(".")[0]
    assert str(hook.params["url"]).endswith(f"/{label}/telegram")
    url = await account.ask(
        "lambda", "get_function_url_config", FunctionName=function, Qualifier="live"
    )
    assert (url["FunctionUrl"], url["AuthType"]) == (outputs["Url"], "NONE")
    policy = await account.ask("lambda", "get_policy", FunctionName=function, Qualifier="live")
    actions = sorted(one["Action"] for one in json.loads(policy["Policy"])["Statement"])
    assert actions == ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"]
    table = (await account.ask("dynamodb", "describe_table", TableName=outputs["Table"]))["Table"]
    assert {one["IndexName"] for one in table["GlobalSecondaryIndexes"]} == {"due", "status"}
    (group,) = (
        await account.ask(
            "logs", "describe_log_groups", logGroupNamePrefix=f"/aws/lambda/{function}"
        )
    )["logGroups"]
    assert group["retentionInDays"] == 30
    listed = await account.ask(
        "ssm", "get_parameters_by_path", Path="/legato/adder/", WithDecryption=True
    )
    kept = {one["Name"]: (one["Type"], one["Value"]) for one in listed["Parameters"]}
    assert kept["/legato/adder/TELEGRAM_TOKEN"] == ("SecureString", telegram.token)
    assert kept["/legato/adder/TELEGRAM_SECRET"] == ("SecureString", hook.params["secret_token"])
    configured = await account.ask("lambda", "get_function_configuration", FunctionName=function)
    assert telegram.token not in json.dumps(configured, default=str)


async def _add_and_go_quiet(account: Account, telegram: FakeTelegram) -> None:
    ann, bob = telegram.user("Ann"), telegram.user("Bob")
    for said, heard in (("/start", "First number?"), ("2", "Second number?"), ("3", "Sum: 5")):
        ann.sends(said)
        await ann.gets(heard, timeout_s=30)
    bob.sends("/quick")
    await bob.gets("First number?", timeout_s=30)
    tick = await account.ask("scheduler", "get_schedule", Name="legato-adder-tick")
    assert tick["ScheduleExpression"] == "rate(1 minute)"
    target = tick["Target"]
    for _ in range(50):  # as the schedule would, but not once a minute
        answer = await account.ask(
            "lambda", "invoke", FunctionName=target["Arn"], Payload=target["Input"].encode()
        )
        told = json.loads(answer["Payload"].read())
        if told["woken"]:
            break
    await bob.gets("You went quiet. /start to begin again.", timeout_s=30)


async def _keep_the_queue_while_something_lies_in_it(
    account: Account, telegram: FakeTelegram
) -> None:
    queue = (await account.outputs())["Queue"]
    mappings = await account.ask(
        "lambda", "list_event_source_mappings", FunctionName="legato-adder"
    )
    name = queue.rpartition("/")[2]
    (mapping,) = (
        one["UUID"]
        for one in mappings["EventSourceMappings"]
        if one["EventSourceArn"].endswith(f":{name}")
    )
    await account.ask("lambda", "update_event_source_mapping", UUID=mapping, Enabled=False)
    dan = telegram.user("Dan")
    dan.sends("/start")
    asked = {"QueueUrl": queue, "AttributeNames": ["ApproximateNumberOfMessages"]}
    for _ in range(100):
        found = await account.ask("sqs", "get_queue_attributes", **asked)
        if found["Attributes"]["ApproximateNumberOfMessages"] == "1":
            break
        await asyncio.sleep(0.1)
    assert "1 updates lie in the queue" in await account.deploy("--no-queue", code=2)
    await account.ask("lambda", "update_event_source_mapping", UUID=mapping, Enabled=True)
    await dan.gets("First number?", timeout_s=30)
    dan.sends("/cancel")
    await dan.gets("Cancelled.", timeout_s=30)


async def _leave_out_what_was_said(account: Account) -> None:
    """A deployment from elsewhere has what the one before it had, until something is taken away."""
    await account.deploy("--env", "GREETING=hello", "--memory", "256")
    shown = await account.legato("--diff")
    assert "as before: --arch" in shown
    assert "--memory 256, --queue, --timers, --public-url http" in shown
    assert "nothing would change" in shown
    shown = await account.legato("--diff", "--no-timers", "--no-env", "GREETING")
    assert "remove  Timers (AWS::SQS::Queue)" in shown
    assert "modify  Function (AWS::Lambda::Function" in shown
    assert "Queue " not in shown


async def _go_quiet_by_a_queue(account: Account, telegram: FakeTelegram) -> None:
    """Updates come through one queue, and the end of the silence through the other: no tick is needed."""
    outputs = await account.outputs()
    assert outputs["Queue"].endswith(".fifo")
    listed = await account.ask("lambda", "list_event_source_mappings")
    sources = {one["EventSourceArn"].rpartition(":")[2] for one in listed["EventSourceMappings"]}
    assert sources == {outputs[name].rpartition("/")[2] for name in ("Queue", "Timers")}
    dan = telegram.user("Dan")
    dan.sends("/quick")
    await dan.gets("First number?", timeout_s=60)
    await dan.gets("You went quiet. /start to begin again.", timeout_s=60)


async def _check_that_nothing_is_left(account: Account, telegram: FakeTelegram, table: str) -> None:
    assert len(telegram.called("deleteWebhook")) == 1
    stacks = (await account.ask("cloudformation", "list_stacks"))["StackSummaries"]
    assert {one["StackStatus"] for one in stacks} <= {"DELETE_COMPLETE"}
    assert table not in (await account.ask("dynamodb", "list_tables"))["TableNames"]
    assert (await account.ask("lambda", "list_functions"))["Functions"] == []
    assert (await account.ask("ssm", "describe_parameters"))["Parameters"] == []
    assert (await account.ask("s3", "list_buckets"))["Buckets"] == []
    assert (await account.ask("scheduler", "list_schedules"))["Schedules"] == []
    assert (await account.ask("sqs", "list_queues")).get("QueueUrls", []) == []
