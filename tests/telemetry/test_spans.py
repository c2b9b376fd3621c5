"""Spans: the tree of a run, in one trace, whoever executes it and however often."""

import threading
from datetime import timedelta

import pytest
from opentelemetry.trace import SpanKind
from opentelemetry.trace import StatusCode
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon import Workflow
from operon import activity
from operon import step
from operon import transaction
from operon.models import WorkflowRun
from operon.telemetry import Spans
from operon.telemetry import trace_statements
from tests.processes import eventually

PATIENCE = timedelta(seconds=30)
CANARY = "canary-7f3a"


class SpanChild(Workflow):
    """A child."""

    def run(self) -> int:
        return 1


class SpanOrder(Workflow):
    """Everything that has a span."""

    note: str = ""

    @step
    def save(self, session: Session) -> str:
        return self.note

    @activity
    def charge(self, note: str) -> str:
        return note

    def run(self) -> str:
        note = self.save()
        self.sleep(timedelta(seconds=0.01))
        self.call(SpanChild())
        return self.charge(note)


class SpanFails(Workflow):
    """Fails in a step."""

    @step
    def save(self, session: Session) -> None:
        raise LookupError(CANARY)

    def run(self) -> None:
        self.save()


@transaction
def span_settle(session: Session, note: str) -> str:
    """A run by itself."""
    return note


def test_a_run_is_one_trace_from_its_start_to_its_last_step(operon, recorder):
    operon.launch()
    handle = operon.start(SpanOrder())
    handle.result(PATIENCE)
    eventually(lambda: len(recorder.spans) == 6)

    assert recorder.tree() == [
        ("start SpanOrder", None),
        ("run SpanOrder", "start SpanOrder"),
        ("step save", "run SpanOrder"),
        ("start SpanChild", "run SpanOrder"),
        ("run SpanChild", "start SpanChild"),
        ("activity charge", "run SpanOrder"),
    ]
    assert len(recorder.traces()) == 1
    kinds = {span.name: span.kind for span in recorder.spans}
    assert kinds["start SpanOrder"] is SpanKind.PRODUCER
    assert kinds["run SpanOrder"] is SpanKind.CONSUMER
    assert kinds["step save"] is SpanKind.INTERNAL


def test_spans_say_which_run_step_and_attempt(operon, recorder):
    operon.run(SpanOrder(), id="r")

    run, save = recorder.one("run SpanOrder"), recorder.one("step save")
    assert run.attributes is not None
    executor = run.attributes["operon.executor.id"]
    assert executor in {each.id for each in operon.list_executors()}
    assert dict(run.attributes) == {
        "operon.workflow.name": "SpanOrder",
        "operon.workflow.version": 1,
        "operon.run.id": "r",
        "operon.run.epoch": 1,
        "operon.run.recovered": False,
        "operon.run.status": "succeeded",
        "operon.queue.name": "default",
        "operon.executor.id": executor,
    }
    assert dict(save.attributes or {}) == {
        "operon.workflow.name": "SpanOrder",
        "operon.workflow.version": 1,
        "operon.run.id": "r",
        "operon.run.epoch": 1,
        "operon.step.kind": "step",
        "operon.step.name": "save",
        "operon.step.position": 1,
        "operon.step.attempt": 1,
        "operon.step.outcome": "recorded",
    }


def test_an_error_is_told_by_its_class_alone(operon, recorder):
    with pytest.raises(LookupError):
        operon.run(SpanFails())

    for name in "step save", "run SpanFails":
        span = recorder.one(name)
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "LookupError"
        assert not span.status.description
        assert not span.events


def test_a_run_that_is_continued_elsewhere_continues_its_trace(
    make_operon, database, operon, recorder
):
    handle = operon.start(SpanOrder(), id="moved")
    other = make_operon(
        database.url, hooks=[Spans(recorder.provider)], inline_wait=timedelta(0)
    )
    other.launch()
    handle.result(PATIENCE)
    eventually(lambda: len(recorder.named("run SpanOrder")) > 1)
    other.shutdown()

    assert len(recorder.traces()) == 1
    runs = recorder.named("run SpanOrder")
    start = recorder.one("start SpanOrder")
    assert {span.parent.span_id for span in runs} == {start.context.span_id}
    replayed = [event.name for span in runs for event in span.events]
    assert "suspended" in replayed
    assert "replayed" in replayed
    assert len(recorder.named("step save")) == 1  # it was replayed after the wait


def test_a_trace_is_continued_for_a_quarter_of_an_hour_and_then_linked_to(
    make_operon, database, operon, recorder
):
    operon.start(SpanChild(), id="old")
    operon.start(SpanChild(), id="young")
    for run_id, minutes in ("old", 16), ("young", 14):
        with Session(operon.engine) as session, session.begin():
            run = session.get_one(WorkflowRun, run_id)
            run.created_at -= timedelta(minutes=minutes)
    operon.launch()
    eventually(lambda: len(recorder.named("run SpanChild")) == 2)

    by_id = {
        (span.attributes or {})["operon.run.id"]: span
        for span in recorder.named("run SpanChild")
    }
    started = {
        (span.attributes or {})["operon.run.id"]: span.context
        for span in recorder.named("start SpanChild")
    }
    assert by_id["young"].parent.span_id == started["young"].span_id
    assert by_id["old"].parent is None
    assert by_id["old"].context.trace_id != started["old"].trace_id
    [link] = by_id["old"].links
    assert link.context.span_id == started["old"].span_id


@pytest.mark.parametrize(
    ("traceparent", "tracestate"),
    [
        ("nonsense", None),
        ("00-" + "0" * 32 + "-" + "0" * 16 + "-01", None),
        ("00-" + "g" * 32 + "-" + "1" * 16 + "-01", "a=b"),
        ("", ""),
        ("00-" + "a" * 32 + "-" + "1" * 16 + "-01", "=,,==" * 200),
    ],
)
def test_a_malformed_context_on_a_run_is_ignored(
    operon, recorder, traceparent, tracestate
):
    handle = operon.start(SpanChild())
    with Session(operon.engine) as session, session.begin():
        session.execute(
            update(WorkflowRun).values(traceparent=traceparent, tracestate=tracestate)
        )
    operon.launch()

    assert handle.result(PATIENCE) == 1
    eventually(lambda: recorder.named("run SpanChild"))


def test_operations_that_are_spawned_are_below_their_run(operon, recorder):
    class SpanSpawns(Workflow):
        @activity
        def work(self, number: int) -> int:
            return number

        def run(self) -> list[int]:
            futures = [self.spawn(self.work, number) for number in range(4)]
            return list(self.gather(*futures))

    operon.run(SpanSpawns())

    below = [tree for tree in recorder.tree() if tree[0] == "activity work"]
    assert below == [("activity work", "run SpanSpawns")] * 4


def test_a_users_own_span_is_below_the_step_that_makes_it(operon, recorder):
    tracer = recorder.provider.get_tracer("mine")

    class SpanOwn(Workflow):
        @step
        def save(self, session: Session) -> None:
            with tracer.start_as_current_span("mine"):
                pass

        def run(self) -> None:
            with tracer.start_as_current_span("body"):
                self.save()

    with tracer.start_as_current_span("caller"):
        operon.run(SpanOwn())

    assert dict(recorder.tree()) == {
        "caller": None,
        "start SpanOwn": "caller",
        "run SpanOwn": "start SpanOwn",
        "body": "run SpanOwn",
        "step save": "run SpanOwn",
        "mine": "step save",
    }


def test_an_id_that_is_taken_makes_no_second_run(operon, recorder):
    operon.run(SpanChild(), id="same")
    operon.run(SpanChild(), id="same")
    operon.run(span_settle("x"), id="settled")
    operon.run(span_settle("x"), id="settled")

    assert len(recorder.named("run SpanChild")) == 1
    assert len(recorder.named("run span_settle")) == 1
    assert len(recorder.named("transaction span_settle")) == 1


def test_statements_are_spans_if_they_are_asked_for(operon, recorder):
    trace_statements(operon.engine, recorder.provider)

    class SpanQueries(Workflow):
        note: str

        @step
        def save(self, session: Session) -> None:
            session.connection().exec_driver_sql(f"SELECT '{self.note}'")

        def run(self) -> None:
            self.save()

    operon.run(SpanQueries(CANARY))

    found = [span for span in recorder.spans if span.kind is SpanKind.CLIENT]
    select = next(span for span in found if span.name == "SELECT")
    assert ("SELECT", "step save") in recorder.tree()
    assert set(select.attributes or {}) == {"db.system.name", "db.operation.name"}


def test_no_attribute_holds_a_value_of_the_users(operon, recorder):
    operon.run(SpanOrder(CANARY))
    operon.run(span_settle(CANARY))
    with pytest.raises(LookupError):
        operon.run(SpanFails())

    assert CANARY not in "".join(span.to_json() for span in recorder.spans)


def test_threads_do_not_share_their_spans(operon, recorder):
    barrier = threading.Barrier(4)

    class SpanMeets(Workflow):
        @activity
        def meet(self) -> None:
            barrier.wait(30)

        def run(self) -> None:
            self.meet()

    threads = [
        threading.Thread(target=operon.run, args=(SpanMeets(),)) for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(recorder.traces()) == 4
    assert recorder.tree().count(("activity meet", "run SpanMeets")) == 4
