"""A bot on a cloud of this machine: the command line, a fake Telegram, and boto3 to look."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from pathlib import Path
from typing import Any

import boto3

from legato.testing.fake_telegram import FakeTelegram
from tests.servers import Ministack
from tests.servers.nursery import python
from tests.unit.deploy.package_kit import uv_finds

REGION = "eu-central-1"
WHO = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
ARCH = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
ADDER = Path(__file__).parents[2] / "examples" / "adder.py"
SECONDS = 180
PLAIN: tuple[str, ...] = ("-m", "legato.cli.main")
BY_UV = (str(Path(__file__).with_name("without_pip.py")),)
"""The command line where there is no pip: uv takes a tenth of its time."""


class Account:
    """What a person at the command line has, and boto3.

    Args:
        server: The cloud.
        telegram: Where the bot is.
        bot: Its file.

    Attributes:
        environment: Of the command line.
        program: What runs it: words for Python. Packages are made by uv where it finds libraries; with PLAIN
            by pip.
    """

    def __init__(self, server: Ministack, telegram: FakeTelegram, bot: Path) -> None:
        self._server = server
        self._bot = bot
        self._clients: dict[str, Any] = {}
        self.program = BY_UV if uv_finds() else PLAIN
        self.environment = {
            **{
                k: v
                for k, v in os.environ.items()
                if not k.startswith(("AWS_", "LEGATO_", "PYTHON"))
            },
            **WHO,
            "AWS_ENDPOINT_URL": server.endpoint,
            "TELEGRAM_TOKEN": telegram.token,
            "TELEGRAM_API": telegram.api,
        }

    def edit(self, code: str) -> None:
        """Changes the bot."""
        self._bot.write_text(code, encoding="utf-8")

    async def legato(self, *words: str, code: int = 0) -> str:
        """Runs `legato deploy aws ... bot.py`; what it said. Another exit code fails the test."""
        words = (*self.program, "deploy", "aws", *words, str(self._bot))
        process = await python(*words, env=self.environment)
        try:
            async with asyncio.timeout(SECONDS):
                out, _ = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        text = out.decode()
        assert process.returncode == code, f"{words}: exit {process.returncode}\n{text}{self.log}"
        return text

    async def deploy(self, *words: str, code: int = 0) -> str:
        """Deploys what this machine can run. The function's address is one of the fake cloud's."""
        public = f"{self._server.endpoint}/_aws/lambda-url/{{id}}"
        return await self.legato(
            "--arch", ARCH, "--python", PYTHON, "--public-url", public, *words, code=code
        )

    @property
    def log(self) -> str:
        """What the cloud says of itself."""
        return self._server.log.read_text(encoding="utf-8", errors="replace")[-2000:]

    async def ask(self, service: str, method: str, **words: Any) -> Any:
        """One request by boto3; in a thread, since a function may have to talk to us meanwhile."""
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                region_name=REGION,
                endpoint_url=self._server.endpoint,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
        return await asyncio.to_thread(getattr(self._clients[service], method), **words)

    async def outputs(self) -> dict[str, str]:
        """Of the stack."""
        (stack,) = (await self.ask("cloudformation", "describe_stacks", StackName="legato-adder"))[
            "Stacks"
        ]
        assert stack["StackStatus"].endswith("_COMPLETE"), stack
        return {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}

    async def live(self) -> int:
        """The version that requests go to."""
        alias = await self.ask("lambda", "get_alias", FunctionName="legato-adder", Name="live")
        return int(alias["FunctionVersion"])

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients.values():
            client.close()
