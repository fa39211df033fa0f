"""A collector of traces: takes OTLP over HTTP, and remembers the spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What came so far.

    Attributes:
        endpoint: For OTEL_EXPORTER_OTLP_ENDPOINT.
        raw: Bodies of the requests.
        services: Names of the services that sent spans.
        spans: All spans.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.raw: list[bytes] = []
        self.services: set[str] = set()
        self.spans: list[Any] = []

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        self.raw.append(body)
        for resource in request.resource_spans:
            names = [
                a.value.string_value
                for a in resource.resource.attributes
                if a.key == "service.name"
            ]
            self.services.update(names)
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def named(self, name: str) -> list[Any]:
        """Spans of a name."""
        return [span for span in self.spans if span.name == name]

    def way(self, span: Any) -> list[str]:
        """Names from a span up to the root of its trace, as far as they came."""
        by_id = {one.span_id: one for one in self.spans}
        names = [span.name]
        while span.parent_span_id in by_id:
            span = by_id[span.parent_span_id]
            names.append(span.name)
        return names


@contextmanager
def collecting() -> Iterator[Collector]:
    """Runs a collector in a thread."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            collector.take(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
