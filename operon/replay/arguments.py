"""What an operation was asked for with, as JSON: to be noted, and to be compared.

Values are written by what they are, whatever their parameters declare: equal ones
give equal texts, sets and dicts included. This file must not know runs or bundles.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import inspect as inspect_instance

from operon.codec import value_codec
from operon.operation import Call
from operon.transaction import is_invocation
from operon.workflow import declaration_of

Arguments = Mapping[str, Any]
"""Plain JSON values by the names of parameters."""

_WIDEST = 200  # characters of the arguments in a message
_UNTOLD = ("principal",)
"""Options of a start that are no argument of the body's making."""


def of_call(call: Call) -> Arguments:
    """Return the arguments of a step or an activity, defaults included."""
    bound = call.operation.shape.bind(call.args, call.kwargs)
    bound.apply_defaults()
    return plain(bound.arguments)


def of_start(child: Any, options: Mapping[str, Any]) -> Arguments:
    """Return what a child is started with: its version, its input and the options."""
    told = {
        name: value
        for name, value in options.items()
        if value and name not in _UNTOLD and (name, value) != ("on_conflict", "return")
    }
    return plain({**of_runnable(child), **told})


def of_runnable(runnable: Any) -> Arguments:
    """Return the version and the input of what can be started."""
    declared = declaration_of(runnable)
    if is_invocation(runnable):
        values: Mapping[str, Any] = runnable.arguments
    else:
        values = {name: getattr(runnable, name) for name in _fields(runnable)}
    return plain({"version": declared.version, "input": dict(values)})


def plain(values: Mapping[str, Any]) -> Arguments:
    """Return *values* as plain JSON, each by what it is."""
    return {name: _plain(value) for name, value in values.items()}


def encoded(arguments: Arguments) -> str:
    """Return *arguments* as JSON text."""
    return msgspec.json.encode(arguments, order="deterministic").decode()


def differing(noted: Arguments, asked: Arguments) -> tuple[str, str] | None:
    """Return those of *noted* and *asked* that differ, in words; None if none does."""
    names = [
        name
        for name in {**noted, **asked}
        if name not in noted or name not in asked or noted[name] != asked[name]
    ]
    return (_words(noted, names), _words(asked, names)) if names else None


def _fields(runnable: Any) -> list[str]:
    """Return the names of the fields of a workflow."""
    return [each.name for each in dataclasses.fields(runnable)]


def _words(arguments: Arguments, names: list[str]) -> str:
    told = [f"{name}={encoded_value(arguments, name)}" for name in names]
    text = f"({', '.join(told)})"
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…)"


def encoded_value(arguments: Arguments, name: str) -> str:
    """Return the argument *name* as JSON text, or a dash if there is none."""
    if name not in arguments:
        return "-"
    return msgspec.json.encode(arguments[name]).decode()


def _plain(value: Any) -> Any:
    """Return *value* as plain JSON; of what has none, its class."""
    try:
        text = msgspec.json.encode(
            _row_or(value), enc_hook=_other, order="deterministic"
        )
        return msgspec.json.decode(text)
    except Exception:  # noqa: BLE001 - whatever a value's class does, it has a name
        return _opaque(value)


def _row_or(value: Any) -> Any:
    """Return *value*, but a mapped instance as text: msgspec may take it for data."""
    state = inspect_instance(value, raiseerr=False)
    return value if state is None or isinstance(value, type) else _other(value)


def _other(value: Any) -> Any:
    """Return what msgspec is to write for *value*, whose class it does not know."""
    try:
        return msgspec.Raw(value_codec(value).encode(value).encode())
    except Exception:  # noqa: BLE001 - as above
        return _opaque(value)


def _opaque(value: object) -> dict[str, str]:
    cls = type(value)
    return {"$class": f"{cls.__module__}.{cls.__qualname__}"}
