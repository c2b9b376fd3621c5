"""Telemetry that nobody has to ask for, found by its entry points.

The hooks are made when an Operon is first used, if the application, or `configure`, has
set providers by then. Else OpenTelemetry is not even imported.
"""

import sys
from functools import cache
from typing import Any

from operon.hooks import Hook


def traces() -> Hook | None:
    """Return what makes spans, if a provider for them is set."""
    provider = _provider("trace", "get_tracer_provider")
    return None if provider is None else _spans(provider)


def metrics() -> Hook | None:
    """Return what makes metrics, if a provider for them is set."""
    provider = _provider("metrics", "get_meter_provider")
    return None if provider is None else _metrics(provider)


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
