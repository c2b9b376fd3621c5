"""Metrics: how many, how long, and how things stand.

| instrument | unit | by |
|---|---|---|
| `operon.runs.started` | {run} | workflow |
| `operon.runs.finished` | {run} | workflow, status |
| `operon.run.duration` | s | workflow, status |
| `operon.run.schedule_to_start` | s | queue |
| `operon.runs.recovered`, `operon.leases.lost` | {run} | workflow |
| `operon.attempts` | {attempt} | workflow, kind, name, outcome |
| `operon.attempt.duration` | s | workflow, kind, name, outcome |
| `operon.conflicts` | {attempt} | workflow, name |
| `operon.checkpoint.size` | By | workflow, name |
| `operon.requests` | {request} | method, route, status, idempotency outcome |
| `operon.request.duration` | s | method, route, status |
| `operon.authentication.failures` | {request} | reason |
| `operon.queue.depth`, `operon.queue.oldest_age` | {run}, s | queue |
| `operon.executor.slots` | {slot} | state |
| `operon.executor.heartbeat_age` | s | |
"""

import time
import weakref
from collections.abc import Callable
from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider

from operon import hooks
from operon.hooks import Hook
from operon.hooks import Record
from operon.hooks import Source
from operon.telemetry import names
from operon.telemetry.gauges import Sources
from operon.telemetry.gauges import observe


class Metrics(Hook):
    """Turns what it is told into metrics of *provider*, by default the global one."""

    def __init__(self, provider: MeterProvider | None = None) -> None:
        meter = metrics.get_meter("operon", meter_provider=provider)
        self._started = meter.create_counter("operon.runs.started", "{run}")
        self._finished = meter.create_counter("operon.runs.finished", "{run}")
        self._recovered = meter.create_counter("operon.runs.recovered", "{run}")
        self._lost = meter.create_counter("operon.leases.lost", "{run}")
        self._attempts = meter.create_counter("operon.attempts", "{attempt}")
        self._conflicts = meter.create_counter("operon.conflicts", "{attempt}")
        self._requests = meter.create_counter("operon.requests", "{request}")
        self._refusals = meter.create_counter(
            "operon.authentication.failures", "{request}"
        )
        self._run_duration = meter.create_histogram("operon.run.duration", "s")
        self._waited = meter.create_histogram("operon.run.schedule_to_start", "s")
        self._attempt_duration = meter.create_histogram("operon.attempt.duration", "s")
        self._request_duration = meter.create_histogram("operon.request.duration", "s")
        self._size = meter.create_histogram("operon.checkpoint.size", "By")
        self._begun: dict[str, hooks.RunClaimed] = {}
        self._since: dict[tuple[Any, ...], float] = {}
        self._sources: Sources = weakref.WeakSet()
        self._tellers: dict[type, Callable[[Any], None]] = {
            hooks.RunClaimed: self._run_claimed,
            hooks.RunJoined: self._run_joined,
            hooks.RunFinished: self._run_finished,
            hooks.LeaseLost: self._lease_lost,
            hooks.AttemptStarted: self._attempt_started,
            hooks.AttemptFinished: self._attempt_finished,
            hooks.RequestAnswered: self._request_answered,
            hooks.RequestReceived: self._request_received,
            hooks.TokenRefused: self._token_refused,
            hooks.RunSuspended: self._left,
            hooks.RunContinued: self._left,
            hooks.RunReleased: self._left,
        }
        observe(meter, self._sources)

    def tell(self, record: Record) -> None:
        """Count it."""
        teller = self._tellers.get(type(record))
        if teller is not None:
            teller(record)

    def watch(self, source: Source) -> None:
        """Ask *source* whenever metrics are collected, as long as it is there."""
        self._sources.add(source)

    def _run_claimed(self, record: hooks.RunClaimed) -> None:
        workflow = {names.WORKFLOW_NAME: record.run.workflow}
        self._since["run", record.run.id] = (
            time.monotonic() - record.age.total_seconds()
        )
        if record.waited is not None:
            self._begun[record.run.id] = record
        if record.is_recovery:
            self._recovered.add(1, workflow)

    def _begin(self, run: hooks.Run) -> None:
        """Count a run as started, now that its id is known to be its own."""
        record = self._begun.pop(run.id, None)
        if record is not None and record.waited is not None:
            self._started.add(1, {names.WORKFLOW_NAME: run.workflow})
            waited = max(0.0, record.waited.total_seconds())
            self._waited.record(waited, {names.QUEUE_NAME: record.queue})

    def _run_joined(self, record: hooks.RunJoined) -> None:
        self._begun.pop(record.run.id, None)
        self._since.pop(("run", record.run.id), None)

    def _run_finished(self, record: hooks.RunFinished) -> None:
        self._begin(record.run)
        which: dict[str, Any] = {
            names.WORKFLOW_NAME: record.run.workflow,
            names.RUN_STATUS: record.status.value,
        }
        self._finished.add(1, which)
        self._end(("run", record.run.id), self._run_duration, which)

    def _left(self, record: Any) -> None:
        self._begin(record.run)
        self._since.pop(("run", record.run.id), None)

    def _lease_lost(self, record: hooks.LeaseLost) -> None:
        self._left(record)
        self._lost.add(1, {names.WORKFLOW_NAME: record.run.workflow})

    def _attempt_started(self, record: hooks.AttemptStarted) -> None:
        self._since[_attempt(record)] = time.monotonic()

    def _attempt_finished(self, record: hooks.AttemptFinished) -> None:
        if record.outcome == "joined":
            self._since.pop(_attempt(record), None)
            return
        self._begin(record.run)
        name: dict[str, Any] = {
            names.WORKFLOW_NAME: record.run.workflow,
            names.STEP_NAME: record.operation.name,
        }
        which: dict[str, Any] = {
            **name,
            names.STEP_KIND: record.operation.kind,
            names.STEP_OUTCOME: record.outcome,
        }
        self._attempts.add(1, which)
        self._end(_attempt(record), self._attempt_duration, which)
        if record.is_conflict:
            self._conflicts.add(1, name)
        if record.size is not None:
            self._size.record(record.size, name)

    def _request_answered(self, record: hooks.RequestAnswered) -> None:
        which: dict[str, Any] = {
            names.HTTP_REQUEST_METHOD: record.method,
            names.HTTP_ROUTE: record.route,
            names.HTTP_RESPONSE_STATUS_CODE: record.status,
        }
        self._requests.add(1, {**which, names.KEY_OUTCOME: record.key})
        self._end(("request", record.id), self._request_duration, which)

    def _request_received(self, record: hooks.RequestReceived) -> None:
        before = (time.time_ns() - record.since) / 1e9
        self._since["request", record.id] = time.monotonic() - before

    def _token_refused(self, record: hooks.TokenRefused) -> None:
        self._refusals.add(1, {names.REASON: record.reason})

    def _end(self, key: tuple[Any, ...], histogram: Any, which: dict[str, Any]) -> None:
        since = self._since.pop(key, None)
        if since is not None:
            histogram.record(time.monotonic() - since, which)


def _attempt(record: hooks.AttemptStarted | hooks.AttemptFinished) -> tuple[Any, ...]:
    operation = record.operation
    return "attempt", record.run.id, operation.position, operation.attempt
