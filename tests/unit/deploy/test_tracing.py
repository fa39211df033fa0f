"""Spans hang together from a webhook to the delivery of what it led to."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from opentelemetry import trace as otel_trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from legato import App, Chat
from legato.abc.observer import SCOPE
from legato.app.runtime import Runtime, RuntimeSettings
from legato.deploy.tracing import Tracing, traceparent
from legato.deploy.watched import WatchedStore
from legato.errors import StoreUnavailable
from legato.stores.memory import MemoryStore
from legato.testing.script import NoNetwork
from tests.unit.app.kit import World, message, place

app = App("x", apology="")
GIVEN = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
seen: list[int] = []


@app.command("add")
async def add(chat: Chat) -> None:
    first = await chat.ask("First?", int)
    second = await chat.run(_outside)
    await chat.say(f"Sum: {first + second}")


@app.command("loop")
async def loop(chat: Chat, left: int = 1) -> None:
    if left:
        await chat.goto(loop, left=left - 1)
    await chat.sleep(60)
    await chat.say("slept")


@app.command("bug")
async def bug(chat: Chat) -> None:
    raise RuntimeError("canary of an error")


async def _outside() -> int:
    """As an instrumented library does: its span is a child of the current one."""
    seen.append(otel_trace.get_current_span().get_span_context().trace_id)
    return 3


class Traced(World):
    """A bot whose spans are kept."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider)
        super().__init__(app, MemoryStore(), RuntimeSettings(observer=self.tracing))

    def process(self) -> Runtime:
        return Runtime(
            self.app,
            store=WatchedStore(self.store, self.tracing),
            platforms=[self.platform],
            clock=self.clock,
            http=NoNetwork(),
            settings=self.settings,
        )

    def spans(self) -> list[ReadableSpan]:
        found = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found

    async def requested(self, text: str) -> str:
        """As a webhook with a trace of its own; returns the update's id."""
        event = message(text)
        began = self.tracing.begin_request("test", [(b"traceparent", GIVEN.encode())])
        await self.receive(event)
        self.tracing.end_request(began, 200)
        await self.rest()
        return event.id


@pytest.fixture
def world() -> Iterator[Traced]:
    yield Traced()
    assert SCOPE.get() is None


def lines(spans: list[ReadableSpan]) -> set[tuple[str, str]]:
    """(parent's name, name) of each span; "" for a parent that is not among them."""
    names = {span.context.span_id: span.name for span in spans if span.context}
    return {(names.get(s.parent.span_id, "") if s.parent else "-", s.name) for s in spans}


async def test_one_trace_leads_from_the_webhook_to_the_delivery(world: Traced) -> None:
    await world.runtime.start(loops=False)
    await world.requested("/add")
    world.spans()

    update = await world.requested("2")

    spans = world.spans()
    assert {f"{span.context.trace_id:032x}" for span in spans if span.context} == {"ab" * 16}
    assert lines(spans) == {
        ("", "webhook test"),
        ("webhook test", "update"),
        ("update", "turn add"),
        ("turn add", "commit"),
        ("turn add", "send send"),
    }
    about = {key: value for span in spans for key, value in (span.attributes or {}).items()}
    assert about["legato.update"] == update
    assert about["legato.conversation"] == "test:bot:1:1:"
    assert about["legato.outcome"] in ("ended", "sent")
    assert seen[-1] == int("ab" * 16, 16), "a library in a step sees the update's span"
    await world.runtime.stop()


async def test_a_delivery_after_a_restart_belongs_to_the_turn_that_said_it(world: Traced) -> None:
    await world.runtime.start(loops=False)
    world.runtime.relay.hold(place().lane)
    event = message("/add")
    began = world.tracing.begin_request("test", [(b"traceparent", GIVEN.encode())])
    await world.receive(event)
    world.tracing.end_request(began, 200)
    before = world.spans()

    await world.crash()
    await world.rest()

    (sent,) = [span for span in world.spans() if span.name.startswith("send")]
    (turn,) = [span for span in before if span.name == "turn add"]
    assert turn.context
    assert sent.parent
    assert sent.parent.span_id == turn.context.span_id
    assert sent.parent.trace_id == turn.context.trace_id
    await world.runtime.stop()


async def test_tail_calls_are_turns_side_by_side_and_a_timer_has_a_trace_of_its_own(
    world: Traced,
) -> None:
    await world.runtime.start(loops=False)
    await world.requested("/loop")
    first = world.spans()

    world.clock.advance(60)
    await world.runtime.tick()
    await world.rest()

    assert [s.name for s in first if s.name.startswith("turn")] == ["turn loop", "turn loop"]
    assert ("update", "turn loop") in lines(first)
    assert ("turn loop", "turn loop") not in lines(first)
    assert {("-", "turn loop"), ("turn loop", "commit"), ("turn loop", "send send")} <= lines(
        world.spans()
    )
    await world.runtime.stop()


async def test_no_text_of_a_user_and_no_error_stands_in_a_span(world: Traced) -> None:
    await world.runtime.start(loops=False)
    await world.requested("/add")
    await world.requested("canary of a text")
    await world.requested("/bug")

    spans = world.spans()

    assert "canary" not in "".join(span.to_json() for span in spans)
    failed = [s for s in spans if s.name == "turn bug"]
    assert [s.status.status_code.name for s in failed] == ["ERROR"]
    await world.runtime.stop()


async def test_a_store_that_is_away_is_told_by_the_kind_of_its_error(world: Traced) -> None:
    tracing = world.tracing
    update = tracing.begin_update("1", trace=GIVEN, at_ms=1_750_000_000_000)
    began = tracing.begin_store("commit")
    tracing.end_store(began, "commit", StoreUnavailable("postgresql://user:password@host"))
    tracing.end_store(tracing.begin_store("due"), "due", None)
    tracing.end_update(update)

    spans = {span.name: span for span in world.spans()}

    assert set(spans) == {"queue", "commit", "update"}
    assert spans["commit"].status.description == "StoreUnavailable"
    assert spans["queue"].start_time == 1_750_000_000_000_000_000
    assert spans["queue"].parent
    assert f"{spans['queue'].parent.span_id:016x}" == "cd" * 8


@pytest.mark.parametrize(
    "given",
    ["", "x", "00-zz-zz-01", GIVEN[:-3], GIVEN + "-x", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"],
)
async def test_a_traceparent_that_is_none_begins_a_new_trace(world: Traced, given: str) -> None:
    began = world.tracing.begin_request("test", [(b"traceparent", given.encode())])
    world.tracing.end_request(began, 503)

    (span,) = world.spans()

    assert span.parent is None
    assert span.status.status_code.name == "ERROR"


async def test_what_is_published_outside_of_any_request_begins_a_trace(world: Traced) -> None:
    began = world.tracing.begin_publish(1)
    scope = SCOPE.get()
    world.tracing.end_publish(began, 1, None)

    (span,) = world.spans()

    assert scope is not None
    assert scope.trace.split("-")[1] == f"{span.context.trace_id:032x}" if span.context else False


async def test_the_end_of_a_process_does_not_wait_for_ever_for_a_collector(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("legato.deploy.tracing.FLUSH_S", 0.05)
    answered = threading.Event()

    class Silent(TracerProvider):
        def shutdown(self) -> None:
            answered.wait(60)

    tracing = Tracing(Silent(shutdown_on_exit=False))

    await tracing.close()
    await tracing.close()
    answered.set()

    assert [record.message for record in caplog.records] == [
        "the last traces are lost: their collector does not answer"
    ]


def test_a_span_is_written_as_its_traceparent(world: Traced) -> None:
    assert traceparent(otel_trace.INVALID_SPAN) == f"00-{'0' * 32}-{'0' * 16}-00"
