"""`legato run` is watched: its metrics, its health, its log lines, its traces."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from legato.deploy.catalogue import CATALOGUE
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.collector import collecting
from tests.integration.run_kit import TOKEN, Bot, adder, environment, running
from tests.integration.scraping import fetch, scraped


async def address(bot: Bot) -> str:
    """Where it listens."""
    found = re.search(r"http://127\.0\.0\.1:\d+", await bot.says("http://127.0.0.1:"))
    assert found
    return found.group()


async def talk(telegram: FakeTelegram) -> None:
    ann = telegram.user("Ann")
    for said, answer in (("/start", "First number?"), ("2", "Second number?"), ("3", "Sum: 5")):
        ann.sends(said)
        await ann.gets(answer)


async def test_a_bot_in_one_process_serves_metrics_and_readiness(tmp_path: Path) -> None:
    async with (
        FakeTelegram(token=TOKEN) as telegram,
        running(
            adder(tmp_path), "--listen", "127.0.0.1:0", folder=tmp_path, env=environment(telegram)
        ) as bot,
    ):
        base = await address(bot)
        await talk(telegram)

        lines = await scraped(base)
        ready = await fetch(f"{base}/readyz")
        text = (await fetch(f"{base}/metrics"))[1]

        assert ready == (200, "ready")
        assert lines['legato_turns_total{dialog="add",outcome="ended"}'] == 1
        assert lines['legato_deliveries_total{fate="sent"}'] == 3
        assert lines['legato_sends_total{outcome="sent",platform="telegram"}'] == 3
        assert lines["legato_updates_total"] == 3
        assert lines['legato_ready{role="run"}'] == 1
        assert lines['legato_outbox_items{state="dead"}'] == 0
        assert lines['legato_store_seconds_count{operation="commit"}'] >= 3
        names = {family.name for family in text_string_to_metric_families(text)}
        ours = {name for name in names if name.startswith("legato_")}
        assert ours <= {name.removesuffix("_total") for name in CATALOGUE}
        assert "canary" not in text
        assert await bot.ends(signal.SIGTERM) == 0


async def test_a_bot_writes_its_lines_as_json(tmp_path: Path) -> None:
    env = environment(LEGATO_LOG="json")
    async with (
        FakeTelegram(token=TOKEN) as telegram,
        running(adder(tmp_path), folder=tmp_path, env=env | environment(telegram)) as bot,
    ):
        await talk(telegram)
        assert await bot.ends(signal.SIGTERM) == 0

    lines = [json.loads(line) for line in bot.output.splitlines()]
    assert {"level": "INFO", "logger": "legato.run", "role": "run"}.items() <= lines[-1].items()


async def test_a_bots_traces_reach_a_collector_before_it_ends(tmp_path: Path) -> None:
    with collecting() as collector:
        env = environment(
            LEGATO_TRACING="on",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
            OTEL_EXPORTER_OTLP_HEADERS="api-key=canary-of-a-collector",
        )
        async with (
            FakeTelegram(token=TOKEN) as telegram,
            running(adder(tmp_path), folder=tmp_path, env=env | environment(telegram)) as bot,
        ):
            await talk(telegram)
            assert await bot.ends(signal.SIGTERM) == 0

    sent = collector.named("send sendMessage")
    assert len(sent) == 3
    for span in sent:
        assert collector.way(span) == ["send sendMessage", "turn add", "update"]
    assert collector.services == {"adder-run"}
    assert not any(word in raw for raw in collector.raw for word in (b"canary", b"number?"))


async def test_a_collector_that_is_away_keeps_no_bot_from_its_end(tmp_path: Path) -> None:
    env = environment(LEGATO_TRACING="on", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    async with (
        FakeTelegram(token=TOKEN) as telegram,
        running(adder(tmp_path), folder=tmp_path, env=env | environment(telegram)) as bot,
    ):
        await talk(telegram)
        assert await bot.ends(signal.SIGTERM) == 0
