"""Recorded spans: what a test asks of the traces that were made."""

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class RecordedSpans:
    """Spans of one test, as far as they have ended.

    Attributes:
        provider: Makes them; give it to what should make some as well.
    """

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> list[ReadableSpan]:
        """All of them, in the order in which they began."""
        found = self._exporter.get_finished_spans()
        return sorted(found, key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        """Return those called *name*, such as "step reserve"."""
        return [span for span in self.all if span.name == name]

    def tree(self) -> list[tuple[str, str | None]]:
        """Return each one's name, and its parent's.

        None stands for the parent of a root, "?" for one that is not among them.
        """
        names = {span.context.span_id: span.name for span in self.all if span.context}
        return [
            (span.name, span.parent and names.get(span.parent.span_id, "?"))
            for span in self.all
        ]

    def clear(self) -> None:
        """Forget them."""
        self._exporter.clear()
