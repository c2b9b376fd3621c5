"""Telemetry that nobody has to ask for, found by its entry point.

The hook is made when an Operon is first used, if the application, or `configure`, has
set a provider by then. Else OpenTelemetry is not even imported.
"""

import sys
from collections.abc import Sequence
from typing import Any

from operon.hooks import Hook
from operon.hooks import Record
from operon.hooks import Source
from operon.hooks import Trace


def hook() -> Hook | None:
    """Return what makes spans and metrics, of those for which a provider is set."""
    found: list[Hook] = []
    if _is_set("trace", "get_tracer_provider"):
        from operon.telemetry.spans import Spans  # noqa: PLC0415 - needs OpenTelemetry

        found.append(Spans())
    if _is_set("metrics", "get_meter_provider"):
        from operon.telemetry.metrics import Metrics  # noqa: PLC0415 - as above

        found.append(Metrics())
    return _Several(found) if found else None


def _is_set(signal: str, getter: str) -> bool:
    """Whether there is a provider of *signal* other than the API's stand-ins."""
    module: Any = sys.modules.get(f"opentelemetry.{signal}")
    if module is None:
        return False
    provider = getattr(module, getter)()
    return not type(provider).__module__.startswith(f"opentelemetry.{signal}")


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
