"""`legato deploy aws --web-socket` on a cloud of this machine, which makes the WebSocket API, relays what pages
send, and runs the function for it: a person opens the page and talks.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato.testing.fake_telegram import FakeTelegram
from tests.integration.aws_kit import ADDER, REGION, Account
from tests.integration.browser_kit import a_browser
from tests.integration.functions_kit import NODE
from tests.servers import Ministack

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node on this machine")

FUNCTION = "legato-adder"
SUM = ("/start", "First number?", "2", "Second number?", "3", "Sum: 5")


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ministack]:
    """All services of one."""
    with Ministack("") as server:
        yield server


class Chatting(Account):
    """An account whose bot has a web chat, at addresses of the fake cloud."""

    async def chatting(self, *words: str) -> str:
        """Deploys with the web chat."""
        api = f"{self.environment['AWS_ENDPOINT_URL']}/_aws/execute-api/{{id}}"
        posts = f"AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI={api}"
        socket = f"{api.replace('http', 'ws', 1)}/live"
        return await self.deploy(
            "--web-socket", "--public-socket", socket, "--env", posts, *words
        )  # fmt: skip

    async def apis(self) -> list[dict[str, Any]]:
        """Of API Gateway."""
        return list((await self.ask("apigatewayv2", "get_apis"))["Items"])


async def loaded(url: str) -> str:
    """What a browser gets there."""

    def load() -> str:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(load)


def page_of(told: str) -> str:
    """The address that a deployment told people."""
    (address,) = re.findall(r"^web chat: (\S+/)$", told, re.MULTILINE)
    return str(address)


def socket_of(page: str) -> str:
    """Where a page connects to."""
    (socket,) = re.findall(r'<meta name="legato-socket" content="([^"]+)">', page)
    return html.unescape(socket)


@pytest.mark.timeout(300)
async def test_a_web_chat_is_deployed_talked_with_and_taken_away(
    cloud: Ministack, tmp_path: Path
) -> None:
    bot = tmp_path / "adder.py"
    bot.write_text(ADDER.read_text(encoding="utf-8"), encoding="utf-8")
    async with FakeTelegram() as telegram:
        account = Chatting(cloud, telegram, bot)
        try:
            assert "web chat" not in await account.deploy()
            assert await account.apis() == []
            assert "execute-api" not in json.dumps(await _rights(account))

            told = await account.chatting()
            assert re.search(r"a word through its socket in \d+ ms", told), told
            page = await loaded(page_of(told))
            await _check_what_was_made(account, socket_of(page))
            async with a_browser(tmp_path, socket_of(page), "secret-of-anns-session") as ann:
                for said, shown in zip(SUM[::2], (2, 4, 6), strict=True):
                    ann.says(said)
                    await ann.sees(*SUM[:shown])
            status = await account.legato("status")
            assert f"web chat: {page_of(told)} (socket {socket_of(page)})" in status
            assert f"UPDATE_COMPLETE, {page_of(told)[:-1]}\n" in status
            assert f"function: {(await account.outputs())['Url']}" in status
            assert "is from before --web-socket" in await account.legato("rollback", code=2)
            assert await account.live() == 2

            await account.deploy()
            assert len(await account.apis()) == 1, "it stays until it is taken away"
            ends = ("--no-web-socket", "--no-env", "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI")
            gone = await account.deploy(*ends, "--diff")
            assert "remove  Socket (AWS::ApiGatewayV2::Api)" in gone
            await account.deploy(*ends)
            assert await account.apis() == []
            assert "execute-api" not in json.dumps(await _rights(account))
            await account.legato("destroy")
        finally:
            account.close()


@pytest.mark.timeout(300)
async def test_a_bot_may_have_the_web_chat_alone_and_behind_an_http_api(
    cloud: Ministack, tmp_path: Path
) -> None:
    bot = tmp_path / "adder.py"
    bot.write_text(ADDER.read_text(encoding="utf-8"), encoding="utf-8")
    async with FakeTelegram() as telegram:
        account = Chatting(cloud, telegram, bot)
        del account.environment["TELEGRAM_TOKEN"]
        try:
            assert "--web-socket" in await account.deploy(code=2)
            public = f"{cloud.endpoint}/_aws/execute-api/{{id}}"
            told = await account.chatting("--front", "http-api", "--public-url", public)
            url = page_of(told)
            assert (await account.outputs())["Url"].partition("://")[2][:8] in url
            page = await loaded(url)
            for file in re.findall(r'(?:src|href)="(web/[^"]+)"', page):
                assert len(await loaded(url + file)) > 100
            async with a_browser(tmp_path, socket_of(page), "secret-of-bobs-session") as bob:
                bob.says("/start")
                await bob.sees("/start", "First number?")
            assert telegram.called("setWebhook") == []
            await account.legato("destroy", "--force")
            assert await account.apis() == []
        finally:
            account.close()


async def _check_what_was_made(account: Chatting, socket: str) -> None:
    (api,) = await account.apis()
    named = {"ApiId": api["ApiId"]}
    assert (api["ProtocolType"], api["Name"]) == ("WEBSOCKET", f"{FUNCTION}-web")
    assert socket.endswith(f"/{api['ApiId']}/live")
    routes = (await account.ask("apigatewayv2", "get_routes", **named))["Items"]
    assert {one["RouteKey"] for one in routes} == {"$connect", "$disconnect", "$default"}
    (to,) = (await account.ask("apigatewayv2", "get_integrations", **named))["Items"]
    assert {one["Target"] for one in routes} == {f"integrations/{to['IntegrationId']}"}
    assert to["IntegrationUri"].endswith(f":function:{FUNCTION}:live/invocations")
    (stage,) = (await account.ask("apigatewayv2", "get_stages", **named))["Items"]
    assert (stage["StageName"], stage["AutoDeploy"]) == ("live", True)
    policy = await account.ask("lambda", "get_policy", FunctionName=FUNCTION, Qualifier="live")
    (gateway,) = [
        one
        for one in json.loads(policy["Policy"])["Statement"]
        if one["Principal"] == {"Service": "apigateway.amazonaws.com"}
    ]
    assert f":{api['ApiId']}/live/*" in json.dumps(gateway["Condition"])
    own = f"{api['ApiId']}/live"
    assert await _may(account, f"{own}/POST/@connections/L0SM9cOFvHcCIhw=")
    for other in (f"{own}/GET/@connections/x", f"{api['ApiId']}/prod/POST/@connections/x", "*"):
        assert not await _may(account, other)


async def _role(account: Chatting) -> str:
    found = await account.ask("lambda", "get_function_configuration", FunctionName=FUNCTION)
    return str(found["Role"])


async def _rights(account: Chatting) -> list[dict[str, Any]]:
    """What the function may do."""
    role = (await _role(account)).rpartition("/")[2]
    found = await account.ask("iam", "get_role_policy", RoleName=role, PolicyName="legato")
    return list(found["PolicyDocument"]["Statement"])


async def _may(account: Chatting, where: str) -> bool:
    """Whether the function may write to connections there, as the cloud judges its role."""
    role = await _role(account)
    told = await account.ask(
        "iam",
        "simulate_principal_policy",
        PolicySourceArn=role,
        ActionNames=["execute-api:ManageConnections"],
        ResourceArns=[f"arn:aws:execute-api:{REGION}:{role.split(':')[4]}:{where}"],
    )
    return bool(told["EvaluationResults"][0]["EvalDecision"] == "allowed")
