"""A real Prometheus, a real cluster, and a database that holds everything up: the alert comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from legato.testing.fake_telegram import FakeTelegram, FakeUser
from tests.integration.listen_kit import command, echo
from tests.integration.run_kit import TOKEN, environment
from tests.integration.scraping import fetch
from tests.integration.test_observed_shells import answers, free_port
from tests.repo.files import ROOT
from tests.servers._process import program

CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: legato-gateway
    static_configs: [{{targets: ["{gateway}"]}}]
  - job_name: legato-worker
    static_configs: [{{targets: ["{worker}"]}}]
"""


class Prometheus:
    """One that scrapes a gateway and a worker, with our alerts."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    async def ask(self, what: str) -> Any:
        status, text = await fetch(f"{self._url}/{what}")
        return json.loads(text)["data"] if status == 200 else {}

    async def firing(self) -> set[tuple[str, str]]:
        """(name, shard) of alerts."""
        found = (await self.ask("alerts")).get("alerts", [])
        return {
            (one["labels"]["alertname"], one["labels"].get("shard", ""))
            for one in found
            if one["state"] == "firing"
        }

    async def least(self, query: str) -> float:
        """The value of a query, 0 if there is none."""
        found = (await self.ask(f"query?query={query}")).get("result", [])
        return float(found[0]["value"][1]) if found else 0.0


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Waits for something that others do."""
    async with asyncio.timeout(90):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.5)


@asynccontextmanager
async def prometheus(folder: Path, gateway: str, worker: str) -> AsyncIterator[Prometheus]:
    port = free_port()
    config = folder / "prometheus.yml"
    rules = ROOT / "ops/prometheus/alerts.yml"
    config.write_text(CONFIG.format(rules=rules, gateway=gateway[7:], worker=worker[7:]))
    process = await asyncio.create_subprocess_exec(
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await answers(f"http://127.0.0.1:{port}/-/ready", 200)
        yield Prometheus(port)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def writing(people: list[FakeUser]) -> AsyncIterator[None]:
    """Everybody writes again and again."""

    async def write(user: FakeUser) -> None:
        while True:
            user.sends("hello")
            await asyncio.sleep(0.5)

    tasks = [asyncio.create_task(write(user)) for user in people]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def held_up(url: str) -> AsyncIterator[None]:
    """Whatever the worker wants to write waits for us."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET search_path = legato; BEGIN")
        await connection.execute("LOCK TABLE inbox, conversation IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        await connection.close()


async def test_a_stuck_shard_is_an_alert_and_one_at_work_is_none(
    tmp_path: Path, rabbit_url: str, postgres_url: str
) -> None:
    bot = echo(tmp_path)
    gateway, worker = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    env = environment(LEGATO_QUEUE=rabbit_url, LEGATO_STORE=postgres_url, LEGATO_SHARDS="2")
    async with (
        FakeTelegram(token=TOKEN) as telegram,
        command(
            "gateway", bot, "--listen", gateway[7:], "--public-url", gateway,
            folder=tmp_path, env=env | environment(telegram),
        ),
        command(
            "worker", bot, "--listen", worker[7:],
            folder=tmp_path, env=env | environment(telegram),
        ),
        prometheus(tmp_path, gateway, worker) as watcher,
    ):  # fmt: skip
        await answers(f"{gateway}/readyz", 200)
        await answers(f"{worker}/readyz", 200)
        async with writing([telegram.user(f"U{n}") for n in range(12)]):
            sure = "min(increase(legato_acked_letters_total[20s]))"
            stuck = {("LegatoShardStuck", "0"), ("LegatoShardStuck", "1")}

            async def at_work() -> bool:
                return await watcher.least(sure) > 5

            async def fires() -> bool:
                return stuck <= await watcher.firing()

            async def is_over() -> bool:
                return not stuck & await watcher.firing()

            await until(at_work)
            assert await is_over()
            async with held_up(postgres_url):
                await until(fires)
            await until(is_over)
