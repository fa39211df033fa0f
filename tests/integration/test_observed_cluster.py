"""A gateway, a queue and a worker are watched as one: a trace leads through all of them."""

from __future__ import annotations

import pytest

from legato import App, Chat
from legato.abc import Queue
from legato.app.settings import Settings
from legato.queues.memory import MemoryBroker, MemoryQueue
from legato.queues.rabbitmq import RabbitQueue
from legato.stores.memory import MemoryStore
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.observed_kit import Spans, clustered
from tests.integration.run_kit import SECRET, TOKEN
from tests.integration.scraping import fetch, scraped

app = App("shop", apology="")
SETTINGS = Settings(telegram_token=TOKEN, telegram_secret=SECRET, tracing=True)
WAY = [
    "send sendMessage in worker",
    "turn order in worker",
    "update in worker",
    "publish in gateway",
    "webhook telegram in gateway",
]


@app.command("start")
async def order(chat: Chat) -> None:
    what = await chat.ask("What?", remind_after=0.1, remind="Well?")
    await chat.say(f"One {what}")


def in_memory() -> tuple[Queue, Queue]:
    broker = MemoryBroker()
    return MemoryQueue(broker), MemoryQueue(broker)


async def traced(queues: tuple[Queue, Queue], spans: Spans) -> dict[str, float]:
    """Plays a dialog through gateway, queue and worker; returns what both expose."""
    async with (
        FakeTelegram(token=TOKEN) as telegram,
        clustered(app, telegram, SETTINGS, MemoryStore(), queues) as cluster,
    ):
        ann = telegram.user("Ann")
        ann.sends("/start")
        await ann.gets("What?")
        await ann.gets("Well?")
        ann.sends("tea")
        await ann.gets("One tea")
        found = await scraped(cluster.gateway)
        for line, value in (await scraped(cluster.worker)).items():
            found[line] = found.get(line, 0) + value
        assert (await fetch(f"{cluster.gateway}/readyz"))[0] == 200
        assert (await fetch(f"{cluster.worker}/readyz"))[0] == 200
    sent = [span for span in spans.all() if span.name == "send sendMessage"]
    ways = [spans.way(span) for span in sent]
    assert ways == [WAY, ["send sendMessage in worker", "turn order in worker"], WAY]
    traces = {span.context.trace_id for span in sent if span.context}
    assert len(traces) == 3
    waits = [span for span in spans.all() if span.name == "queue"]
    assert [spans.way(span)[1] for span in waits] == ["publish in gateway"] * 2
    return found


async def test_one_trace_leads_through_gateway_queue_and_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await traced(in_memory(), Spans(monkeypatch))


async def test_a_trace_leads_through_a_real_broker(
    monkeypatch: pytest.MonkeyPatch, rabbit_url: str
) -> None:
    queues = RabbitQueue(rabbit_url, "traced"), RabbitQueue(rabbit_url, "traced")

    await traced(queues, Spans(monkeypatch))


async def test_what_gateway_and_worker_count_adds_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = await traced(in_memory(), Spans(monkeypatch))

    assert lines['legato_turns_total{dialog="order",outcome="ended"}'] == 1
    assert lines["legato_published_letters_total"] == 2
    assert lines["legato_queue_wait_seconds_count"] == 2
    assert lines["legato_timer_late_seconds_count"] == 1
    acked = [v for k, v in lines.items() if k.startswith("legato_acked_letters_total")]
    assert sum(acked) == 2
    assert lines['legato_queue_consumers{generation="1",shard="1"}'] == 1
