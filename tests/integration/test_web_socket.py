"""The web chat's own script, in a browser's place, with a function behind a WebSocket API of this machine."""

from __future__ import annotations

import base64
import io
import json
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.browser_kit import a_browser
from tests.integration.functions_kit import NODE
from tests.servers import Ministack
from tests.servers.ministack import WHO

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node on this machine")

BOT = """
import sys
sys.path[:0] = {path!r}
from legato import App, Chat
app = App("greeter")

@app.command("start")
async def start(chat: Chat) -> None:
    name = await chat.ask("Your name?")
    await chat.say(f"Hello, {{name}}!")

handler = app.aws_lambda()
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ministack]:
    """All services of one."""
    with Ministack("") as server:
        yield server


def ask(cloud: Ministack, service: str, path: str, **request: Any) -> dict[str, Any]:
    """One request of a service's API."""
    scope = f"Credential=AKIATEST/20260101/eu-central-1/{service}/aws4_request"
    headers = {
        "content-type": "application/json",
        "authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
    }
    asked = urllib.request.Request(cloud.endpoint + path, json.dumps(request).encode(), headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def deployed(cloud: Ministack) -> str:
    """Makes function and API; returns the address of the socket."""
    api = ask(
        cloud,
        "apigateway",
        "/v2/apis",
        name="chat",
        protocolType="WEBSOCKET",
        routeSelectionExpression="$request.body.action",
    )["apiId"]
    address = f"{cloud.endpoint}/_aws/execute-api/{api}"
    socket = f"ws{address.removeprefix('http')}/prod"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("bot.py", BOT.format(path=[p for p in sys.path if p]))
    variables = WHO | {
        "AWS_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI": address,
        "LEGATO_STORE": cloud.url("greeter"),
        "LEGATO_WEB_SOCKET": socket,
    }
    function = ask(
        cloud,
        "lambda",
        "/2015-03-31/functions",
        FunctionName="greeter",
        Runtime="python3.11",
        Handler="bot.handler",
        Role="arn:aws:iam::000000000000:role/greeter",
        Timeout=30,
        Code={"ZipFile": base64.b64encode(packed.getvalue()).decode()},
        Environment={"Variables": variables},
    )["FunctionArn"]
    target = ask(
        cloud,
        "apigateway",
        f"/v2/apis/{api}/integrations",
        integrationType="AWS_PROXY",
        integrationUri=f"arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/{function}/invocations",
    )["integrationId"]
    for route in ("$connect", "$disconnect", "$default"):
        ask(
            cloud,
            "apigateway",
            f"/v2/apis/{api}/routes",
            routeKey=route,
            target=f"integrations/{target}",
        )
    ask(cloud, "apigateway", f"/v2/apis/{api}/stages", stageName="prod")
    return socket


async def test_a_page_talks_with_a_function_is_cut_off_and_comes_back(
    cloud: Ministack, tmp_path: Path
) -> None:
    socket = deployed(cloud)
    async with a_browser(tmp_path, socket, "secret-of-anns-session") as ann:
        ann.says("/start")
        await ann.sees("/start", "Your name?")
        ann.writes("drop")
        ann.says("Ann")  # while there is no connection
        await ann.is_told("the bot does not answer; trying again…")
        await ann.sees("/start", "Your name?", "Ann", "Hello, Ann!")
    async with a_browser(tmp_path, socket, "secret-of-anns-session") as again:
        await again.sees("/start", "Your name?", "Ann", "Hello, Ann!")
    async with a_browser(tmp_path, socket, "secret-of-bobs-session") as bob:
        bob.says("/start")
        await bob.sees("/start", "Your name?")
