"""More hosts of functions: a process of its own, our own pool, serverless-offline, OpenWhisk's protocol."""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.integration.function_hosts_kit import Answer, Host, Served
from tests.integration.functions_kit import lives, until, write
from tests.integration.npm_kit import installed

SERVERLESS = ("osls@4.3.1", "serverless-offline@14.8.2")
"""osls is the free fork of Serverless 3."""
SERVICE = """
service: bots
provider: {{name: aws, runtime: python{version}}}
plugins: [serverless-offline]
custom:
  serverless-offline:
    {{host: 127.0.0.1, httpPort: {port}, lambdaPort: {inner}, noPrependStageInUrl: true, reloadHandler: {new}}}
functions:
  adder: {{handler: handler.handler, timeout: 30, events: [httpApi: "*"]}}
"""


LOOP = """
import json, os, sys
from handler import main
out = os.fdopen(3, "w")
for line in sys.stdin:
    asked = json.loads(line)
    for name, value in asked.items():
        if name != "value":
            os.environ["__OW_" + name.upper()] = value
    print(json.dumps(main(asked["value"])), file=out, flush=True)
"""


class Process(Served):
    """`legato run`, which is told its address: no function, and killed as a whole."""

    def command(self) -> list[str]:
        self.env |= {"LEGATO_LISTEN": f"127.0.0.1:{self.port}", "LEGATO_PUBLIC_URL": self.front}
        return [sys.executable, "-m", "legato.cli.main", "run", "adder.py"]

    async def tick(self) -> None:
        """Its timers fire by themselves."""
        await asyncio.sleep(0)


class Inner(Served):
    """One that runs the function in processes of its own: they are killed, and it starts new ones."""

    function = ""
    inner = 0
    """Invoke, as at AWS, is served so many ports further."""

    def containers(self) -> list[psutil.Process]:
        """The processes that run the function."""
        raise NotImplementedError

    async def start(self) -> None:
        if self._process is None:
            await super().start()
        else:
            self.starts += 1  # by itself, once it is asked

    async def kill(self) -> None:
        found = self.containers()
        assert found, self.log
        for one in found:
            one.kill()
        await until(lambda: not any(lives(one.pid) for one in found))

    async def tick(self) -> None:
        url = f"http://127.0.0.1:{self.port + self.inner}/2015-03-31/functions/{self.function}"
        async with httpx.AsyncClient(timeout=60, trust_env=False, verify=False) as client:
            answer = await client.post(f"{url}/invocations", content=b'{"legato": "tick"}')
        assert "woken" in answer.json(), self.log


class Pool(Inner):
    """`legato functions`."""

    function = "adder"

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        super().__init__(folder, env)
        # Its functions are forked from one process for each interpreter: that is where time is set.
        python = folder / "python"
        lines = [f"export {name}={env[name]}" for name in ("PYTHONPATH", "CLOCK")]
        python.write_text("\n".join(["#!/bin/sh", *lines, f'exec {sys.executable} "$@"']))
        python.chmod(0o755)
        code = (folder / "adder.py").read_text()
        own = {name: value for name, value in env.items() if name != "PYTHONPATH"}
        write(folder / "bots", "adder", code, python=str(python), env=own)

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "legato.cli.main"),
            *("functions", "bots", "--port", str(self.port)),
        ]

    def containers(self) -> list[psutil.Process]:
        assert self._process is not None
        zygotes = psutil.Process(self._process.pid).children()
        return [child for zygote in zygotes for child in zygote.children()]

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        return await super().ask(method, f"/adder{path}", headers, body)


class Offline(Inner):
    """serverless-offline, with a function in Python behind its HTTP API.

    It does not notice when a process of its own is killed, and goes on to ask it. So where they are killed it is
    told to start one for each request.
    """

    function = "bots-dev-adder"
    inner = 1

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        super().__init__(folder, env)
        place = installed(*SERVERLESS)
        (folder / "node_modules").symlink_to(place / "node_modules")
        self.env = env | {"VIRTUAL_ENV": sys.prefix, "SLS_TELEMETRY_DISABLED": "1"}
        self.env |= {"HOME": str(folder), "SLS_NOTIFICATIONS_MODE": "off"}

    def command(self) -> list[str]:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        new = str(self.dies).lower()
        text = SERVICE.format(
            version=version, port=self.port, inner=self.port + self.inner, new=new
        )
        (self.folder / "serverless.yml").write_text(text)
        return [str(self.folder / "node_modules" / ".bin" / "osls"), "offline"]

    def containers(self) -> list[psutil.Process]:
        assert self._process is not None
        return psutil.Process(self._process.pid).children(recursive=True)


class OpenWhisk(Host):
    """An action in a process that speaks ActionLoop, as Apache's own launcher does: lines, and descriptor 3."""

    code = "main = app.openwhisk()"
    talks = True

    def command(self) -> list[str]:
        inner = f"exec {sys.executable} -c '{LOOP}' 3>&1 >&2"
        return ["sh", "-c", inner]

    async def _activated(self, value: dict[str, Any]) -> dict[str, Any]:
        deadline = str(int((time.time() + 60) * 1000))
        answer = await self._talk({"value": value, "deadline": deadline, "namespace": "guest"})
        assert isinstance(answer, dict), self.log
        return answer

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        lowered = {name.lower(): value for name, value in headers.items()}
        value = {
            "__ow_method": method.lower(),
            "__ow_path": path,
            "__ow_query": "",
            "__ow_headers": lowered,
            "__ow_body": base64.b64encode(body).decode(),
        }
        answer = await self._activated(value)
        return answer["statusCode"], answer.get("headers", {}), answer.get("body", "").encode()

    async def tick(self) -> None:
        assert "woken" in await self._activated({"trigger_name": "every-minute"})
