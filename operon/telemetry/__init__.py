"""Traces, metrics and log fields by OpenTelemetry; nothing else here imports it.

Where a provider is set by the time an Operon is first used, nothing has to be done:
this package is found by its entry points. `Operon(hooks=[Spans(provider)])` uses
others, and `configure()` sets such as the standard `OTEL_…` variables say.
"""

from typing import TYPE_CHECKING

from operon.on_demand import on_demand

if TYPE_CHECKING:
    from operon.telemetry.export import configure as configure
    from operon.telemetry.logs import JSONFormatter as JSONFormatter
    from operon.telemetry.logs import RunAttributes as RunAttributes
    from operon.telemetry.logs import RunFilter as RunFilter
    from operon.telemetry.metrics import Metrics as Metrics
    from operon.telemetry.spans import Spans as Spans
    from operon.telemetry.sql import trace_statements as trace_statements

_PLACES = {
    "JSONFormatter": ".logs",
    "Metrics": ".metrics",
    "RunAttributes": ".logs",
    "RunFilter": ".logs",
    "Spans": ".spans",
    "configure": ".export",
    "trace_statements": ".sql",
}

__all__ = list(_PLACES)  # pyright: ignore[reportUnsupportedDunderAll] - imported when asked for

__getattr__ = on_demand(__name__, _PLACES)
