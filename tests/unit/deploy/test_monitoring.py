"""What a shell serves beside its webhooks, and what is watched at all."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from legato.abc.observer import NOBODY, Scoping
from legato.app.settings import Settings
from legato.deploy import monitoring
from legato.deploy.http import Message, Receive, Scope, Send, answer
from legato.deploy.measures import Measures
from legato.deploy.monitoring import Monitoring
from legato.queues.memory import MemoryQueue
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from tests.unit.deploy.asgi_kit import Answer, request, scope_of

OFF = Settings(metrics=False)


def watching(settings: Settings = Settings(), role: str = "worker") -> Monitoring:  # noqa: B008
    return Monitoring(settings, FakeClock(), role, "shop")


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    """A shell's own application."""
    if scope["type"] == "http":
        status = 503 if scope["path"] == "/telegram" else 418
        await answer(send, status, b"inner")
    else:
        await send({"type": "websocket.accept"})


async def test_a_shell_without_webhooks_says_that_it_lives_and_whether_it_is_ready() -> None:
    watch = watching()
    app = watch.asgi()
    ready = True

    async def check() -> bool:
        return ready

    watch.health.add("queue", check)
    alive = await request(app, "GET", "/healthz")
    first = await request(app, "GET", "/readyz")
    watch.health.draining = True
    second = await request(app, "GET", "/readyz")

    assert (alive.status, alive.body) == (200, b"ok")
    assert (first.status, first.body) == (200, b"ready")
    assert (second.status, second.body) == (503, b"not ready: draining")
    assert (await request(app, "GET", "/telegram")).status == 404


async def test_a_shells_own_answers_are_left_alone() -> None:
    app = watching().asgi(inner, ["telegram"])

    for path in ("/healthz", "/other", "/"):
        assert (await request(app, "GET", path)).body == b"inner"


async def test_a_scrape_has_the_state_of_readiness_by_now() -> None:
    watch = watching()
    watch.store(MemoryStore())

    scraped = await request(watch.asgi(), "GET", "/metrics")

    assert scraped.status == 200
    assert scraped.headers["content-type"].startswith("text/plain; version=")
    assert 'legato_ready{role="worker"} 1.0' in scraped.body.decode()


async def test_webhooks_are_counted_by_platform_and_status_and_nothing_else_is() -> None:
    watch = watching(role="gateway")
    app = watch.asgi(inner, ["telegram"])

    for path in ("/telegram", "/telegram", "/telegrams", "/web/4711"):
        await request(app, "POST", path)

    text = (await request(app, "GET", "/metrics")).body.decode()
    lines = [line for line in text.splitlines() if line.startswith("legato_webhooks_total")]
    assert lines == ['legato_webhooks_total{platform="telegram",status="503"} 2.0']
    assert 'legato_webhook_seconds_count{platform="telegram"} 2.0' in text


async def test_a_webhook_whose_client_went_away_is_counted_without_a_status() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        raise OSError("gone")

    watch = watching(role="gateway")

    with pytest.raises(OSError, match="gone"):
        await request(watch.asgi(silent, ["telegram"]), "POST", "/telegram")

    assert watch.measures is not None
    assert dict(watch.measures.webhooks) == {("telegram", "0"): 1}


async def test_a_websocket_goes_to_the_shell_or_is_closed() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {}

    scope = scope_of("GET", "/metrics") | {"type": "websocket"}
    for app in (watching().asgi(inner), watching().asgi()):
        await app(scope, receive, send)

    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


async def test_metrics_that_are_off_are_not_served_and_nothing_is_wrapped() -> None:
    watch = watching(OFF)
    store, queue = MemoryStore(), MemoryQueue()

    assert watch.observer is NOBODY
    assert watch.store(store) is store
    assert watch.queue(queue) is queue
    assert watch.measures is None
    assert (await request(watch.asgi(), "GET", "/metrics")).status == 404
    assert (await request(watch.asgi(), "GET", "/readyz")).status == 200
    await watch.close()


async def test_what_needs_an_operator_is_counted_once_it_is_asked_for() -> None:
    watch = watching()
    store = MemoryStore()

    watch.count(store)
    watch.count(store)
    app = watch.asgi()
    for _ in range(10):  # the first count
        await asyncio.sleep(0)
    text = (await request(app, "GET", "/metrics")).body.decode()
    await watch.close()

    assert text.count('legato_outbox_items{state="dead"} 0.0') == 1


async def test_nothing_is_counted_where_nobody_may_ask() -> None:
    watch = watching(OFF)

    watch.count(MemoryStore())

    assert len(asyncio.all_tasks()) == 1
    await watch.close()


async def test_a_queue_that_takes_nothing_is_not_ready() -> None:
    class Blocked(MemoryQueue):
        @property
        def ready(self) -> bool:
            return False

    watch = watching()
    watch.queue(Blocked())

    assert (await request(watch.asgi(), "GET", "/readyz")).body == b"not ready: queue"


async def test_without_the_extra_a_scrape_is_told_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(monitoring, "installed", lambda: False)

    scraped: Answer = await request(watching().asgi(), "GET", "/metrics")

    assert scraped.status == 404
    assert b"pip install 'legato[metrics]'" in scraped.body


def test_lines_in_json_know_what_they_are_about_without_metrics_or_traces() -> None:
    assert isinstance(watching(Settings(metrics=False, log="json")).observer, Scoping)
    assert isinstance(watching().observer, Measures)


def test_no_library_is_loaded_before_it_is_needed() -> None:
    code = """
import asyncio, sys
from legato.app.settings import Settings
from legato.deploy.clock import SystemClock
from legato.deploy.monitoring import Monitoring
watch = Monitoring(Settings(), SystemClock(), "worker", "shop")
watch.asgi()
asyncio.run(watch.close())
print(*(name for name in sys.modules if name.startswith(("prometheus", "opentelemetry"))))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.split() == []
