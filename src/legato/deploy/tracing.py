"""Traces of OpenTelemetry: one from a webhook to the delivery of what it led to.

    webhook -> publish -> (queue) -> update -> turn -> commit
                                                 `---> (outbox) -> send

Across the queue the trace goes in `Letter.trace`, across the outbox in `Call.trace`: W3C traceparents, so
a delivery after a restart still belongs to the Turn that said it. Spans hold ids and names, never a text of
a user nor the message of an error. The one file that knows the OpenTelemetry libraries.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any

from legato.abc import Verdict
from legato.abc.observer import SCOPE, Observer, Scope
from legato.errors import MissingExtra
from legato.model.records import OutboxItem

try:
    from opentelemetry import context as otel
    from opentelemetry.trace import (
        NonRecordingSpan,
        Span,
        SpanContext,
        SpanKind,
        Status,
        StatusCode,
        TraceFlags,
        set_span_in_context,
    )
except ImportError as _missing:
    raise MissingExtra("tracing", "tracing") from _missing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log: logging.Logger = logging.getLogger("legato.tracing")

FLUSH_S = 3.0
"""So long the end of a process waits for a collector."""
STORE = frozenset({"commit", "load"})
"""Calls of the store that have spans of their own."""


class _Traced(Scope):
    """A scope whose spans hang on `root`, the update's own."""

    __slots__ = ("root",)

    def __init__(self, update: str, span: Span) -> None:
        super().__init__(update, traceparent(span))
        self.root: str = self.trace


class Tracing(Observer):
    """Makes spans of what an observer is told.

    Args:
        provider: Where they go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("legato")
        self._closed = False

    def _start(
        self,
        name: str,
        parent: str,
        kind: SpanKind = SpanKind.INTERNAL,
        start_ns: int | None = None,
        **attributes: str | int,
    ) -> Span:
        return self._tracer.start_span(
            name,
            context=_remote(parent),
            kind=kind,
            attributes={f"legato.{key}": value for key, value in attributes.items()},
            start_time=start_ns,
        )

    # -- coming in -----------------------------------------------------------------------------

    def begin_request(self, platform: str, headers: Iterable[tuple[bytes, bytes]]) -> Any:
        """A webhook request begins; a traceparent among its headers is its parent."""
        given = dict(headers).get(b"traceparent", b"").decode("latin-1")
        span = self._start(f"webhook {platform}", given, SpanKind.SERVER, platform=platform)
        return span, SCOPE.set(_Traced("", span))

    def end_request(self, began: Any, status: int) -> None:
        """It has its answer; 0: nobody waits for it any more."""
        span, token = began
        SCOPE.reset(token)
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def begin_publish(self, letters: int) -> Any:
        span = self._start("publish", _parent(), SpanKind.PRODUCER, letters=letters)
        return span, SCOPE.set(_Traced("", span))

    def end_publish(self, began: Any, letters: int, error: BaseException | None) -> None:
        span, token = began
        SCOPE.reset(token)
        _end(span, error)

    # -- updates and Turns ---------------------------------------------------------------------

    def begin_update(self, update_id: str, *, trace: str = "", at_ms: int = 0) -> Any:
        outer = SCOPE.get()
        if outer is not None and outer.update == update_id:
            return None
        parent = trace or _parent()
        if at_ms and trace:
            waited = self._start("queue", parent, SpanKind.CONSUMER, at_ms * 1_000_000)
            waited.end()
        span = self._start("update", parent, SpanKind.CONSUMER, update=update_id)
        current = otel.attach(set_span_in_context(span))  # for instrumented libraries in steps
        return span, SCOPE.set(_Traced(update_id, span)), current

    def end_update(self, began: Any) -> None:
        if began is None:
            return
        span, token, current = began
        otel.detach(current)
        SCOPE.reset(token)
        span.end()

    def begin_turn(self, key: str, dialog: str, context: Context) -> Any:
        scope = SCOPE.get()
        parent = scope.root if isinstance(scope, _Traced) else ""
        span = self._start(f"turn {dialog}", parent, conversation=key, dialog=dialog)
        if not isinstance(scope, _Traced):  # a timer, in a task of its own
            scope = _Traced("", span)
            SCOPE.set(scope)
        scope.conversation, scope.dialog, scope.trace = key, dialog, traceparent(span)
        context.run(SCOPE.set, scope)
        return span, scope

    def end_turn(self, began: Any, dialog: str, outcome: str) -> None:
        span, scope = began
        scope.trace = scope.root
        span.set_attribute("legato.outcome", outcome)
        if outcome in ("failed", "error"):
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def begin_store(self, operation: str) -> Any:
        parent = _parent()
        if not parent or operation not in STORE:
            return None
        return self._start(operation, parent, SpanKind.CLIENT)

    def end_store(self, began: Any, operation: str, error: BaseException | None) -> None:
        if began is not None:
            _end(began, error)

    # -- going out -----------------------------------------------------------------------------

    def begin_send(self, item: OutboxItem) -> Any:
        call = item.call
        scope = Scope(
            "", call.trace
        )  # for log lines; the relay's own task forgets it with its next
        scope.conversation = item.key
        SCOPE.set(scope)
        if not call.trace:
            return None
        return self._start(
            f"send {call.method}",
            call.trace,
            SpanKind.CLIENT,
            platform=item.place.platform,
            attempt=item.attempts + 1,
            committed_ms=item.created_ms,
        )

    def end_send(self, began: Any, item: OutboxItem, verdict: Verdict) -> None:
        if began is None:
            return
        began.set_attribute("legato.outcome", verdict.outcome)
        if verdict.outcome != "sent":
            began.set_status(Status(StatusCode.ERROR))
        began.end()

    # -- the end -------------------------------------------------------------------------------

    async def close(self) -> None:
        """Sends the spans that are still here, if the collector takes them in time. Idempotent."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop did not wait any longer
                loop.call_soon_threadsafe(done.cancel)

        # A daemon: a collector that does not answer must not keep the process.
        threading.Thread(target=shut_down, daemon=True, name="legato-traces").start()
        if not (await asyncio.wait([done], timeout=FLUSH_S))[0]:
            log.warning("the last traces are lost: their collector does not answer")


def _end(span: Span, error: BaseException | None) -> None:
    if error is not None:  # its message may hold what no trace should
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
    span.end()


def _parent() -> str:
    scope = SCOPE.get()
    return "" if scope is None else scope.trace


def traceparent(span: Span) -> str:
    """The W3C traceparent of a span."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _remote(trace: str) -> otel.Context:
    """A context whose span is the one of a traceparent; an empty one if it is none."""
    parts = trace.split("-")
    try:
        if len(parts) != 4 or [len(part) for part in parts] != [2, 32, 16, 2]:
            return otel.Context()
        _, trace_id, span_id, flags = (int(part, 16) for part in parts)
    except ValueError:
        return otel.Context()
    parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(parent), otel.Context())


def exporting(role: str, app: str) -> TracerProvider:
    """Spans go to the collector that the OTEL_... variables name, over HTTP.

    Args:
        role, app: Make the service's name, where OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES do not.

    Raises:
        MissingExtra: The libraries are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingExtra("tracing", "tracing") from error
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    about = {} if named else {"service.name": f"{app}-{role}"}
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


__all__ = ["Tracing", "exporting", "traceparent"]
