"""Configuration: what an application's `OPERON_…` settings say."""

import os
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any
from typing import cast

from operon.config import Options
from operon.config import Settings
from operon.config import parsed
from operon.errors import ConfigurationError

_PREFIX = "OPERON_"
_LAUNCH = "OPERON_LAUNCH"
OTHERS = {_LAUNCH, "OPERON_DATABASE_URL"}
_FIELDS = {f"{_PREFIX}{each.name.upper()}": each for each in fields(Settings)}


def options_of(config: Mapping[str, Any]) -> Options:
    """Return the options that *config* names; texts are read as the environment's.

    Raises:
        ConfigurationError: There is no such option, or a value cannot be read.
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        if not name.startswith(_PREFIX) or name in OTHERS:
            continue
        if name not in _FIELDS:
            raise ConfigurationError(
                f"{name} in the application's configuration",
                "is nothing that Operon can be told",
                cure=f"use one of {', '.join(sorted({*_FIELDS, *OTHERS}))}",
            )
        option = _FIELDS[name]
        found[option.name] = _value(name, value, option.type)
    return cast("Options", found)


def launches(
    config: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> bool:
    """Tell whether processes that serve requests execute runs as well; they do.

    OPERON_LAUNCH says no, in *config* or else in *environment*.

    Raises:
        ConfigurationError: OPERON_LAUNCH is neither true nor false.
    """
    value = config.get(_LAUNCH, environment.get(_LAUNCH, True))
    return bool(parsed(_LAUNCH, value, bool) if isinstance(value, str) else value)


def _value(name: str, value: Any, annotation: Any) -> Any:
    if isinstance(value, str):
        return parsed(name, value, annotation)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and "timedelta" in str(annotation):
        return timedelta(seconds=value)
    return value
