"""Exporting over OTLP/HTTP, as the standard `OTEL_…` variables say."""

import atexit
import os
from collections.abc import Mapping

from operon.errors import ConfigurationError

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SIGNALS = ("TRACES", "METRICS", "LOGS")
_exported: set[str] = set()
"""For which signals a provider was set by this process, or the one it was forked of."""


def configure(environment: Mapping[str, str] = os.environ) -> bool:
    """Export spans, metrics and logs if an endpoint for them is named.

    Providers that are set already stay. Call it when logging is configured and before
    an Operon is first used; `operon executor` does. Sampling, intervals, headers and
    `OTEL_SERVICE_NAME` are the SDK's own business; `OTEL_SDK_DISABLED` is heeded.

    Returns:
        Whether there is an endpoint.

    Raises:
        ConfigurationError: There is, and no exporter is installed.
    """
    named = [each for each in _SIGNALS if _endpoint(each, environment)]
    if not named or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    try:
        from operon.telemetry import providers  # noqa: PLC0415 - needs the exporter
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            _ENDPOINT,
            "is set, and no exporter is installed",
            cure="pip install 'operon[otlp]'",
        ) from error
    for signal in named:
        if signal not in _exported:
            _exported.add(signal)
            atexit.register(getattr(providers, f"set_{signal.lower()}")())
    return True


def _endpoint(signal: str, environment: Mapping[str, str]) -> str | None:
    own = environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    wanted = environment.get(f"OTEL_{signal}_EXPORTER", "otlp")
    return (own or environment.get(_ENDPOINT)) if wanted == "otlp" else None
