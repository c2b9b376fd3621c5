"""Providers that export over OTLP/HTTP; it needs `pip install operon[otlp]`."""

import logging
from collections.abc import Callable

from opentelemetry import _logs
from opentelemetry import metrics
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging import LoggingInstrumentor  # pyright: ignore[reportMissingTypeStubs] - it has none
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from operon.telemetry.logs import RunAttributes

ShutDown = Callable[[], None]
"""Sends what is left, and ends."""


def set_traces() -> ShutDown:
    """Export spans from now on."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def set_metrics() -> ShutDown:
    """Export metrics from now on."""
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider(metric_readers=[reader])
    metrics.set_meter_provider(provider)
    return provider.shutdown


def set_logs() -> ShutDown:
    """Export what is logged from now on, with the trace and run it is logged in.

    Without any handler Python prints warnings; with this one as the first it would not.
    """
    logging.basicConfig()
    provider = LoggerProvider()
    provider.add_log_record_processor(RunAttributes())
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    _logs.set_logger_provider(provider)
    LoggingInstrumentor().instrument()
    return provider.shutdown
