"""Logs: where a record was written, as fields; and records as lines of JSON."""

import json
import logging
from datetime import UTC
from datetime import datetime

from opentelemetry import trace

from operon import context
from operon.errors import NoCurrentRunError

FIELDS = (
    "trace_id",
    "span_id",
    "run_id",
    "workflow",
    "step",
    "position",
    "attempt",
)
"""What `RunFilter` adds; None where there is none."""


class RunFilter(logging.Filter):
    """Adds to every record in which trace, run, step and attempt it was written.

    Add it to a handler: `handler.addFilter(RunFilter())`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; every record passes."""
        span = trace.get_current_span().get_span_context()
        fields: dict[str, object] = dict.fromkeys(FIELDS)
        if span.is_valid:
            fields["trace_id"] = trace.format_trace_id(span.trace_id)
            fields["span_id"] = trace.format_span_id(span.span_id)
        try:
            current = context.current()
        except NoCurrentRunError:
            pass
        else:
            fields |= {
                "run_id": current.run_id,
                "workflow": current.workflow,
                "step": current.step,
                "position": current.position,
                "attempt": current.attempt,
            }
        for name, value in fields.items():
            if not hasattr(record, name):
                setattr(record, name, value)
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
        for name in ("request_id", *FIELDS):
            value = getattr(record, name, None)
            if value is not None:
                told[name] = value
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)
