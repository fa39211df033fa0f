"""`legato gateway` and `legato worker` in processes of their own are watched as one bot."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

from legato.deploy.catalogue import CATALOGUE
from legato.deploy.serving import bound
from legato.model.shards import slot_of_key
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.collector import collecting
from tests.integration.listen_kit import command
from tests.integration.run_kit import TOKEN, Bot, adder, environment
from tests.integration.scraping import fetch, scraped

SHARDS = 4
BOT = """
from legato import App, Chat

app = App("adder")


@app.command("start")
async def add(chat: Chat) -> None:
    first = await chat.ask("First number?", int)
    second = await chat.ask("Second number?", int)
    chat.log.info("adding")
    await chat.say(f"Sum: {first + second}")
"""
LISTENERS = {"legato_held_connections", "legato_refused_updates_total"}
WAY = [
    "send sendMessage",
    "turn add",
    "update",
    "publish",
    "webhook telegram",
]


def free_port() -> int:
    with bound("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
    return port


async def answers(url: str, wanted: int) -> str:
    """Waits until a process answers so."""
    async with asyncio.timeout(60):
        while True:
            try:
                status, text = await fetch(url)
            except OSError:
                status, text = 0, ""
            if status == wanted:
                return text
            await asyncio.sleep(0.1)


async def talk(telegram: FakeTelegram, name: str) -> None:
    person = telegram.user(name)
    for said, answer in (("/start", "First number?"), ("2", "Second number?"), ("3", "Sum: 5")):
        person.sends(said)
        await person.gets(answer, timeout_s=60)


async def counted(base: str, lines: set[str]) -> dict[str, float]:
    """Waits until all these lines are exposed; returns what is."""
    async with asyncio.timeout(60):
        while True:
            found = await scraped(base)
            if lines <= found.keys():
                return found
            await asyncio.sleep(0.2)


async def test_a_trace_leads_through_all_processes_and_their_numbers_add_up(
    tmp_path: Path, rabbit_url: str, postgres_url: str
) -> None:
    bot = tmp_path / "adder.py"
    bot.write_text(BOT)
    gateway, worker = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    with collecting() as collector:
        env = environment(
            LEGATO_TRACING="on",
            LEGATO_LOG="json",
            LEGATO_QUEUE=rabbit_url,
            LEGATO_STORE=postgres_url,
            LEGATO_SHARDS=str(SHARDS),
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
        )
        async with (
            FakeTelegram(token=TOKEN) as telegram,
            command(
                "gateway", bot, "--listen", gateway[7:], "--public-url", gateway,
                folder=tmp_path, env=env | environment(telegram),
            ) as first,
            command(
                "worker", bot, "--listen", worker[7:],
                folder=tmp_path, env=env | environment(telegram),
            ) as second,
        ):  # fmt: skip
            assert await answers(f"{gateway}/readyz", 200) == "ready"
            assert await answers(f"{worker}/readyz", 200) == "ready"
            await talk(telegram, "Ann")
            rare = {
                'legato_queue_depth{generation="1",shard="3"}',
                'legato_outbox_items{state="dead"}',
            }
            lines = await counted(worker, rare)
            for line, value in (await scraped(gateway)).items():
                lines[line] = lines.get(line, 0) + value
            assert await second.ends(signal.SIGTERM) == 0
            assert await first.ends(signal.SIGTERM) == 0

    sent = collector.named("send sendMessage")
    assert [collector.way(span) for span in sent] == [WAY] * 3
    assert collector.services == {"adder-gateway", "adder-worker"}
    names = {re.sub(r"(_bucket|_count|_sum)?(\{.*)?$", "", line) for line in lines}
    exposed = {name for name in names if name.startswith("legato_")}
    assert exposed == CATALOGUE.keys() - LISTENERS
    assert lines["legato_published_letters_total"] == 3
    assert lines["legato_shards_held"] == SHARDS
    assert lines['legato_turns_total{dialog="add",outcome="ended"}'] == 1
    check_lines(second)


def check_lines(worker: Bot) -> None:
    """Each line is JSON."""
    lines = [json.loads(line) for line in worker.output.splitlines()]
    assert {line["role"] for line in lines} == {"worker"}
    about = [line for line in lines if "conversation" in line]
    assert about, "the dialog has written no line"
    for line in about:
        assert line["shard"] == slot_of_key(line["conversation"]) % SHARDS
        assert {"dialog", "update", "trace"} <= line.keys()


async def test_readiness_says_what_is_away(
    tmp_path: Path, rabbit_url: str, postgres_url: str
) -> None:
    bot = adder(tmp_path)
    worker = f"http://127.0.0.1:{free_port()}"
    env = environment(
        LEGATO_QUEUE=rabbit_url.replace("127.0.0.1", "127.0.0.2"), LEGATO_STORE=postgres_url
    )
    async with (
        FakeTelegram(token=TOKEN) as telegram,
        command(
            "worker", bot, "--listen", worker[7:], folder=tmp_path, env=env | environment(telegram)
        ) as process,
    ):
        text = await answers(f"{worker}/readyz", 503)
        alive = await fetch(f"{worker}/healthz")
        assert await process.ends(signal.SIGTERM) == 0

    assert "queue" in text
    assert alive == (200, "ok")
