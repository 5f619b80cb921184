"""OpenTelemetry set-up, and the trace context that events carry from the HTTP request to the last consumer.

Spans leave the process only where ``OTEL_EXPORTER_OTLP_ENDPOINT`` names a collector (OpenTelemetry's own
variable); without it they still give every log line its trace id.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, propagate, trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, Resource
from opentelemetry.sdk.trace import TracerProvider


def configure_telemetry(service: str) -> TracerProvider:
    """Install this process's tracer provider, and return it so that its owner can shut it down."""
    resource = Resource.create({SERVICE_NAME: service, SERVICE_NAMESPACE: "clawstead"})
    provider = TracerProvider(resource=resource)
    if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
        # Imported late: the exporter costs 10 MB that a process without a collector does not need.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=1000))
    trace.set_tracer_provider(provider)
    return provider


def current_traceparent() -> str | None:
    """Return the W3C ``traceparent`` of the current span, None outside any."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def continued_trace(traceparent: str | None) -> Iterator[None]:
    """Make spans opened inside children of the remote ``traceparent``; None leaves the context as it is."""
    if traceparent is None:
        yield
        return
    token = context.attach(propagate.extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        context.detach(token)
