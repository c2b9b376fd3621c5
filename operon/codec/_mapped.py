"""Mapped instances: which values are, and what their columns hold.

This file asks SQLAlchemy. It must not know how columns are written as text.
"""

from collections.abc import Iterable
from datetime import UTC
from datetime import datetime
from datetime import timezone
from typing import Any
from typing import TypeGuard
from typing import cast

from sqlalchemy import inspect
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.ext.mutable import MutableList
from sqlalchemy.ext.mutable import MutableSet
from sqlalchemy.orm import InstanceState
from sqlalchemy.orm import Mapper
from sqlalchemy.orm import Session

_TRACKED: tuple[tuple[type, type], ...] = (
    (MutableDict, dict),
    (MutableList, list),
    (MutableSet, set),
)


def find_mapper(cls: object) -> Mapper[Any] | None:
    """Return the mapper of the class *cls*, or None if it is not mapped."""
    if not isinstance(cls, type):
        return None
    found: object = inspect(cast("type[object]", cls), raiseerr=False)
    return cast("Mapper[Any] | None", found)


def find_state(value: object) -> InstanceState[Any] | None:
    """Return SQLAlchemy's state of *value*, or None if it is no mapped instance."""
    if not hasattr(value, "_sa_instance_state"):  # the cheap question first
        return None
    found = inspect(value, raiseerr=False)
    return found if _is_state(found) else None


def _is_state(found: object) -> TypeGuard[InstanceState[Any]]:
    """Tell whether *found* is what SQLAlchemy keeps about one mapped instance."""
    return isinstance(found, InstanceState)


def columns(state: InstanceState[Any]) -> dict[str, object]:
    """Return the loaded column attributes of *state*'s instance, by name."""
    names = state.mapper.column_attrs.keys()
    loaded = state.dict
    return {name: _plain(loaded[name]) for name in names if name in loaded}


def _plain(value: object) -> object:
    """Return *value* as the database means it: instants have no zone, sets no tracker.

    A driver gives an instant in the zone of its connection; that zone is no part of
    the row, and it would not come back.
    """
    if isinstance(value, datetime) and value.tzinfo is not None:
        fixed = type(value.tzinfo) is timezone
        return value if fixed else value.astimezone(UTC)
    for tracked, builtin in _TRACKED:
        if isinstance(value, tracked):
            return builtin(value)
    return value


def load_columns(session: Session, instances: Iterable[object]) -> int:
    """Load what is expired or deferred of *instances* in *session*; return how many.

    One SELECT for each instance that lacks a column, nothing is flushed. Instances
    that *session* does not hold are left as they are.
    """
    selects = 0
    for instance in instances:
        state = find_state(instance)
        if state is None or not state.persistent or instance not in session:
            continue
        absent = sorted(state.unloaded & set(state.mapper.column_attrs.keys()))
        if absent:
            with session.no_autoflush:
                session.refresh(instance, attribute_names=absent)
            selects += 1
    return selects
