"""Spans: requests, starts, runs by claim, and attempts; each in its own thread.

No span is held open across processes or waits: a run that waits or moves has one for
each claim, all in the trace in which it was started.

Source:
    W3C, "Trace Context"; OpenTelemetry, "Semantic Conventions".
"""

import threading
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from opentelemetry import context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link
from opentelemetry.trace import Span
from opentelemetry.trace import SpanKind
from opentelemetry.trace import Status
from opentelemetry.trace import StatusCode
from opentelemetry.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from operon import hooks
from operon.hooks import Hook
from operon.hooks import Record
from operon.hooks import Trace
from operon.status import RunStatus
from operon.telemetry import names

_CONTINUED = timedelta(minutes=15)
"""Of what was started longer ago, a trace is not continued but linked to."""
_SERVER_ERROR = 500
_W3C = TraceContextTextMapPropagator()
_ENDED_BADLY = {RunStatus.FAILED, RunStatus.DEAD}


@dataclass(frozen=True)
class _Open:
    """A span that is current in the thread that has opened it."""

    span: Span
    token: Any

    @property
    def is_ours(self) -> bool:
        """Whether it was begun here: else it is the host's, which ends it."""
        return self.token is not None


class Spans(Hook):
    """Turns what it is told into spans of *provider*, by default the global one."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("operon", tracer_provider=provider)
        self._open: dict[tuple[Any, ...], _Open] = {}
        self._tellers: dict[type, Callable[[Any], None]] = {
            hooks.RequestReceived: self._request_received,
            hooks.RequestAnswered: self._request_answered,
            hooks.RunStarting: self._run_starting,
            hooks.RunStarted: self._run_started,
            hooks.RunClaimed: self._run_claimed,
            hooks.RunFinished: self._run_finished,
            hooks.RunSuspended: self._run_suspended,
            hooks.RunContinued: self._run_continued,
            hooks.RunReleased: self._run_released,
            hooks.LeaseLost: self._lease_lost,
            hooks.RunJoined: self._run_joined,
            hooks.Replayed: self._replayed,
            hooks.AttemptStarted: self._attempt_started,
            hooks.AttemptFinished: self._attempt_finished,
        }

    def tell(self, record: Record) -> None:
        """Begin, mark or end a span."""
        teller = self._tellers.get(type(record))
        if teller is not None:
            teller(record)

    def carry(self) -> Trace:
        """Return the context of the current span, as it is stored on runs."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier

    def _request_received(self, record: hooks.RequestReceived) -> None:
        attributes = {
            names.HTTP_REQUEST_METHOD: record.method,
            names.REQUEST_ID: record.id,
        }
        host = trace.get_current_span()
        around = host.get_span_context()
        if around.is_valid and not around.is_remote:
            host.set_attributes(attributes)
            self._open["request", record.id] = _Open(host, None)
            return
        if record.route:
            attributes[names.HTTP_ROUTE] = record.route
        self._begin(
            ("request", record.id),
            f"{record.method} {record.route}".strip(),
            SpanKind.SERVER,
            attributes,
            parent=None if around.is_valid else _extracted(record.trace),
            since=record.since,
        )

    def _request_answered(self, record: hooks.RequestAnswered) -> None:
        attributes: dict[str, Any] = {
            names.HTTP_RESPONSE_STATUS_CODE: record.status,
            names.KEY_OUTCOME: record.key,
        }
        if record.run_id is not None:
            attributes[names.RUN_ID] = record.run_id
        if record.problem is not None:
            attributes[names.PROBLEM] = record.problem
        error = record.problem if record.status >= _SERVER_ERROR else None
        self._end(("request", record.id), attributes, error)

    def _run_starting(self, record: hooks.RunStarting) -> None:
        attributes = {
            names.WORKFLOW_NAME: record.workflow,
            names.WORKFLOW_VERSION: record.version,
            names.QUEUE_NAME: record.queue,
        }
        name = f"start {record.workflow}"
        self._begin(("start", _thread()), name, SpanKind.PRODUCER, attributes)

    def _run_started(self, record: hooks.RunStarted) -> None:
        attributes = {} if record.run_id is None else {names.RUN_ID: record.run_id}
        self._end(("start", _thread()), attributes, record.error)

    def _run_claimed(self, record: hooks.RunClaimed) -> None:
        parent, links = _extracted(record.trace), []
        if record.age > _CONTINUED:
            links = [Link(trace.get_current_span(parent).get_span_context())]
            parent = Context()
        attributes = {
            **_of_run(record.run),
            names.QUEUE_NAME: record.queue,
            names.EXECUTOR_ID: record.executor,
            names.RUN_RECOVERED: record.is_recovery,
        }
        self._begin(
            _key(record.run),
            f"run {record.run.workflow}",
            SpanKind.CONSUMER,
            attributes,
            parent=parent,
            links=links,
        )

    def _run_finished(self, record: hooks.RunFinished) -> None:
        attributes = {names.RUN_STATUS: record.status.value}
        is_bad = record.status in _ENDED_BADLY
        self._end(_key(record.run), attributes, record.error if is_bad else None)

    def _run_suspended(self, record: hooks.RunSuspended) -> None:
        self._leave(record.run, "suspended", {"operon.wait.kind": record.waits_for})

    def _run_continued(self, record: hooks.RunContinued) -> None:
        attributes = {"operon.run.successor": record.successor}
        self._leave(record.run, "continued", attributes)

    def _run_released(self, record: hooks.RunReleased) -> None:
        self._leave(record.run, "released", {})

    def _lease_lost(self, record: hooks.LeaseLost) -> None:
        self._leave(record.run, "lease lost", {})

    def _run_joined(self, record: hooks.RunJoined) -> None:
        self._forget(_key(record.run))

    def _replayed(self, record: hooks.Replayed) -> None:
        found = self._open.get(_key(record.run))
        if found is not None:
            found.span.add_event("replayed", _of_operation(record.operation))

    def _attempt_started(self, record: hooks.AttemptStarted) -> None:
        run, operation = record.run, record.operation
        around = self._open.get(_key(run))
        self._begin(
            _key(run, operation),
            f"{operation.kind} {operation.name}",
            SpanKind.INTERNAL,
            {**_of_run(run), **_of_operation(operation)},
            parent=None if around is None else trace.set_span_in_context(around.span),
        )

    def _attempt_finished(self, record: hooks.AttemptFinished) -> None:
        key = _key(record.run, record.operation)
        if record.outcome == "joined":
            self._forget(key)
        else:
            self._end(key, {names.STEP_OUTCOME: record.outcome}, record.error)

    def _leave(self, run: hooks.Run, how: str, attributes: Mapping[str, Any]) -> None:
        """End the span of a claim after which the run goes on elsewhere, or later."""
        found = self._open.get(_key(run))
        if found is not None:
            found.span.add_event(how, dict(attributes))
        self._end(_key(run), {}, None)

    def _begin(
        self,
        key: tuple[Any, ...],
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        *,
        parent: Context | None = None,
        links: "list[Link] | None" = None,
        since: int | None = None,
    ) -> None:
        span = self._tracer.start_span(
            name,
            context=parent,
            kind=kind,
            attributes=dict(attributes),
            links=links,
            start_time=since,
        )
        token = context.attach(trace.set_span_in_context(span))
        self._open[key] = _Open(span, token)

    def _forget(self, key: tuple[Any, ...]) -> None:
        """Leave a span that tells of nothing: it is never ended, so never exported."""
        found = self._open.pop(key, None)
        if found is not None:
            context.detach(found.token)

    def _end(
        self, key: tuple[Any, ...], attributes: Mapping[str, Any], error: str | None
    ) -> None:
        found = self._open.pop(key, None)
        if found is None:
            return
        found.span.set_attributes(dict(attributes))
        if error is not None:
            found.span.set_attribute(names.ERROR_TYPE, error)
            found.span.set_status(Status(StatusCode.ERROR))
        if found.is_ours:
            context.detach(found.token)
            found.span.end()


def _key(run: hooks.Run, operation: hooks.Operation | None = None) -> tuple[Any, ...]:
    """Return by what the span of a claim, or of an attempt under it, is known.

    A cancel raises the epoch of a claim that goes on, so that is not part of it.
    """
    if operation is None:
        return "run", run.id
    return "attempt", run.id, operation.position, operation.attempt


def _thread() -> int:
    return threading.get_ident()


def _extracted(carried: Trace) -> Context:
    """Return the context that *carried* names; a malformed one is none."""
    return _W3C.extract(carried, context=Context())


def _of_run(run: hooks.Run) -> dict[str, Any]:
    return {
        names.WORKFLOW_NAME: run.workflow,
        names.WORKFLOW_VERSION: run.version,
        names.RUN_ID: run.id,
        names.RUN_EPOCH: run.epoch,
    }


def _of_operation(operation: hooks.Operation) -> dict[str, Any]:
    return {
        names.STEP_KIND: operation.kind,
        names.STEP_NAME: operation.name,
        names.STEP_POSITION: operation.position,
        names.STEP_ATTEMPT: operation.attempt,
    }
