"""Logs: where a record was written, as fields; and records as lines of JSON."""

import json
import logging
from datetime import UTC
from datetime import datetime

from opentelemetry import trace
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk._logs import ReadWriteLogRecord

from operon import context
from operon.errors import NoCurrentRunError
from operon.telemetry import names

_PLACE = {
    "request_id": names.REQUEST_ID,
    "run_id": names.RUN_ID,
    "workflow": names.WORKFLOW_NAME,
    "step": names.STEP_NAME,
    "position": names.STEP_POSITION,
    "attempt": names.STEP_ATTEMPT,
}
"""The fields that say where, and the attributes of the same meaning."""

FIELDS = ("trace_id", "span_id", *_PLACE)
"""What `RunFilter` adds; None where there is none."""


class RunFilter(logging.Filter):
    """Adds to every record in which trace, request, run and step it was written.

    Add it to a handler: `handler.addFilter(RunFilter())`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields that the record does not have; every record passes."""
        span = trace.get_current_span().get_span_context()
        fields: dict[str, object] = {**dict.fromkeys(FIELDS), **_place()}
        if span.is_valid:
            fields["trace_id"] = trace.format_trace_id(span.trace_id)
            fields["span_id"] = trace.format_span_id(span.span_id)
        for name, value in fields.items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


class RunAttributes(LogRecordProcessor):
    """Adds the same to what a LoggerProvider exports, by the names of spans.

    Add it first: `provider.add_log_record_processor(RunAttributes())`. The trace is on
    exported records anyway.
    """

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Add the attributes; a record's own win."""
        record = log_record.log_record
        place = {_PLACE[name]: value for name, value in _place().items()}
        record.attributes = {**place, **(record.attributes or {})}

    def shutdown(self) -> None:
        """Do nothing: nothing is kept."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Do nothing: nothing is kept."""
        del timeout_millis
        return True


class JSONFormatter(logging.Formatter):
    """Writes each record as one line of JSON, with the fields that it has."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, UTC)
        told: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                told[name] = value
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def _place() -> dict[str, str | int]:
    """Return in which request, run and step this thread is, as far as it is in any."""
    found: dict[str, str | int | None] = {"request_id": context.request_id()}
    try:
        current = context.current()
    except NoCurrentRunError:
        pass
    else:
        found |= {
            "run_id": current.run_id,
            "workflow": current.workflow,
            "step": current.step,
            "position": current.position,
            "attempt": current.attempt,
        }
    return {name: value for name, value in found.items() if value is not None}
