"""Metrics: what is counted, how long things take, and how they stand."""

from datetime import timedelta

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from sqlalchemy.orm import Session

from operon import Retry
from operon import Workflow
from operon import activity
from operon import step
from operon.hooks import TokenRefused
from operon.schema import upgrade
from operon.telemetry import Metrics
from tests.processes import eventually

PATIENCE = timedelta(seconds=30)


class MetricRun(Workflow):
    """A step, and an activity that fails as often as it is told."""

    fails: int = 0

    @step
    def save(self, session: Session) -> str:
        return "saved"

    @activity(retry=Retry(attempts=3, delay=timedelta(0)))
    def ring(self) -> None:
        calls.append(1)
        if len(calls) <= self.fails:
            raise ConnectionError

    def run(self) -> None:
        self.save()
        self.ring()


calls: list[int] = []


@pytest.fixture
def points(reader):
    """Return what an instrument has measured, by its attributes."""

    def read(name: str) -> dict[tuple[object, ...], object]:
        data = reader.get_metrics_data()
        return {
            tuple(dict(point.attributes).values()): point
            for resource in ([] if data is None else data.resource_metrics)
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }

    calls.clear()
    return read


def values(points, name: str) -> dict[tuple[object, ...], float]:
    return {key: point.value for key, point in points(name).items()}


def test_runs_are_counted_once_when_they_start_and_end(operon, points):
    operon.launch()
    operon.start(MetricRun(), id="same").result(PATIENCE)
    for _ in range(3):
        operon.run(MetricRun(), id="same")
    operon.run(MetricRun())

    assert values(points, "operon.runs.started") == {("MetricRun",): 2}
    assert values(points, "operon.runs.finished") == {("MetricRun", "succeeded"): 2}
    [duration] = points("operon.run.duration").values()
    [waited] = points("operon.run.schedule_to_start").values()
    assert (duration.count, waited.count) == (2, 2)
    assert 0 < duration.max < 60


def test_attempts_are_counted_by_what_came_of_them(operon, points):
    operon.run(MetricRun(fails=2))

    assert values(points, "operon.attempts") == {
        ("MetricRun", "save", "step", "recorded"): 1,
        ("MetricRun", "ring", "activity", "failed"): 2,
        ("MetricRun", "ring", "activity", "recorded"): 1,
    }
    sizes = points("operon.checkpoint.size")
    assert sizes["MetricRun", "save"].sum == len('"saved"')


def test_queues_are_measured_whoever_executes_them(operon, make_operon, points):
    for _ in range(3):
        operon.start(MetricRun())

    depth = values(points, "operon.queue.depth")
    age = values(points, "operon.queue.oldest_age")

    assert depth == {("default",): 3}
    assert 0 <= age["default",] < 60


def test_slots_and_heartbeat_are_measured(operon, points):
    operon.launch()
    eventually(lambda: values(points, "operon.executor.heartbeat_age"))

    slots = values(points, "operon.executor.slots")

    assert slots == {("busy",): 0, ("free",): operon.settings.threads}
    [age] = values(points, "operon.executor.heartbeat_age").values()
    assert 0 <= age < 60


def test_a_database_that_is_away_has_no_backlog_to_tell(
    make_operon, own_server, reader, points
):
    own_server.create_database("shop")
    provider = MeterProvider(metric_readers=[reader])
    operon = make_operon(
        own_server.url("shop"),
        hooks=[Metrics(provider)],
        database_patience=timedelta(0),
    )
    upgrade(operon.engine)
    operon.list_runs()
    own_server.stop()

    assert values(points, "operon.queue.depth") == {}
    own_server.start()


def test_refused_tokens_are_counted_by_reason(operon, points):
    for reason in ("expired", "expired", "bad-signature"):
        operon.hooks.tell(TokenRefused(reason))

    assert values(points, "operon.authentication.failures") == {
        ("expired",): 2,
        ("bad-signature",): 1,
    }
