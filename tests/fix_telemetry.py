"""What tests watch an Operon with: a hook that remembers; spans, metrics in memory."""

from dataclasses import dataclass
from dataclasses import field
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan

from operon.hooks import Hook
from operon.hooks import Record
from operon.telemetry import Metrics
from operon.telemetry import Spans
from operon.telemetry.recorded import RecordedSpans


@dataclass
class Kept(Hook):
    """Keeps what it is told."""

    records: list[Record] = field(default_factory=list)

    def tell(self, record: Record) -> None:
        self.records.append(record)

    def of(self, *kinds: type) -> list[Any]:
        return [each for each in self.records if isinstance(each, kinds)]

    def names(self) -> list[str]:
        return [type(each).__name__ for each in self.records]


class Recorder(RecordedSpans):
    """The kit's recorded spans, and what only this suite asks of them."""

    @property
    def spans(self) -> list[ReadableSpan]:
        return self.all

    def one(self, name: str) -> ReadableSpan:
        [span] = self.named(name)
        return span

    def traces(self) -> set[int]:
        return {span.context.trace_id for span in self.spans}


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def watching(
    kept: Kept, recorder: Recorder, reader: InMemoryMetricReader
) -> list[Hook]:
    """The hooks of an Operon that is watched in every way."""
    provider = MeterProvider(metric_readers=[reader])
    return [kept, Spans(recorder.provider), Metrics(provider)]
