"""Names of attributes and metrics: the conventions' own, or in Operon's namespace."""

import importlib
import pkgutil
import re
from datetime import timedelta
from pathlib import Path

import opentelemetry.semconv.attributes
import pytest
from sqlalchemy.orm import Session

from operon import Retry
from operon import Workflow
from operon import activity
from operon import step
from operon.hooks import RequestAnswered
from operon.hooks import RequestReceived
from operon.hooks import TokenRefused
from operon.telemetry import metrics
from operon.telemetry import trace_statements

STABLE = {
    value
    for module in pkgutil.iter_modules(opentelemetry.semconv.attributes.__path__)
    for name, value in vars(
        importlib.import_module(f"opentelemetry.semconv.attributes.{module.name}")
    ).items()
    if name.isupper() and isinstance(value, str)
}
"""The attributes of the stable conventions."""

DOCS = Path(__file__).parents[2] / "docs" / "observability.md"


class NamedRun(Workflow):
    """Everything that has attributes: a step, an activity, a child, an error."""

    is_child: bool = False

    @step
    def save(self, session: Session) -> None:
        """Save nothing."""

    @activity(retry=Retry(attempts=2, delay=timedelta(0)))
    def ring(self) -> None:
        raise LookupError

    def run(self) -> None:
        self.save()
        if not self.is_child:
            self.call(NamedRun(is_child=True))
            self.sleep(timedelta(0))
            self.ring()


@pytest.fixture
def told(operon, recorder, reader):
    """Return the names of attributes, and of instruments, that were told."""
    trace_statements(operon.engine, recorder.provider)
    operon.launch()
    with pytest.raises(LookupError):
        operon.run(NamedRun())
    tell = operon.hooks.tell
    tell(RequestReceived("r", "GET", "/x", 0, {}))
    tell(RequestAnswered("r", "GET", "/x", 503, "refused", "contention", "run"))
    tell(TokenRefused("expired"))
    read = [
        metric
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    attributes = {key for span in recorder.spans for key in span.attributes or {}}
    attributes |= {
        key
        for span in recorder.spans
        for event in span.events
        for key in event.attributes or {}
    }
    attributes |= {
        key
        for metric in read
        for point in metric.data.data_points
        for key in point.attributes
    }
    return attributes, {metric.name: metric.unit for metric in read}


def test_attributes_have_the_conventions_names_where_there_is_one(told):
    attributes, _ = told

    foreign = {name for name in attributes if not name.startswith("operon.")}

    assert foreign == {
        "db.operation.name",
        "db.system.name",
        "error.type",
        "http.request.method",
        "http.response.status_code",
        "http.route",
    }
    assert foreign <= STABLE


def test_names_are_dotted_words_as_the_conventions_ask(told):
    attributes, instruments = told

    for name in attributes | set(instruments):
        assert re.fullmatch(r"[a-z]+(\.[a-z][a-z_]*)+", name)


def test_every_metric_is_in_both_tables(told):
    _, instruments = told

    for text in (metrics.__doc__ or "", DOCS.read_text(encoding="utf-8")):
        listed = set(re.findall(r"`(operon\.[a-z_.]+)`", text))
        assert set(instruments) <= listed


def test_units_are_those_of_ucum(told):
    _, instruments = told

    assert set(instruments.values()) <= {"s", "By"} | {
        f"{{{word}}}" for word in ("run", "attempt", "request", "slot")
    }
