"""The web chat's own script, in a browser's place, with a function behind a WebSocket API of this machine."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import urllib.request
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import legato
from tests.integration.functions_kit import NODE
from tests.servers import Ministack
from tests.servers.ministack import WHO

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node on this machine")

SCRIPT = Path(legato.__file__).parent / "platforms" / "web" / "socket.js"
BROWSER = """
const [script, address, session] = process.argv.slice(2);
globalThis.localStorage = { getItem: () => session, setItem() {} };
const source = require("fs").readFileSync(script, "utf8");
const ChatSocket = (0, eval)("(() => {" + source + "; return ChatSocket; })()");
const out = (name, data) => console.log(JSON.stringify([name, data]));
const heard = {};
for (const name of ["history", "show", "delete", "typing", "name"]) heard[name] = (data) => out(name, data);
const page = new ChatSocket(address, heard, (told) => out("told", told));
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "drop") page.socket.close();
  else page.say(JSON.parse(line));
}).on("close", () => process.exit(0));
"""
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


class Browser:
    """The page's script in a process of Node.js."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.shown: dict[str, str] = {}
        self.told: list[str] = []

    def writes(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def says(self, text: str) -> None:
        self.writes(json.dumps({"text": text}))

    async def sees(self, *texts: str) -> None:
        """Waits until the page shows just this."""
        async with asyncio.timeout(60):
            while list(self.shown.values()) != list(texts):
                await self._hears()

    async def is_told(self, text: str) -> None:
        async with asyncio.timeout(60):
            while text not in self.told:
                await self._hears()

    async def _hears(self) -> None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the browser is gone"
        name, data = json.loads(line)
        if name == "history":
            self.shown = {entry["id"]: text_of(entry) for entry in data}
        elif name == "show":
            self.shown[data["id"]] = text_of(data)
        elif name == "told":
            self.told.append(data)


def text_of(entry: dict[str, Any]) -> str:
    return "".join(run[0] for run in entry.get("runs", []))


@asynccontextmanager
async def a_browser(folder: Path, socket: str, session: str) -> AsyncIterator[Browser]:
    script = folder / "browser.js"
    script.write_text(BROWSER, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        "--experimental-websocket",
        str(script),
        str(SCRIPT),
        socket,
        session,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Browser(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.stdin.wait_closed()
        assert process.stdout is not None
        await process.stdout.read()
        await process.wait()


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
