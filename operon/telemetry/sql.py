"""Spans for SQL: one for each statement of an engine's connections, if asked for."""

from typing import Any

from opentelemetry import trace
from opentelemetry.semconv.attributes.db_attributes import DB_OPERATION_NAME
from opentelemetry.semconv.attributes.db_attributes import DB_SYSTEM_NAME
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import SpanKind
from opentelemetry.trace import Status
from opentelemetry.trace import StatusCode
from opentelemetry.trace import TracerProvider
from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine import ExecutionContext

_SPAN = "_operon_span"


def trace_statements(engine: Engine, provider: TracerProvider | None = None) -> None:
    """Make a CLIENT span of each statement that *engine* executes from now on.

    It has the operation's name, such as INSERT, and never the statement or its
    parameters. What Operon sends beside SQLAlchemy (checkpoints, mostly) has none.
    """
    tracer = trace.get_tracer("operon.sql", tracer_provider=provider)
    system = engine.dialect.name

    def before(
        _c: Any, _cursor: Any, statement: str, _p: Any, execution: Any, _many: Any
    ) -> None:
        words = statement.split(None, 1)
        operation = words[0].upper() if words else "SQL"
        attributes = {DB_SYSTEM_NAME: system, DB_OPERATION_NAME: operation}
        span = tracer.start_span(operation, kind=SpanKind.CLIENT, attributes=attributes)
        setattr(execution, _SPAN, span)

    def after(
        _c: Any, _cursor: Any, _s: str, _p: Any, execution: Any, _many: Any
    ) -> None:
        _end(execution, None)

    def failed(problem: ExceptionContext) -> None:
        _end(problem.execution_context, problem.original_exception)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)


def _end(execution: ExecutionContext | None, error: BaseException | None) -> None:
    span = execution.__dict__.pop(_SPAN, None) if execution is not None else None
    if span is None:
        return
    if error is not None:
        span.set_attribute(ERROR_TYPE, type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR))
    span.end()
