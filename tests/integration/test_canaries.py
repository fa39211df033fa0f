"""What must not show does not: canaries are planted, and looked for in all that a cluster lets out.

A gateway and a worker run with every secret set, over the hard road: forged and unreadable requests, a
platform that fails in all ways, a store and a broker that are away, a user who blocks the bot, a bug. Then
logs (in both forms, down to debug), metrics, traces, answers and stderr are searched.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from legato import App, Chat
from legato.abc import Queue, Store
from legato.app.settings import Settings
from legato.deploy.logs import JsonLines, Lines, Redacting, set_up_logs
from legato.errors import StoreUnavailable
from legato.queues.memory import MemoryBroker, MemoryQueue
from legato.stores.memory import MemoryStore
from legato.testing.conformance._queue_kit import until
from legato.testing.fake_telegram import FakeTelegram
from tests.integration.observed_kit import Cluster, Spans, clustered
from tests.integration.scraping import fetch

TOKEN = "4200:canary-secret-token"
SECRET = "canary-secret-of-the-webhook"
KEY = "canary-secret-key-of-legato-0123456789"
COLLECTOR = "canary-secret-of-a-collector"
SAID = "canary-text-of-a-user"
NAME = "canary-text-a-name"
ANSWERED = "canary-text-of-the-bot"
SECRETS = "canary-secret"
TEXTS = "canary-text"

app = App("shop", apology=ANSWERED)


@app.command("start")
async def order(chat: Chat) -> None:
    what = await chat.ask(ANSWERED, remind_after=0.1, remind=ANSWERED)
    chat.log.info("asked, and answered with %d letters", len(what))
    await chat.run(_note, what)
    await chat.say(f"{ANSWERED} {what}")
    if what.endswith("bug"):
        raise RuntimeError("a bug that quotes nobody")


async def _note(what: str) -> str:
    logging.getLogger("shop").info("noted")
    return what


class Shaky(MemoryStore):
    """A store whose errors hold what they should not."""

    __slots__ = ("away",)

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    async def commit(self, commit: Any) -> Any:
        if self.away:
            raise StoreUnavailable("the store is away")
        return await super().commit(commit)


class Road:
    """What everything let out."""

    def __init__(self) -> None:
        self.outputs: dict[str, str] = {}

    def found(self, canary: str) -> dict[str, str]:
        """Where a canary shows, with what stands around it."""
        return {
            name: text[max(0, at - 200) : at + 100].replace("canary", "c*nary")
            for name, text in self.outputs.items()
            if (at := text.find(canary)) >= 0
        }


@asynccontextmanager
async def logged(road: Road, secrets: list[str]) -> AsyncIterator[None]:
    """All logs, down to debug, in both forms."""
    text, lines = io.StringIO(), io.StringIO()
    undo = set_up_logs(lambda: secrets, level=logging.DEBUG, stream=text, form=Lines())
    second = logging.StreamHandler(lines)
    second.setFormatter(JsonLines({"role": "both"}, shards=2))
    second.addFilter(Redacting(lambda: secrets))
    logging.getLogger().addHandler(second)
    for name in ("asyncio", "uvicorn", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        yield
    finally:
        undo()
        road.outputs["logs"] = text.getvalue()
        road.outputs["JSON logs"] = lines.getvalue()


async def knock(base: str, headers: dict[str, str], body: bytes) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{base}/telegram?token={TOKEN}", headers=headers, data=body) as response,
    ):
        return f"{response.status} {dict(response.headers)} {await response.text()}"


async def walk(
    cluster: Cluster, telegram: FakeTelegram, store: Shaky, broker: MemoryBroker
) -> list[str]:
    """Everything that can go wrong; returns what strangers were answered."""
    signed = {"x-telegram-bot-api-secret-token": SECRET}
    answers = [
        await knock(cluster.gateway, {}, b"{}"),
        await knock(cluster.gateway, {"x-telegram-bot-api-secret-token": SECRET + "x"}, b"{}"),
        await knock(cluster.gateway, signed, b'{"update_id": "canary-text-of-a-user'),
        await knock(cluster.gateway, signed, b"[" * 100_000),
        (await fetch(f"{cluster.gateway}/canary"))[1],
    ]
    ann = telegram.user(NAME)
    telegram.fails(429, method="sendMessage", retry_after=0.05)
    telegram.fails(502, method="sendMessage", html=True)
    telegram.resets(method="sendMessage", carried_out=False)
    ann.sends("/start")
    await ann.gets(ANSWERED)
    store.away = True
    ann.sends(f"{SAID} bug")
    runtime = cluster.running.runtime
    await until(lambda: cluster.running.actors.stats["again"])
    store.away = False
    await until(lambda: runtime.turns.stats["turns"] >= 2)
    broker.stop()
    bob = telegram.user(NAME + " too")
    bob.sends(f"/start {SAID}")
    answers.append(await knock(cluster.gateway, signed, _update(9_000_001)))
    broker.start()
    await bob.gets(ANSWERED)
    telegram.fails(400, method="sendMessage", description="Bad Request: chat not found")
    bob.sends(SAID)
    await until(lambda: runtime.relay.stats.dead)
    telegram.fails(403, method="sendMessage")
    bob.sends("/start")
    await until(lambda: runtime.relay.stats.gone)
    await runtime.drained()
    return answers


def _update(number: int) -> bytes:
    person = {"id": 77, "first_name": NAME, "is_bot": False}
    message = {
        "message_id": 1,
        "date": 1_750_000_000,
        "chat": {"id": 77, "type": "private", "first_name": NAME},
        "from": person,
        "text": SAID,
    }
    return json.dumps({"update_id": number, "message": message}).encode()


async def run(monkeypatch: pytest.MonkeyPatch, *, hides: bool = True) -> Road:
    """Walks the hard road; `hides=False` lets secrets through the log's filter."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={COLLECTOR}")
    road, spans, broker, store = Road(), Spans(monkeypatch), MemoryBroker(), Shaky()
    settings = Settings(
        telegram_token=TOKEN, telegram_secret=SECRET, key=KEY, tracing=True, log="json"
    )
    queues: tuple[Queue, Queue] = MemoryQueue(broker), MemoryQueue(broker)
    secrets = [TOKEN, TOKEN.partition(":")[2], SECRET, KEY, COLLECTOR] if hides else []
    shared: Store = store
    async with (
        logged(road, secrets),
        FakeTelegram(token=TOKEN) as telegram,
        clustered(app, telegram, settings, shared, queues) as cluster,
    ):
        assert COLLECTOR in cluster.running.monitoring.secrets
        logging.getLogger("some.library").info("POST %s/bot%s/sendMessage", telegram.api, TOKEN)
        answers = await walk(cluster, telegram, store, broker)
        for name in ("gateway", "worker"):
            base = getattr(cluster, name)
            road.outputs[f"metrics of the {name}"] = (await fetch(f"{base}/metrics"))[1]
            answers.append((await fetch(f"{base}/readyz"))[1])
    road.outputs["answers"] = "\n".join(answers)
    road.outputs["traces"] = "\n".join(span.to_json() for span in spans.all())
    return road


async def test_no_secret_and_no_text_shows_anywhere(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    road = await run(monkeypatch)
    captured = capfd.readouterr()
    road.outputs["stdout and stderr"] = captured.out + captured.err

    assert not road.found(SECRETS)
    assert not road.found(TEXTS)
    for name in ("logs", "JSON logs", "metrics of the gateway", "metrics of the worker", "traces"):
        assert len(road.outputs[name]) > 1000, f"there is nearly nothing in the {name}"
    assert "a bug that quotes nobody" in road.outputs["logs"]


async def test_a_canary_that_is_let_through_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    road = await run(monkeypatch, hides=False)

    assert set(road.found(SECRETS)) == {"logs", "JSON logs"}
