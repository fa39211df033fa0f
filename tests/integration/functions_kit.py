"""Functions in processes of their own, as a test sees them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from legato.functions.config import load_functions
from legato.functions.host import Host, Options
from legato.functions.limits import ROOT, Limits, find_limits
from legato.functions.outcome import Outcome
from tests.integration.run_kit import Bot, environment

NODE = shutil.which("node")


def write(folder: Path, name: str, code: str, file: str = "bot.py", **settings: object) -> Path:
    """A function in a folder of its own."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / file).write_text(code, encoding="utf-8")
    lines = [f"{key} = {_toml(value)}" for key, value in settings.items()]
    (place / "function.toml").write_text("\n".join(lines), encoding="utf-8")
    return place


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {json.dumps(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


@asynccontextmanager
async def hosted(folder: Path, **options: Any) -> AsyncIterator[Host]:
    """The functions of a folder."""
    options = {"look_s": 0.05} | options
    host = Host(load_functions(folder), Options(**options))
    host.start()
    try:
        yield host
    finally:
        await host.close()


async def call(host: Host, name: str, event: object = None) -> Any:
    """What a handler returned; anything else fails the test."""
    outcome = await called(host, name, event)
    assert outcome.kind == "ok", outcome
    return json.loads(outcome.body)


async def called(host: Host, name: str, event: object = None) -> Outcome:
    async with asyncio.timeout(30):
        return await host.invoke(name, json.dumps(event).encode())


class Functions(Bot):
    """A running `legato functions`."""

    port = 0

    async def json(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{self.port}{path}"
            data = json.dumps(body) if body is not None else None
            async with session.request(method, url, data=data, headers=headers) as answer:
                text = await answer.text()
                return answer.status, json.loads(text) if text else None


@asynccontextmanager
async def serving(folder: Path, *arguments: str) -> AsyncIterator[Functions]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "legato.cli.main", "functions", str(folder), "--port", "0", *arguments),
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    one = Functions(process)
    try:
        found = re.search(r"functions at http://127.0.0.1:(\d+)", await one.says("held by"))
        assert found is not None
        one.port = int(found[1])
        yield one
    finally:
        if process.returncode is None:
            process.kill()
        await one.ends()


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits for something that no event tells of."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return state_of(pid) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def state_of(pid: int) -> str:
    """As ps shows it: R, S, T (stopped), Z ..."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return text.rpartition(")")[2].split()[0]


def stands_still(pid: int) -> bool:
    """Whether it is stopped, or in a control group that is frozen, wherever that is mounted."""
    if state_of(pid) == "T":
        return True
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines():
        if line.startswith("0::"):
            for root in (ROOT, ROOT / "unified"):
                events = Path(f"{root}/{line[3:]}/cgroup.events")
                if events.exists():
                    return "frozen 1" in events.read_text(encoding="ascii")
    return False


def may_limit() -> bool:
    """Whether control groups can be made here."""
    limits = find_limits()
    try:
        return limits.kind != "rlimits"
    finally:
        limits.close()


def may_freeze() -> bool:
    """Whether the kernel can let a control group stand still."""
    if not may_limit():
        return False
    return any(Path(root, "cgroup.procs").exists() for root in (ROOT, ROOT / "unified"))


BOTH = [None, Limits()] if os.name == "posix" else []
"""The best limits of this machine, and rlimits alone."""
