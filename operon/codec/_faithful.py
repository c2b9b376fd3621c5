"""Whether a value read back from its text is the value that was written.

Every value is compared, part by part and by exact type, with what its text
decodes to, so nothing the format changes in silence is ever stored. This file
must not know how texts are made.
"""

import math
import types
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from datetime import date
from datetime import datetime
from datetime import time
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from reprlib import Repr
from typing import Any
from typing import NamedTuple
from typing import cast

from operon.codec._mapped import columns
from operon.codec._mapped import find_state
from operon.codec._models import is_model

_EQUAL = frozenset((type(None), bool, int, str, bytes))
# Equality overlooks the sign of zero, an exponent, fold and the zone; repr does not.
_EXACT = frozenset((float, Decimal, datetime, date, time, timedelta))

_SHORT = Repr()
_SHORT.maxother = _SHORT.maxstring = 80  # characters; a zoned datetime must fit
_FIELDED = ("__dataclass_fields__", "__attrs_attrs__", "__struct_fields__", "_fields")


class Flaw(NamedTuple):
    """A part of a value that cannot be stored."""

    path: str
    """Where, from the value that was asked about: empty, or like `[2].price`."""
    reason: str
    """What is so there, and the cure."""

    def below(self, part: str) -> "Flaw":
        """Return the same flaw, seen from the owner of *part*."""
        return Flaw(part + self.path, self.reason)


def difference(value: object, back: object) -> Flaw | None:
    """Return the first part of *value* that is another in *back*, or None.

    Raises:
        RecursionError: They are nested too deeply.
    """
    kind = type(value)
    if kind is not type(back):
        return Flaw("", changed(value, back))
    compare = _PARTS.get(kind)
    if compare is not None:
        return compare(value, back)
    if kind in _EQUAL:
        same = value == back
    elif kind in _EXACT:
        same = _is_finite(value) and repr(value) == repr(back)
    elif isinstance(value, Enum):
        same = value is back
    else:
        return _object(value, back)
    return None if same else Flaw("", changed(value, back))


def culprit(value: object, encode: Callable[[Any], object]) -> Flaw | None:
    """Return the innermost part of *value* that *encode* refuses, or None.

    Raises:
        RecursionError: The value contains itself.
    """
    reason = _refusal(value)
    if reason is not None:
        return Flaw("", reason)
    for part, child in _children(value):
        flaw = culprit(child, encode)
        if flaw is not None:
            return flaw.below(part)
    try:
        encode(value)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        return Flaw("", f"cannot be written as JSON: {error}")
    return None


def changed(value: object, back: object) -> str:
    """Return the reason why *value*, which would come back as *back*, is refused."""
    refusal = _refusal(value)
    if refusal is not None:
        return refusal
    mine, theirs = type(value).__qualname__, type(back).__qualname__
    if type(value) is not type(back):
        return (
            f"is of type {mine} and would come back as {theirs}; convert it to "
            f"{theirs}, or declare {mine}"
        )
    reason = f"is {_SHORT.repr(value)} and would come back as {_SHORT.repr(back)}"
    if isinstance(value, datetime | time):
        reason += "; use timezone.utc or an offset of whole minutes, and fold=0"
    return reason


def _refusal(value: object) -> str | None:
    """Return why *value* itself can be stored under no declaration, or None."""
    if isinstance(value, float | Decimal) and not _is_finite(value):
        return f"is {value}, not a finite number"
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        return "holds a lone surrogate, which is not text"
    if find_state(value) is not None:
        name = type(value).__qualname__
        return f"is a mapped instance; annotate what is returned with {name}"
    return None


def _is_finite(value: object) -> bool:
    """Tell whether *value* is not one of the numbers that stand for no number."""
    if isinstance(value, Decimal):
        return value.is_finite()
    return not isinstance(value, float) or math.isfinite(value)


def _sequence(value: Any, back: Any) -> Flaw | None:
    """Return the first item of *value* that differs from its twin in *back*."""
    if len(value) != len(back):
        return Flaw("", f"has {len(value)} items and would come back with {len(back)}")
    for place, (mine, theirs) in enumerate(zip(value, back, strict=True)):
        flaw = difference(mine, theirs)
        if flaw is not None:
            return flaw.below(f"[{place}]")
    return None


def _mapping(value: dict[Any, Any], back: dict[Any, Any]) -> Flaw | None:
    """Return the first member of *value* whose key or value differs in *back*."""
    lost = [key for key in value if key not in back]
    if lost or len(value) != len(back):
        return Flaw("", f"has keys that would not come back: {_SHORT.repr(lost)}")
    for mine, theirs in zip(value, back, strict=True):
        flaw = difference(mine, theirs) or difference(value[mine], back[theirs])
        if flaw is not None:
            return flaw.below(f"[{_SHORT.repr(mine)}]")
    return None


def _set(value: Any, back: Any) -> Flaw | None:
    """Return the first element of *value* that has no exact twin in *back*."""
    if value != back:
        return Flaw("", f"would come back as {_SHORT.repr(back)}")
    twins = {element: element for element in back}
    for element in value:
        flaw = difference(element, twins[element])
        if flaw is not None:
            return flaw.below(f"{{{_SHORT.repr(element)}}}")
    return None


def _object(value: object, back: object) -> Flaw | None:
    """Return the first attribute of *value* that differs in *back*."""
    mine, theirs = members(value), members(back)
    for name in mine.keys() ^ theirs.keys():
        return Flaw(f".{name}", "is no field of its class and would not come back")
    for name, member in mine.items():
        flaw = difference(member, theirs[name])
        if flaw is not None:
            return flaw.below(f".{name}")
    by_equality = not mine or is_model(type(value))  # models have hidden members too
    if by_equality and value != back:
        return Flaw("", changed(value, back))
    return None


_PARTS: dict[type, Callable[[Any, Any], Flaw | None]] = {
    list: _sequence,
    tuple: _sequence,
    dict: _mapping,
    set: _set,
    frozenset: _set,
}


def members(value: object) -> dict[str, Any]:
    """Return the attributes that *value* holds, in `__dict__` and in slots.

    Of a mapped instance these are its loaded columns.
    """
    state = find_state(value)
    if state is not None:
        return columns(state)
    found = dict(getattr(value, "__dict__", {}))
    found.update(_named(value))
    cls: Any = type(value)
    for slot in _slots(cls):
        if hasattr(value, slot):
            found[slot] = getattr(value, slot)
    return found


def _named(value: object) -> dict[str, Any]:
    """Return the items of *value* by their names, if it is a named tuple."""
    fields: tuple[str, ...] = getattr(value, "_fields", ())
    return {name: getattr(value, name) for name in fields}


@lru_cache(maxsize=1024)
def _slots(cls: type) -> tuple[str, ...]:
    """Return the names of the slots of *cls*, those of the language left out."""
    return tuple(
        name
        for base in cls.__mro__
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and name[:2] != "__"
    )


def _children(value: object) -> Iterator[tuple[str, Any]]:
    """Yield the parts of *value*, each with its place."""
    kind = type(value)
    if kind is dict:
        for key, child in cast("dict[Any, Any]", value).items():
            yield f"[{_SHORT.repr(key)}]", key
            yield f"[{_SHORT.repr(key)}]", child
    elif kind in _PARTS:
        for place, child in enumerate(cast("Iterable[Any]", value)):
            yield f"[{place}]", child
    elif any(hasattr(kind, mark) for mark in _FIELDED):
        for name, child in members(value).items():
            yield f".{name}", child
