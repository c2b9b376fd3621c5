"""Telemetry that nobody has to ask for, found by its entry point.

The hook is made when an Operon is first used, if the application, or `configure`, has
set a provider by then. Else OpenTelemetry is not even imported.
"""

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from operon.hooks import Hook
from operon.hooks import Record
from operon.hooks import Source
from operon.hooks import Trace


def hook() -> Hook | None:
    """Return what makes spans and metrics, of those for which a provider is set."""
    found: list[Hook] = []
    traces = _provider("trace", "get_tracer_provider")
    if traces is not None:
        found.append(_spans(traces))
    measures = _provider("metrics", "get_meter_provider")
    if measures is not None:
        found.append(_metrics(measures))
    return _Several(found) if found else None


def _provider(signal: str, getter: str) -> Any:
    """Return the provider of *signal*; None for the API's stand-ins."""
    module: Any = sys.modules.get(f"opentelemetry.{signal}")
    if module is None:
        return None
    provider = getattr(module, getter)()
    is_stand_in = type(provider).__module__.startswith(f"opentelemetry.{signal}")
    return None if is_stand_in else provider


@cache
def _spans(provider: Any) -> Hook:
    from operon.telemetry.spans import Spans  # noqa: PLC0415 - needs OpenTelemetry

    return Spans(provider)


@cache
def _metrics(provider: Any) -> Hook:
    """Return the one for all Operons: an instrument is made once."""
    from operon.telemetry.metrics import Metrics  # noqa: PLC0415 - as above

    return Metrics(provider)


class _Several(Hook):
    """Hooks as one."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = hooks

    def tell(self, record: Record) -> None:
        for each in self._hooks:
            each.tell(record)

    def watch(self, source: Source) -> None:
        for each in self._hooks:
            each.watch(source)

    def carry(self) -> Trace:
        for each in self._hooks:
            found = each.carry()
            if found:
                return found
        return super().carry()
