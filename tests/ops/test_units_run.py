"""The units' own commands and settings, run without systemd: they become ready, talk, and drain."""

import asyncio
import contextlib
import re
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from legato.testing.fake_telegram import FakeTelegram
from tests.ops.test_ansible import OPS
from tests.repo.files import ROOT
from tests.servers import free_port


class Unit:
    """What systemd would run for one instance, here for a bot in `folder` and at a free port."""

    def __init__(self, part: str, folder: Path, settings: dict[str, str]) -> None:
        self.part = part
        self.text = (OPS / f"systemd/legato-{part}@.service").read_text()
        self.port = free_port()
        self._folder = folder
        self._settings = settings
        line = re.search(r"^ExecStart=/opt/legato/bin/legato (.*)$", self.text, re.MULTILINE)
        assert line is not None
        words = re.sub(r"\$\{ADDRESS\}:\d+%i", f"127.0.0.1:{self.port}", line[1])
        words = words.replace("/srv/legato/${BOT}", str(folder / settings["BOT"]))
        self.words = words.replace("%H-%i", "host-1").split()
        assert not set("%$") & set("".join(self.words))

    async def start(self) -> None:
        # As systemd does it: this environment and no other, not even HOME.
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "legato.cli.main", *self.words, env=self._settings,
            cwd=self._folder, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def is_ready(self) -> None:
        async with asyncio.timeout(60):
            while await asyncio.to_thread(self._status, "/readyz") != 200:
                assert self.process.returncode is None, await self.said()
                await asyncio.sleep(0.1)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def _status(self, path: str) -> int:
        try:
            self.get(path)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0
        return 200

    async def said(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def drain(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            _, error = await self.process.communicate()
        assert self.process.returncode is not None, error
        return self.process.returncode

    @property
    def memory_high(self) -> int:
        limit = re.search(r"^MemoryHigh=(\d+)M$", self.text, re.MULTILINE)
        assert limit is not None
        return int(limit[1]) * 2**20


@contextlib.asynccontextmanager
async def running(units):
    async with contextlib.AsyncExitStack() as stack:
        for unit in units:
            await unit.start()
            stack.push_async_callback(ended, unit)
        for unit in units:
            await unit.is_ready()
        yield


async def ended(unit: Unit) -> None:
    if unit.process.returncode is None:
        unit.process.kill()
        await unit.process.communicate()


def settings_for(folder: Path, **given: str) -> dict[str, str]:
    """The example's settings, with those of this test."""
    (folder / "bot.py").write_bytes((ROOT / "examples/adder.py").read_bytes())
    lines = (OPS / "systemd/legato.env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(given) <= set(example) | {"TELEGRAM_API"}
    return example | given


@pytest.mark.timeout(300)
async def test_gateway_and_worker_of_the_units_talk_and_drain(tmp_path, postgres_url, rabbit_url):
    async with FakeTelegram() as telegram:
        settings = settings_for(
            tmp_path, LEGATO_STORE=postgres_url, LEGATO_QUEUE=rabbit_url,
            TELEGRAM_TOKEN=telegram.token, TELEGRAM_API=telegram.api,
        )  # fmt: skip
        gateway = Unit("gateway", tmp_path, settings)
        worker = Unit("worker", tmp_path, settings)
        settings["LEGATO_PUBLIC_URL"] = f"http://127.0.0.1:{gateway.port}"
        async with running([gateway, worker]):
            ann = telegram.user("Ann")
            ann.sends("/start")
            assert (await ann.gets(timeout_s=60)).text == "First number?"
            for unit in (gateway, worker):
                seen = await asyncio.to_thread(unit.get, "/metrics")
                assert "process_resident_memory_bytes" in seen
                assert "\nProcSubset=pid" not in unit.text  # it would hide what that is read from
                assert psutil.Process(unit.process.pid).memory_info().rss < unit.memory_high
            assert [await gateway.drain(), await worker.drain()] == [0, 0]


@pytest.mark.timeout(300)
async def test_two_listeners_of_the_unit_become_ready_and_drain(tmp_path, postgres_url, rabbit_url):
    async with FakeTelegram() as telegram:
        settings = settings_for(
            tmp_path, LEGATO_STORE=postgres_url, LEGATO_QUEUE=rabbit_url,
            TELEGRAM_TOKEN=telegram.token, TELEGRAM_API=telegram.api,
        )  # fmt: skip
        del settings["LEGATO_PUBLIC_URL"]  # it polls
        units = [Unit("listen", tmp_path, settings) for _ in range(2)]
        worker = Unit("worker", tmp_path, settings)
        async with running([*units, worker]):
            ann = telegram.user("Ann")
            ann.sends("/start")
            assert (await ann.gets(timeout_s=60)).text == "First number?"
            assert [await unit.drain() for unit in (*units, worker)] == [0, 0, 0]
