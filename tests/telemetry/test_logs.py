"""Log fields: every record tells where it was written."""

import json
import logging
import sys

import pytest
from sqlalchemy.orm import Session

from operon import Workflow
from operon import activity
from operon import step
from operon.telemetry import JSONFormatter
from operon.telemetry import RunFilter

logger = logging.getLogger("tests.telemetry")


class LogRun(Workflow):
    """Writes a line wherever it can."""

    @step
    def save(self, session: Session) -> None:
        logger.warning("in the step")

    @activity
    def ring(self) -> None:
        logger.warning("in the activity")

    def run(self) -> None:
        logger.warning("in the body")
        self.save()
        self.ring()


@pytest.fixture
def lines(caplog):
    """Return what was written, as the formatter writes it."""
    caplog.handler.addFilter(RunFilter())
    caplog.handler.setFormatter(JSONFormatter())

    def read() -> list[dict[str, object]]:
        return [
            json.loads(line)
            for line in caplog.text.splitlines()
            if '"tests.telemetry"' in line
        ]

    yield read
    caplog.handler.filters.clear()


def test_records_tell_run_step_and_attempt(operon, recorder, lines):
    logger.warning("outside")
    operon.run(LogRun(), id="r")

    outside, body, step_line, activity_line = lines()
    assert outside["message"] == "outside"
    assert "run_id" not in outside
    assert "trace_id" not in outside
    for line in (body, step_line, activity_line):
        assert (line["run_id"], line["workflow"]) == ("r", "LogRun")
    assert (step_line["step"], step_line["position"], step_line["attempt"]) == (
        "save",
        1,
        1,
    )
    assert (activity_line["step"], activity_line["position"]) == ("ring", 2)


def test_records_tell_the_trace_they_belong_to(operon, recorder, lines):
    operon.run(LogRun())

    run, save = recorder.one("run LogRun"), recorder.one("step save")
    _, step_line, _ = lines()
    assert step_line["trace_id"] == f"{run.context.trace_id:032x}"
    assert step_line["span_id"] == f"{save.context.span_id:016x}"


def test_a_line_is_json_whatever_is_in_it():
    record = logging.LogRecord(
        "x", logging.ERROR, __file__, 1, "a %s\n\u2028 \udc80", ("b",), None
    )
    record.run_id = object()
    line = JSONFormatter().format(record)

    assert "\n" not in line
    assert json.loads(line)["message"] == "a b\n\u2028 \udc80"


def test_an_exception_is_told():
    try:
        {}["why"]
    except LookupError:
        record = logging.LogRecord(
            "x", logging.ERROR, __file__, 1, "no", (), sys.exc_info()
        )

    assert "KeyError: 'why'" in json.loads(JSONFormatter().format(record))["exception"]
