"""Raised errors as JSON text, and back as errors of the same class.

A class is looked up among those already loaded, never imported by name, and only
subclasses of Exception are rebuilt. This file must not know runs or steps.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from datetime import datetime
from datetime import time
from datetime import timedelta
from decimal import Decimal
from typing import Any
from typing import TypeGuard
from typing import cast
from uuid import UUID

import msgspec

from operon.codec._refusals import NotEncodable
from operon.codec._refusals import Undecodable
from operon.codec.payload import Payloads
from operon.codec.types import type_codec

_NATIVE = frozenset({type(None), bool, int, float, str})
_SCALARS = _NATIVE | {Decimal, UUID, datetime, date, time, timedelta, bytes}
_TAGGED = {f"${cls.__name__}": cls for cls in _SCALARS}
_TUPLE = "$tuple"
_DICT = "$dict"


@dataclass(frozen=True)
class UnknownError:
    """A recorded error whose class is not loaded here, or cannot be rebuilt."""

    type: str
    """The recorded class, as `module:qualname`."""
    message: str
    """The recorded text."""


class _Failure(msgspec.Struct):
    """How an error is written."""

    type: str
    """The class, as `module:qualname`."""
    args: list[Any] | None
    """None if one of them cannot be written; then the error is never rebuilt."""
    state: dict[str, Any]
    """The attributes that can be written."""
    message: str
    notes: list[str]
    traceback: str | None = None


_BRIEF = 200  # characters
_FAILURES = msgspec.json.Decoder(_Failure)


def encode_error(error: Exception, traceback: str | None = None) -> str:
    """Return the JSON text of *error* and of its *traceback*, if given.

    Attributes that are neither plain JSON values nor of the few types known here
    are left out.
    """
    failure = _Failure(
        type=_name(type(error)),
        args=_dump_args(error),
        state=_dump_state(error),
        message=_message(error),
        notes=[_clean(str(note)) for note in getattr(error, "__notes__", ())],
        traceback=None if traceback is None else _clean(traceback),
    )
    return msgspec.json.encode(failure).decode()


def wrap_error(error: Exception, payloads: Payloads) -> tuple[str, str | None]:
    """Return what to store for *error*, and the name of the codec that made it.

    Of an error that is too large to be stored, class and the beginning of its
    text are; it is never rebuilt.
    """
    try:
        return payloads.wrap(encode_error(error), "error")
    except NotEncodable:
        message = _message(error)[:_BRIEF]
        brief = _Failure(_name(type(error)), None, {}, f"{message}…", [])
        return payloads.wrap(msgspec.json.encode(brief).decode(), "error")


def decode_error(text: str) -> Exception | UnknownError:
    """Return the error that *text* holds, or what is known of it.

    An error that would not say what it said when it was written is not rebuilt.

    Raises:
        Undecodable: The text was not made by `encode_error`.
    """
    try:
        failure = _FAILURES.decode(text)
    except Exception as error:
        raise Undecodable(f"it is no recorded error: {error}") from error
    try:
        rebuilt = _rebuild(failure)
    except Exception:  # noqa: BLE001 - a constructor of the user's may raise anything
        rebuilt = None
    return UnknownError(failure.type, failure.message) if rebuilt is None else rebuilt


def can_be_found(cls: type[Exception]) -> bool:
    """Tell whether a recorded error of *cls* would be raised as that class again."""
    return _find_class(_name(cls)) is cls


def error_summary(text: str) -> str:
    """Return `Type: message` of the error that *text* holds; never raises."""
    try:
        failure = _FAILURES.decode(text)
    except Exception:  # noqa: BLE001 - a listing shows what there is
        return "unreadable error"
    name = failure.type.partition(":")[2].rpartition(".")[2]
    return f"{name}: {failure.message}" if failure.message else name


def _rebuild(failure: _Failure) -> Exception | None:
    """Return the error that *failure* was written of, or None if it cannot be."""
    cls = _find_class(failure.type)
    if cls is None or failure.args is None:
        return None
    args = tuple(_load(arg) for arg in failure.args)
    if cls.__module__ == "builtins":  # their constructors fill what no dict shows
        error = cls(*args)
    else:
        error = cls.__new__(cls, *args)
        error.args = args if not isinstance(error, OSError) else error.args
    error.__dict__.update({k: _load(v) for k, v in failure.state.items()})
    for note in failure.notes:
        error.add_note(note)
    same = type(error) is cls and _message(error) == failure.message
    return error if same else None


def _find_class(name: str) -> type[Exception] | None:
    """Return the loaded subclass of Exception that is called *name*, or None."""
    module, _, qualname = name.partition(":")
    if "<locals>" in qualname:
        return next((cls for cls in _loaded(Exception) if _name(cls) == name), None)
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if _is_error_class(found) else None


def _is_error_class(found: Any) -> TypeGuard[type[Exception]]:
    """Tell whether *found* is a class that may be rebuilt."""
    return isinstance(found, type) and issubclass(found, Exception)


def _loaded(cls: type[Exception]) -> Iterator[type[Exception]]:
    """Yield the subclasses of *cls*, those made last first."""
    for below in reversed(type.__subclasses__(cls)):
        yield below
        yield from _loaded(below)


def _dump_args(error: Exception) -> list[Any] | None:
    """Return the arguments that make *error* again, or None."""
    args = error.args
    if isinstance(error, OSError) and error.filename is not None:
        # The constructor takes the files' names, `args` does not show them.
        args = (*args, error.filename, None, error.filename2)
    try:
        return [_dump(arg) for arg in args]
    except (NotEncodable, RecursionError):
        return None


def _dump_state(error: Exception) -> dict[str, Any]:
    """Return those attributes of *error* that can be written; notes are not among."""
    state: dict[str, Any] = {}
    for name, value in vars(error).items():
        if name == "__notes__":
            continue
        try:
            state[_text(name)] = _dump(value)
        except (NotEncodable, RecursionError):
            continue
    return state


def _dump(value: object) -> object:
    """Return *value* as plain JSON, with a tag where JSON has no such type."""
    cls = type(value)
    if cls is list or cls is tuple:
        items = [_dump(item) for item in cast("list[object]", value)]
        return items if cls is list else {_TUPLE: items}
    if cls is dict:
        pairs = cast("dict[object, object]", value).items()
        plain = {_text(key): _dump(item) for key, item in pairs}
        return {_DICT: plain} if any(key[:1] == "$" for key in plain) else plain
    if cls not in _SCALARS:
        raise NotEncodable("error", f"holds a {cls.__qualname__}")
    written = msgspec.Raw(type_codec(cls).encode(value).encode())
    return written if cls in _NATIVE else {f"${cls.__name__}": written}


def _load(plain: object) -> object:
    """Return the value that *plain* was written of."""
    kind = type(plain)
    if kind is list:
        return [_load(item) for item in cast("list[object]", plain)]
    if kind is dict:
        members = cast("dict[str, object]", plain)
        tag = next(iter(members), "")
        tagged = tag[:1] == "$"
        return _load_tagged(tag, members[tag]) if tagged else _load_dict(members)
    return plain


def _load_dict(plain: dict[str, object]) -> dict[str, object]:
    """Return the dict that the members of *plain* were written of."""
    return {key: _load(item) for key, item in plain.items()}


def _load_tagged(tag: str, inner: Any) -> object:
    """Return the value of the type that *tag* names, written as *inner*."""
    if tag == _DICT:
        return _load_dict(inner)
    if tag == _TUPLE:
        return tuple(_load(item) for item in inner)
    return type_codec(_TAGGED[tag]).decode(msgspec.json.encode(inner))


def _text(key: object) -> str:
    """Return *key* if it is text that can be written."""
    if not isinstance(key, str):
        raise NotEncodable("error", "has a key that is no text")
    type_codec(str).encode(key)
    return key


def _message(error: Exception) -> str:
    """Return the text of *error*, whatever its `__str__` does."""
    try:
        return _clean(str(error))
    except Exception as broken:  # noqa: BLE001 - `__str__` is the user's
        return f"<no text: {type(broken).__name__}>"


def _clean(text: str) -> str:
    """Return *text* with question marks in place of lone surrogates."""
    return text.encode(errors="replace").decode()


def _name(cls: type) -> str:
    """Return how the class *cls* is recorded."""
    return f"{cls.__module__}:{cls.__qualname__}"
