"""A receiver of OTLP over HTTP: it decodes what real exporters send, and keeps it."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)


@dataclass(frozen=True)
class Received:
    """A span, as it was sent."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    service: str


@dataclass(frozen=True)
class Log:
    """A log record, as it was sent."""

    text: str
    trace_id: str
    attributes: dict[str, Any]


@dataclass
class Receiver:
    """What has come."""

    spans: list[Received] = field(default_factory=list)
    metrics: set[str] = field(default_factory=set)
    logs: list[Log] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def take(self, path: str, body: bytes) -> None:
        """Decode and keep *body*."""
        with self._mutex:
            self.bodies.append(body)
            match path:
                case "/v1/traces":
                    self.spans += _spans(ExportTraceServiceRequest.FromString(body))
                case "/v1/metrics":
                    self.metrics |= _metrics(
                        ExportMetricsServiceRequest.FromString(body)
                    )
                case "/v1/logs":
                    self.logs += _logs(ExportLogsServiceRequest.FromString(body))
                case _:
                    raise AssertionError(f"nothing is sent to {path}")

    def named(self, name: str) -> list[Received]:
        """Return the spans called *name*."""
        with self._mutex:
            return [span for span in self.spans if span.name == name]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive on a free port within the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _spans(sent: ExportTraceServiceRequest) -> list[Received]:
    return [
        Received(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            attributes=_plain(span.attributes),
            service=str(_plain(resource.resource.attributes)["service.name"]),
        )
        for resource in sent.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _metrics(sent: ExportMetricsServiceRequest) -> set[str]:
    return {
        metric.name
        for resource in sent.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def _logs(sent: ExportLogsServiceRequest) -> list[Log]:
    return [
        Log(
            record.body.string_value,
            record.trace_id.hex(),
            _plain(record.attributes),
        )
        for resource in sent.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def _plain(attributes: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, str(each.value.WhichOneof("value")))
        for each in attributes
    }
