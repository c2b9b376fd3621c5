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

import threading
import time
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from functools import singledispatchmethod
from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions
from opentelemetry.metrics import MeterProvider
from opentelemetry.metrics import Observation

from operon import hooks
from operon.hooks import Hook
from operon.hooks import Record
from operon.hooks import Source
from operon.telemetry import names

_FRESH = 5.0  # seconds for which what the database said of the queues is told again


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
        self._sources: weakref.WeakSet[Any] = weakref.WeakSet()
        self._gauges = _Gauges(self._sources)
        for name, unit, observe in (
            ("operon.queue.depth", "{run}", self._gauges.depth),
            ("operon.queue.oldest_age", "s", self._gauges.oldest),
            ("operon.executor.slots", "{slot}", self._gauges.slots),
            ("operon.executor.heartbeat_age", "s", self._gauges.silence),
        ):
            meter.create_observable_gauge(name, [observe], unit)

    def tell(self, record: Record) -> None:
        """Count it."""
        self._tell(record)

    def watch(self, source: Source) -> None:
        """Ask *source* whenever metrics are collected, as long as it is there."""
        self._sources.add(source)

    @singledispatchmethod
    def _tell(self, record: Any) -> None:
        """Take no notice."""

    @_tell.register
    def _(self, record: hooks.RunClaimed) -> None:
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

    @_tell.register
    def _(self, record: hooks.RunJoined) -> None:
        self._begun.pop(record.run.id, None)
        self._since.pop(("run", record.run.id), None)

    @_tell.register
    def _(self, record: hooks.RunFinished) -> None:
        self._begin(record.run)
        which: dict[str, Any] = {
            names.WORKFLOW_NAME: record.run.workflow,
            names.RUN_STATUS: record.status.value,
        }
        self._finished.add(1, which)
        self._end(("run", record.run.id), self._run_duration, which)

    @_tell.register(hooks.RunSuspended)
    @_tell.register(hooks.RunContinued)
    @_tell.register(hooks.RunReleased)
    def _(self, record: Any) -> None:
        self._begin(record.run)
        self._since.pop(("run", record.run.id), None)

    @_tell.register
    def _(self, record: hooks.LeaseLost) -> None:
        self._begin(record.run)
        self._since.pop(("run", record.run.id), None)
        self._lost.add(1, {names.WORKFLOW_NAME: record.run.workflow})

    @_tell.register
    def _(self, record: hooks.AttemptStarted) -> None:
        self._since[_attempt(record)] = time.monotonic()

    @_tell.register
    def _(self, record: hooks.AttemptFinished) -> None:
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

    @_tell.register
    def _(self, record: hooks.RequestAnswered) -> None:
        which: dict[str, Any] = {
            names.HTTP_REQUEST_METHOD: record.method,
            names.HTTP_ROUTE: record.route,
            names.HTTP_RESPONSE_STATUS_CODE: record.status,
        }
        self._requests.add(1, {**which, names.KEY_OUTCOME: record.key})
        self._end(("request", record.id), self._request_duration, which)

    @_tell.register
    def _(self, record: hooks.RequestReceived) -> None:
        before = (time.time_ns() - record.since) / 1e9
        self._since["request", record.id] = time.monotonic() - before

    @_tell.register
    def _(self, record: hooks.TokenRefused) -> None:
        self._refusals.add(1, {names.REASON: record.reason})

    def _end(self, key: tuple[Any, ...], histogram: Any, which: dict[str, Any]) -> None:
        since = self._since.pop(key, None)
        if since is not None:
            histogram.record(time.monotonic() - since, which)


def _attempt(record: hooks.AttemptStarted | hooks.AttemptFinished) -> tuple[Any, ...]:
    operation = record.operation
    return "attempt", record.run.id, operation.position, operation.attempt


class _Gauges:
    """Asks all sources how things stand, when metrics are collected."""

    def __init__(self, sources: "weakref.WeakSet[Any]") -> None:
        self._all = sources
        self._mutex = threading.Lock()
        self._read: tuple[float, list[hooks.QueueState]] = float("-inf"), []

    def depth(self, _: CallbackOptions) -> Iterator[Observation]:
        for state in self._queues():
            yield Observation(state.due, {names.QUEUE_NAME: state.name})

    def oldest(self, _: CallbackOptions) -> Iterator[Observation]:
        for state in self._queues():
            yield Observation(state.oldest, {names.QUEUE_NAME: state.name})

    def slots(self, _: CallbackOptions) -> Iterator[Observation]:
        for source in self._sources():
            busy, free = source.slots()
            yield Observation(busy, {names.SLOT_STATE: "busy"})
            yield Observation(free, {names.SLOT_STATE: "free"})

    def silence(self, _: CallbackOptions) -> Iterator[Observation]:
        for source in self._sources():
            silence = source.silence()
            if silence is not None:
                yield Observation(silence)

    def _sources(self) -> Iterable[Source]:
        return list(self._all)

    def _queues(self) -> list[hooks.QueueState]:
        """Return what the database says, asked once for all that is collected now."""
        with self._mutex:
            at, found = self._read
            if time.monotonic() - at > _FRESH:
                found = [each for one in self._sources() for each in _of(one.queues)]
                self._read = time.monotonic(), found
            return found


def _of(read: Callable[[], Iterable[hooks.QueueState]]) -> Iterable[hooks.QueueState]:
    try:
        return read()
    except Exception:  # noqa: BLE001 - a database that is away has no backlog to tell
        return []
