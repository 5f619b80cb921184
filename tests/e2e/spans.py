"""A real OTLP/HTTP endpoint that keeps the spans it is sent."""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans


@dataclass(frozen=True)
class Span:
    """What the tests ask of a span."""

    service: str
    name: str
    trace_id: str


class SpanCollector:
    """Receives spans on loopback until stopped."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def services_of(self, trace_id: str) -> set[str]:
        """Return which services have a span in one trace."""
        return {span.service for span in list(self.spans) if span.trace_id == trace_id}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        keep = self.spans.extend

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip  # noqa: PLC0415

                    body = gzip.decompress(body)
                keep(_spans_of(ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    return [
        Span(_service_name(resource), span.name, span.trace_id.hex())
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _service_name(resource: ResourceSpans) -> str:
    attributes = resource.resource.attributes
    return str(next(item.value.string_value for item in attributes if item.key == "service.name"))
